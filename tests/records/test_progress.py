"""Where a killed run goes on, and what still has to be there before a cell counts as done."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from cegppo_verl.records import progress
from cegppo_verl.records.progress import LoggedStep, missing, resume_point
from cegppo_verl.records.rundir import RunDir

SAMPLES = 6  # 3 problems × 2 answers


def cell(total: int = 8, every: int = 4, at_start: bool = False, problems: int | None = 3) -> dict[str, Any]:
    benchmarks = [{"name": "pick", "samples": 2, "problems": problems}]
    evaluation = {"every": every, "at_start": at_start, "benchmarks": benchmarks}
    return {"id": "0123456789ab", "settings": {"total_steps": total, "eval": evaluation}}


@pytest.fixture
def run(tmp_path: Path) -> RunDir:
    run = RunDir(tmp_path)
    run.create(cell())
    return run


def line(step: int, **data: float) -> str:
    return json.dumps({"step": step, "data": data}) + "\n"


def trained(step: int) -> str:
    return line(step, **{"actor/entropy": 1.0, "training/global_step": step})


def log(run: RunDir, steps: Iterable[int], tail: str = "") -> None:
    """A new attempt that logged ``steps``."""
    run.new_attempt().metrics_file.write_text("".join(map(trained, steps)) + tail)


def evaluate(run: RunDir, step: int, samples: int = SAMPLES, tail: str = "") -> None:
    text = "".join(json.dumps({"uid": i}) + "\n" for i in range(samples)) + tail
    (run.validation / f"{step}.jsonl").write_text(text)


def save(run: RunDir, *steps: int, finished: bool = True) -> None:
    """Checkpoints in verl's order: the model, then the data loader, the tracker last."""
    for step in steps:
        actor = run.checkpoints / f"global_step_{step}" / "actor"
        actor.mkdir(parents=True)
        for part in ("model", "optim", "extra_state"):
            (actor / f"{part}_world_size_1_rank_0.pt").touch()
        (actor.parent / "data.pt").touch()
        if finished:
            (run.checkpoints / "latest_checkpointed_iteration.txt").write_text(str(step))


def test_garbled_and_half_written_lines_are_skipped(run: RunDir) -> None:
    file = run.new_attempt().metrics_file
    garbled = [b"", b"{", b"\xff\xfe", b"5", b"null", b"[1]", b'{"step": 9}', b'{"step": null, "data": {}}']
    garbled += [b'{"step": 9, "data": 5}', b'{"step": 1e999, "data": {}}', b'{"step": "x", "data": {}}']
    ends = trained(1).encode(), trained(2).encode()
    file.write_bytes(ends[0] + b"\n".join(garbled) + b"\n" + ends[1] + trained(3).encode()[:-9])
    steps = progress.read_steps(file)
    assert [s.step for s in steps] == [1, 2]
    assert steps[1].data == {"actor/entropy": 1.0, "training/global_step": 2}
    assert progress.trained_steps(run) == {1, 2}


def test_without_a_log_there_are_no_steps(run: RunDir, tmp_path: Path) -> None:
    assert progress.read_steps(tmp_path / "none.jsonl") == []
    assert progress.trained_steps(run) == set()
    run.new_attempt()
    assert progress.trained_steps(run) == set()


def test_only_updates_count_as_trained(run: RunDir) -> None:
    validation = {"val-core/pick/acc/mean@2": 0.5}
    log(run, [1, 2], tail=line(0, **validation, **{"training/global_step": 0}) + line(4, **validation))
    log(run, [3])
    assert progress.trained_steps(run) == {1, 2, 3}
    assert not progress.is_training_step(LoggedStep(4, validation))


@pytest.mark.parametrize(
    ("plan", "expected"),
    [
        ({"total": 8, "every": 4}, [4, 8]),
        ({"total": 9, "every": 4}, [4, 8, 9]),
        ({"total": 3, "every": 4}, [3]),
        ({"total": 8, "every": 4, "at_start": True}, [0, 4, 8]),
        ({"total": 8, "every": 0}, []),
        ({"total": 8, "every": -1, "at_start": True}, [0]),
    ],
)
def test_planned_evaluations(plan: dict[str, Any], expected: list[int]) -> None:
    assert progress.planned_evaluations(cell(**plan)) == expected


def test_planned_samples_add_up_and_are_unknown_with_one_benchmark() -> None:
    two = cell()
    two["settings"]["eval"]["benchmarks"].append({"name": "words", "samples": 2, "problems": 5})
    assert progress.planned_samples(two) == SAMPLES + 10
    two["settings"]["eval"]["benchmarks"][1]["problems"] = None
    assert progress.planned_samples(two) == 0


def test_an_evaluation_of_unknown_size_needs_a_complete_line(run: RunDir) -> None:
    unknown = cell(problems=None)
    assert not progress.is_evaluated(run, unknown, 8)
    evaluate(run, 8, samples=0)
    assert not progress.is_evaluated(run, unknown, 8)
    evaluate(run, 8, samples=1)
    assert progress.is_evaluated(run, unknown, 8)


def test_a_finished_run_misses_nothing(run: RunDir) -> None:
    log(run, range(1, 9))
    evaluate(run, 8)
    assert missing(run, cell()) is None


