from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from synthetic import write_attempt

from cegppo_verl.records.derived import keep
from cegppo_verl.records.metrics import Metrics, load_metrics, load_series


def steps(first: int, last: int, entropy: float) -> list[tuple[int, dict]]:
    return [
        (n, {"actor/entropy": entropy + n / 100, "training/global_step": n}) for n in range(first, last + 1)
    ]


def entropies(metrics: Metrics) -> dict[int, float]:
    return dict(zip(*(column.tolist() for column in metrics.series("actor/entropy")), strict=True))


def attempts(metrics: Metrics) -> dict[int, int]:
    rows = metrics.frame[metrics.frame["key"] == "actor/entropy"]
    return dict(zip(rows["step"].tolist(), rows["attempt"].tolist(), strict=True))


def test_resume_at_step_5_after_a_kill_in_the_middle_of_a_line(tmp_path: Path) -> None:
    write_attempt(tmp_path, 1, steps(1, 6, 1.0), tail=b'{"step": 7, "data": {"actor/ent')
    write_attempt(tmp_path, 2, steps(5, 8, 2.0))
    metrics = load_metrics(tmp_path)
    assert entropies(metrics) == pytest.approx({n: (1.0 if n < 5 else 2.0) + n / 100 for n in range(1, 9)})
    assert attempts(metrics) == {n: 1 if n < 5 else 2 for n in range(1, 9)}
    assert metrics.notes == ("attempts/001/metrics.jsonl: 1 truncated line ignored",)
    assert metrics.last_step == 8


def test_attempts_are_ordered_by_number_and_not_by_name(tmp_path: Path) -> None:
    for number in (2, 10, 9):
        write_attempt(tmp_path, number, steps(1, 1, float(number)))
    (tmp_path / "attempts" / "1000").mkdir()
    (tmp_path / "attempts" / "notes").mkdir()
    assert entropies(load_metrics(tmp_path)) == {1: 10.01}


def test_validation_before_a_resumed_training_leaves_the_training_numbers_of_that_step(
    tmp_path: Path,
) -> None:
    write_attempt(
        tmp_path, 1, [(4, {"actor/entropy": 1.0, "val-core/pick/acc/mean@2": 0.5, "val-aux/x": 3.0})]
    )
    write_attempt(tmp_path, 2, [(4, {"val-core/pick/acc/mean@2": 0.6}), *steps(5, 5, 2.0)])
    frame = load_metrics(tmp_path).frame
    at_4 = frame[frame["step"] == 4].set_index("key")
    assert at_4["value"].to_dict() == {
        "actor/entropy": 1.0,
        "val-core/pick/acc/mean@2": 0.6,
        "val-aux/x": 3.0,
    }
    assert at_4["attempt"].to_dict() == {"actor/entropy": 1, "val-core/pick/acc/mean@2": 2, "val-aux/x": 1}


def test_a_retrained_step_keeps_nothing_of_the_older_attempt(tmp_path: Path) -> None:
    write_attempt(tmp_path, 1, [(5, {"actor/entropy": 1.0, "timing_s/save_checkpoint": 9.0})])
    write_attempt(tmp_path, 2, [(5, {"actor/entropy": 2.0})])
    assert load_metrics(tmp_path).keys() == ["actor/entropy"]


def test_steps_not_yet_retrained_stay_and_are_named(tmp_path: Path) -> None:
    write_attempt(tmp_path, 1, steps(1, 8, 1.0))
    write_attempt(tmp_path, 2, steps(5, 6, 2.0))
    metrics = load_metrics(tmp_path)
    assert attempts(metrics) == {1: 1, 2: 1, 3: 1, 4: 1, 5: 2, 6: 2, 7: 1, 8: 1}
    assert metrics.notes == ("steps 7 to 8 come from an older attempt; attempt 2 has reached 6",)


GARBLED = [
    b"\xff\xfe\x00",
    b"[1, 2]",
    b'{"step": "1", "data": {}}',
    b'{"step": true, "data": {"a": 1.0}}',
    b'{"step": -1, "data": {"a": 1.0}}',
    b'{"step": 1e400, "data": {"a": 1.0}}',
    b'{"step": 99999999999, "data": {"a": 1.0}}',
    b'{"step": 1, "data": [1]}',
    b'{"data": {"a": 1.0}}',
    b'{"step": 1, "data": {"a": 1' + b"0" * 400 + b"}}",
    b"[" * 100_000,
    b"null",
]


@pytest.mark.parametrize("line", GARBLED, ids=range(len(GARBLED)))
def test_a_garbled_line_is_counted_and_loses_no_other(tmp_path: Path, line: bytes) -> None:
    path = write_attempt(tmp_path, 1, steps(1, 2, 1.0))
    path.write_bytes(line + b"\n" + path.read_bytes())
    metrics = load_metrics(tmp_path)
    assert list(entropies(metrics)) == [1, 2]
    assert metrics.notes == ("attempts/001/metrics.jsonl: 1 garbled line ignored",)