def test_steps_of_several_attempts_add_up(run: RunDir) -> None:
    log(run, range(1, 6))
    log(run, range(5, 9))
    evaluate(run, 8)
    assert missing(run, cell()) is None


def test_what_a_later_attempt_did_not_build_on_does_not_count(run: RunDir) -> None:
    """Attempt 2 went back to 4 and died at 6; the older 7 and 8, and their evaluation, are another model."""
    log(run, range(1, 9))
    run.attempts()[-1].update(resumed_from=0)
    evaluate(run, 8)
    log(run, range(5, 7))
    run.attempts()[-1].update(resumed_from=4)
    assert progress.trained_steps(run) == set(range(1, 7))
    assert missing(run, cell()) == "step 7 of 8 is not logged"
    save(run, 4, 8)
    evaluate(run, 4)
    assert resume_point(run, cell()) == 4


GARBLED = ['{"step": "3", "data": {}}', '{"step": 3.0, "data": {}}', '{"step": 3, "data": []}', "[" * 100_000]


@pytest.mark.parametrize("text", GARBLED, ids=range(len(GARBLED)))
def test_no_line_stops_the_reader(run: RunDir, text: str) -> None:
    run.new_attempt().metrics_file.write_text(text + "\n" + trained(1) + text)
    assert progress.trained_steps(run) == {1}


@pytest.mark.parametrize(("steps", "first"), [([], 1), ([1, 2, 4, 5, 6, 7, 8], 3), (range(1, 8), 8)])
def test_a_hole_in_the_steps_is_named(run: RunDir, steps: Iterable[int], first: int) -> None:
    log(run, steps)
    evaluate(run, 8)
    assert missing(run, cell()) == f"step {first} of 8 is not logged"


@pytest.mark.parametrize(
    "dump",
    [None, {"samples": SAMPLES - 1}, {"samples": SAMPLES - 1, "tail": '{"uid": 5'}, {"tail": '{"uid": 6'}],
    ids=["absent", "short", "last line truncated", "begun again"],
)
def test_an_incomplete_final_evaluation_is_missed(run: RunDir, dump: dict[str, Any] | None) -> None:
    log(run, range(1, 9))
    evaluate(run, 4)
    if dump is not None:
        evaluate(run, 8, **dump)
    assert missing(run, cell()) == "the final evaluation (step 8) is not complete"
    assert missing(run, cell(every=0)) is None, "no evaluation planned, none missed"


def test_resume_from_the_newest_checkpoint_with_everything_recorded(run: RunDir) -> None:
    log(run, range(1, 8))
    save(run, 3, 6)
    assert resume_point(run, cell()) == 6


def test_without_a_checkpoint_from_scratch(run: RunDir) -> None:
    assert resume_point(run, cell()) == 0
    log(run, range(1, 8))
    assert resume_point(run, cell()) == 0


def test_killed_between_checkpoint_and_log_the_step_is_trained_again(run: RunDir) -> None:
    log(run, range(1, 6), tail=trained(6)[:-4])
    save(run, 3, 6)
    assert resume_point(run, cell()) == 3


def test_a_hole_before_the_checkpoint_is_filled(run: RunDir) -> None:
    log(run, [1, 2, 3, 5, 6])
    save(run, 3, 6)
    assert resume_point(run, cell()) == 3


@pytest.mark.parametrize(("samples", "point"), [(None, 2), (SAMPLES - 1, 2), (SAMPLES, 4)])
def test_a_planned_evaluation_of_the_checkpoint_is_complete(
    run: RunDir, samples: int | None, point: int
) -> None:
    log(run, range(1, 5))
    save(run, 2, 4)
    if samples is not None:
        evaluate(run, 4, samples)
    assert resume_point(run, cell()) == point


def test_a_half_written_checkpoint_is_ignored(run: RunDir) -> None:
    log(run, range(1, 8))
    save(run, 3)
    save(run, 6, finished=False)
    assert progress.complete_checkpoints(run) == [3]
    assert resume_point(run, cell()) == 3


@pytest.mark.parametrize("tracker", [None, "six", "\xff"])
def test_without_a_readable_tracker_no_checkpoint_is_trusted(run: RunDir, tracker: str | None) -> None:
    log(run, range(1, 8))
    save(run, 3, finished=False)
    if tracker is not None:
        (run.checkpoints / "latest_checkpointed_iteration.txt").write_bytes(tracker.encode("latin-1"))
    assert resume_point(run, cell()) == 0


def test_a_tracker_that_a_kill_left_empty_discards_nothing(run: RunDir) -> None:
    log(run, range(1, 8))
    save(run, 3, 6)
    (run.checkpoints / "latest_checkpointed_iteration.txt").write_text("")
    assert resume_point(run, cell()) == 6


@pytest.mark.parametrize("lost", ["actor", "actor/model_world_size_1_rank_0.pt", "data.pt"])
def test_a_checkpoint_that_verl_thinned_out_is_not_resumed_from(run: RunDir, lost: str) -> None:
    """verl 0.9.1 keeps the newest models; of older checkpoints ``data.pt`` stays behind alone."""
    log(run, range(1, 7))
    save(run, 3, 6)
    path = run.checkpoints / "global_step_6" / lost
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    (run.checkpoints / "global_step_5.bak" / "actor").mkdir(parents=True)
    assert resume_point(run, cell()) == 3