def test_null_is_logged_but_not_finite_and_text_is_no_number(tmp_path: Path) -> None:
    write_attempt(tmp_path, 1, [(1, {"actor/grad_norm": None, "note": "hello", "flag": True})])
    frame = load_metrics(tmp_path).frame.set_index("key")["value"]
    assert np.isnan(frame["actor/grad_norm"])
    assert frame["flag"] == 1.0
    assert "note" not in frame.index


@pytest.mark.parametrize(
    "make", [lambda path: None, lambda path: (path / "attempts" / "001").mkdir(parents=True)]
)
def test_an_empty_run_gives_an_empty_frame_and_writes_nothing(tmp_path: Path, make) -> None:
    make(tmp_path)
    metrics = load_metrics(tmp_path)
    assert (len(metrics.frame), metrics.last_step, metrics.keys(), metrics.notes) == (0, None, [], ())
    assert not (tmp_path / "metrics.parquet").exists()


def test_an_initial_validation_is_no_trained_step(tmp_path: Path) -> None:
    write_attempt(tmp_path, 1, [(0, {"val-core/pick/acc/mean@2": 0.5})])
    assert load_metrics(tmp_path).last_step is None


def test_the_kept_table_is_used_and_is_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_attempt(tmp_path, 1, steps(1, 3, 1.0), tail=b"{")
    fresh = load_metrics(tmp_path)
    monkeypatch.setattr("cegppo_verl.records.metrics._build", None)  # building again would fail
    kept = load_metrics(tmp_path)
    assert kept.frame.equals(fresh.frame)
    assert kept.notes == fresh.notes


def test_a_changed_source_rebuilds_whatever_the_clock_says(tmp_path: Path) -> None:
    path = write_attempt(tmp_path, 1, steps(1, 3, 1.0))
    load_metrics(tmp_path)
    write_attempt(tmp_path, 1, steps(1, 4, 1.0))
    os.utime(path, (1, 1))
    assert load_metrics(tmp_path).last_step == 4


@pytest.mark.parametrize("damage", [b"", b"PAR1", b"not parquet at all" * 100])
def test_a_damaged_table_is_rebuilt(tmp_path: Path, damage: bytes) -> None:
    write_attempt(tmp_path, 1, steps(1, 3, 1.0))
    load_metrics(tmp_path)
    (tmp_path / "metrics.parquet").write_bytes(damage)
    assert load_metrics(tmp_path).last_step == 3
    assert (tmp_path / "metrics.parquet").stat().st_size > len(damage)


def test_the_table_alone_is_enough(tmp_path: Path) -> None:
    path = write_attempt(tmp_path, 1, steps(1, 3, 1.0))
    load_metrics(tmp_path)
    path.unlink()
    assert load_metrics(tmp_path).last_step == 3


def test_no_temporary_file_stays_and_the_table_is_reproducible(tmp_path: Path) -> None:
    write_attempt(tmp_path, 1, steps(1, 3, 1.0))
    load_metrics(tmp_path)
    first = (tmp_path / "metrics.parquet").read_bytes()
    (tmp_path / "metrics.parquet").unlink()
    load_metrics(tmp_path)
    assert (tmp_path / "metrics.parquet").read_bytes() == first
    assert sorted(path.name for path in tmp_path.iterdir()) == ["attempts", "metrics.parquet"]


def test_a_run_of_a_thousand_steps_reads_in_a_fraction_of_a_second(tmp_path: Path) -> None:
    import time

    line = {f"group/key{index}": 0.123456789 * index for index in range(40)}
    path = write_attempt(tmp_path, 1, [])
    path.write_text("".join(json.dumps({"step": n, "data": line}) + "\n" for n in range(1000)))
    start = time.process_time()
    assert len(load_metrics(tmp_path).frame) == 40_000
    assert time.process_time() - start < 1.0  # measured 0.05; 100 such runs in seconds


def test_the_numbers_alone_are_those_of_the_frame(tmp_path: Path) -> None:
    write_attempt(tmp_path, 1, [*steps(1, 4, 1.0), (4, {"val-core/pick": None}), (2, {"b": 1.0, "a": 2.0})])
    metrics, (numbers, notes) = load_metrics(tmp_path), load_series(tmp_path)
    pd.testing.assert_frame_equal(numbers.frame(), metrics.frame.drop(columns="attempt"))
    assert (numbers.keys(), numbers.last_step, notes) == (metrics.keys(), metrics.last_step, metrics.notes)
    steps_of_a, values = numbers.series("a")
    assert (steps_of_a.tolist(), values.tolist()) == ([2], [2.0])
    assert len(numbers.series("never logged")[0]) == 0


def test_a_row_without_a_step_is_no_step_0(tmp_path: Path) -> None:
    frame = pd.DataFrame({"step": [1.0, None, 3.0], "key": ["a", "a", None], "value": [1.0, 2.0, 3.0]})
    keep(tmp_path / "metrics.parquet", frame.assign(attempt=1))
    numbers, notes = load_series(tmp_path)
    assert numbers.series("a")[0].tolist() == [1]
    assert notes == ("2 rows without step or key ignored",)


def test_an_empty_run_has_no_numbers(tmp_path: Path) -> None:
    numbers, notes = load_series(tmp_path)
    assert (numbers.keys(), numbers.last_step, len(numbers.frame()), notes) == ([], None, 0, ())
