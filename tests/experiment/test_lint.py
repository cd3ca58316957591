"""The lint: for every rule a grid that triggers it, and one that does not."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from experiment.earlier_runs import record

from cegppo_verl.experiment import catalog
from cegppo_verl.experiment.expand import expand
from cegppo_verl.experiment.grid import Arm, Grid, load_grid
from cegppo_verl.experiment.lint import Finding, data, lint, recovery
from cegppo_verl.experiment.lint.finding import Look
from cegppo_verl.experiment.recorded import Recorded

ABLATIONS = Path(__file__).parents[2] / "ablations"
DEMO = ABLATIONS / "demo.yaml"
PAPER = "deepseek-r1-distill-qwen-1.5b"


def grid(**changes: Any) -> Grid:
    return load_grid(DEMO).model_copy(update=changes)


def remarks(grid: Grid, results: Path | None = None, assets: Path | None = None) -> list[Finding]:
    return lint(grid, expand(grid), Recorded(results) if results else None, assets)


def warnings(grid: Grid, results: Path | None = None) -> list[Finding]:
    return [finding for finding in remarks(grid, results) if finding.level == "warning"]


def arm(name: str, algorithm: str, settings: dict[str, Any] | None = None, **params: object) -> Arm:
    return Arm(name=name, algorithm=algorithm, params=params, settings=settings or {})


def about(findings: Sequence[Finding], words: str) -> list[Finding]:
    return [finding for finding in findings if words in finding.message]


INERT = {"mini_batch_size": 32, "ppo_epochs": 1, "micro_batch_size": 64}
CASES: dict[str, tuple[dict[str, Any], str, str]] = {
    "one update per rollout batch": (
        {"settings": INERT},
        "settings.mini_batch_size",
        "no clip, ε or β can act: all arms are the same run",
    ),
    "ε that is a bound": (
        {"arms": [arm("a", "dapo", epsilon_high=1.28)]},
        "a",
        "epsilon_high = 1.28 looks like a bound",
    ),
    "ε_low that is a bound": (
        {"arms": [arm("a", "dapo", epsilon_low=0.8)]},
        "a",
        "epsilon_low = 0.8 looks like",
    ),
    "β above 1": ({"arms": [arm("a", "cegppo", beta1=1.5, beta2=1)]}, "a", "beta1 > 1"),
    "dapo that is grpo": (
        {"arms": [arm("a", "grpo"), arm("b", "dapo", epsilon_high=0.2)]},
        "b",
        "'b' is the same function as 'a'",
    ),
    "cegppo that is grpo": (
        {"arms": [arm("a", "grpo"), arm("b", "cegppo", beta1=0, beta2=0, dual_clip=3)]},
        "b",
        "'b' is the same function as 'a'",
    ),
    "top_p in training": ({"settings": {"top_p": 0.9}}, "settings.top_p", "ratios are biased"),
    "unequal steps": (
        {"arms": [arm("a", "grpo"), arm("b", "dapo", {"total_steps": 48})]},
        "arms",
        "toy-s: arms differ in training steps: 24 (a); 48 (b)",
    ),
    "unequal rollouts": (
        {"arms": [arm("a", "grpo"), arm("b", "dapo", {"rollouts_per_prompt": 16})]},
        "arms",
        "rollouts per step: 256 (a); 512 (b)",
    ),
    "unequal lengths": (
        {"arms": [arm("a", "grpo"), arm("b", "dapo", {"max_response_length": 5})]},
        "arms",
        "response length: 6 (a); 5 (b)",
    ),
    "unequal updates": (
        {"arms": [arm("a", "grpo"), arm("b", "dapo", {"ppo_epochs": 1})]},
        "arms",
        "optimiser updates per step: 8 (a); 4 (b)",
    ),
    "unequal evaluation": (
        {"arms": [arm("a", "grpo"), arm("b", "dapo", {"eval": {"every": 12}})]},
        "arms",
        "steps between evaluations: 6 (a); 12 (b)",
    ),
    "few checkpoints": (
        {"settings": {"checkpoint": {"every": 24}}},
        "settings.checkpoint.every",
        "a kill loses up to 24 of 24 steps",
    ),
}


@pytest.mark.parametrize(("changes", "key", "words"), CASES.values(), ids=list(CASES))
def test_warnings(changes: dict[str, Any], key: str, words: str) -> None:
    found = warnings(grid(**changes))
    assert [finding.key for finding in found] == [key]
    assert words in found[0].message


def test_the_demo_has_remarks_but_no_warnings() -> None:
    found = remarks(grid())
    assert {finding.level for finding in found} == {"info"}
    assert [finding.key for finding in found] == ["arms", "seeds", "task pick"]


@pytest.mark.parametrize("file", sorted(ABLATIONS.glob("*.yaml")), ids=lambda file: file.stem)
def test_what_is_said_of_the_committed_grids_is_about_what_they_compare(file: Path) -> None:
    for finding in warnings(load_grid(file), ABLATIONS.parent / "results" / "runs"):
        assert "looks like a bound" not in finding.message
        assert "never fires" not in finding.message


def test_a_dual_clip_that_no_ratio_reaches_is_off() -> None:
    far = [arm("a", "grpo", dual_clip=1e9), arm("b", "cegppo", beta1=0.5, beta2=1)]
    assert about(remarks(grid(arms=far)), "dual clip") == []
    near = [arm("a", "grpo", dual_clip=3), arm("b", "cegppo", beta1=0.5, beta2=1)]
    assert "3 (a); off (b)" in about(remarks(grid(arms=near)), "dual clip")[0].message
    same = [arm("a", "grpo", dual_clip=1e9), arm("b", "cegppo", beta1=0, beta2=0)]
    assert about(warnings(grid(arms=same)), "the same function")


def test_an_arm_with_one_update_among_others_is_named() -> None:
    found = warnings(grid(arms=[*grid().arms[:2], arm("once", "cegppo", INERT, beta1=0.5, beta2=1)]))
    (one,) = about(found, "one update")
    assert one.message.startswith("toy-s, once: one update per rollout batch")
    assert "such arms" in one.message


def earlier(results: Path, below: float, above: float = 5.0, algorithm: str = "grpo", **params: Any) -> Path:
    """A run of the demo's settings that counted its tokens."""
    counts = {"tokens": 100.0, "neg_below": below, "pos_above": above}
    cell = expand(grid(arms=[arm("old", algorithm, **params)], name="old"))[0]
    return record(results, cell, 3, more={f"actor/anatomy/{name}": value for name, value in counts.items()})


def test_a_beta_without_tokens_to_act_on(tmp_path: Path) -> None:
    earlier(tmp_path, below=0.0)
    (found,) = about(warnings(grid(), tmp_path), "cannot act")
    assert found.key == "cegppo"
    assert "beta1 cannot act: no token was there (neg_below) in 1 earlier runs" in found.message
    off = grid(arms=[arm("a", "cegppo", beta1=0, beta2=1), arm("b", "grpo", epsilon=0.1)])
    assert about(warnings(off, tmp_path), "cannot act") == []


@pytest.mark.parametrize(
    ("below", "changes"),
    [
        (0.5, {}),  # there were such tokens
        (0.0, {"epsilon": 0.3}),  # a wider interval says nothing about a narrower one
        (0.0, {"algorithm": "gspo"}),  # another ratio
    ],
)
def test_a_beta_that_may_act(tmp_path: Path, below: float, changes: dict[str, Any]) -> None:
    earlier(tmp_path, below=below, **changes)
    assert about(warnings(grid(), tmp_path), "cannot act") == []


def test_runs_with_other_updates_say_nothing_about_beta(tmp_path: Path) -> None:
    earlier(tmp_path, below=0.0)
    assert about(warnings(grid(settings={"learning_rate": 1e-3}), tmp_path), "cannot act") == []
    assert about(warnings(grid(settings={"ppo_epochs": 1}), tmp_path), "cannot act") == []


LOSS = """
from cegppo_verl.losses.loss import Interval, Loss
from cegppo_verl.losses.parameters import Parameters, param
from dataclasses import dataclass

@dataclass(frozen=True, kw_only=True)
class Params(Parameters):
    epsilon_low: float = param("ε_low", "a distance")
    epsilon_high: float = param("ε_high", "a distance")

LOSS = Loss(params=Params, weight=lambda tokens, params: tokens.ratio, title="t", summary="s", paper="p",
            equation="e", positive="w", negative="w",
            interval=lambda p: Interval(p.epsilon_low, p.epsilon_high, level="LEVEL"))
"""


@pytest.mark.parametrize(
    ("level", "size", "words"),
    [
        ("sequence", 0.2, "the size for tokens"),
        ("sequence", 3e-4, ""),
        ("token", 3e-4, "the size for sequences"),
        ("token", 0.2, ""),
    ],
)
def test_the_size_of_epsilon_fits_the_ratio(tmp_path: Path, level: str, size: float, words: str) -> None:
    (tmp_path / "own.py").write_text(LOSS.replace("LEVEL", level))
    own = arm("own", str(tmp_path / "own.py"), epsilon_low=size, epsilon_high=size)
    found = warnings(grid(arms=[own, arm("gspo", "gspo")]))
    assert [finding.key for finding in found] == (["own", "own"] if words else [])
    assert all(words in finding.message for finding in found)


def test_one_run_for_two_cells_is_said() -> None:
    cells = expand(grid())
    double = [*cells, cells[0].model_copy(update={"arm": "again"})]
    (found,) = about(lint(grid(), double), "one run serves 2 cells")
    assert "grpo at toy-s, seed 1, again at toy-s, seed 1" in found.message
    assert about(lint(grid(), cells), "one run serves") == []


def test_cells_of_another_grid_are_said(tmp_path: Path) -> None:
    cells = expand(grid())
    record(tmp_path, cells[0], 2)
    assert about(remarks(grid(), tmp_path), "also in grid") == []
    record(tmp_path, cells[1], 2, grid="fig3")
    (found,) = about(remarks(grid(), tmp_path), "also in grid")
    assert found.message == "1 cell is also in grid 'fig3' and used from there: dapo-clip-higher"


def test_periods_that_seldom_meet() -> None:
    seldom = grid(settings={"checkpoint": {"every": 4}})
    (found,) = about(remarks(seldom), "seldom meet")
    assert (found.level, found.key) == ("info", "settings.checkpoint.every")
    for every in (2, 3, 6, 12):
        assert about(remarks(grid(settings={"checkpoint": {"every": every}})), "seldom meet") == []


def test_a_kill_that_costs_hours(tmp_path: Path) -> None:
    record(tmp_path, expand(grid())[0], 3, seconds=3600.0)
    (found,) = about(warnings(grid(), tmp_path), "a kill loses")
    assert "up to 6 steps, about 6.0 h" in found.message
    assert about(warnings(grid()), "a kill loses") == []
    short = {"total_steps": 8, "checkpoint": {"every": 8}, "eval": {"every": 8}}
    assert about(warnings(grid(settings=short)), "a kill loses") == []  # soon repeated


@pytest.mark.parametrize(
    ("hardware", "settings", "words"),
    [
        ({"tensor_parallel": 3}, {}, "tensor_parallel 3 does not divide the 8 GPUs"),
        ({"sequence_parallel": 8}, {"micro_batch_size": 3}, "a shard's 128 sequences"),
        ({"sequence_parallel": 8}, {"micro_batch_size": 4}, ""),
        ({}, {}, ""),
    ],
)
def test_parallel_sizes_divide(
    hardware: dict[str, int], settings: dict[str, int], words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    cells = expand(load_grid(DEMO, scale=PAPER))
    cells = [c.model_copy(update={"settings": c.settings.model_copy(update=settings)}) for c in cells]
    known = catalog.scale(PAPER)
    other = known.model_copy(update={"hardware": known.hardware.model_copy(update=hardware)})
    monkeypatch.setattr(catalog, "scale", lambda name: other)
    found = list(recovery._shards(Look(grid(), cells[:1])))
    assert [words in finding.message for finding in found] == ([True] if words else [])


def test_stop_rules_need_a_metric_that_is_logged(tmp_path: Path) -> None:
    def look(*metrics: str, results: Path = tmp_path) -> list[Finding]:
        rules = [SimpleNamespace(metric=metric) for metric in metrics]
        stub: Any = SimpleNamespace(early_stop=rules)
        return list(recovery._stop_rules(Look(stub, expand(grid()), Recorded(results))))

    assert [f.message for f in look("actor/entropy")] == [
        "not checked whether its metrics are logged: no earlier run"
    ]
    record(tmp_path, expand(grid())[0], 2, more={"actor/entropy": 1.0})
    assert look("actor/entropy") == []
    assert look() == []
    (found,) = look("actor/entropy", "actor/entropie")
    assert (found.key, "never fires" in found.message) == ("early_stop[1]", True)
    assert "actor/entropy" in found.hint


def problems(file: Path, *texts: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    rows = [
        {"prompt": [{"role": "system", "content": "Think."}, {"role": "user", "content": t}]} for t in texts
    ]
    if file.suffix == ".jsonl":
        file.write_text("\n".join(map(json.dumps, rows)))
        return
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.Table.from_pylist(rows), file)


def paper_data(assets: Path, train: Sequence[str]) -> list[Finding]:
    task = catalog.task("math")
    problems(assets / str(task.train_file), *train)
    problems(assets / str(task.benchmarks["aime24"].file), "What is  1+1?", "Find x.")
    data._problems.cache_clear()
    found = remarks(load_grid(DEMO, scale=PAPER), assets=assets)
    return [*about(found, "test problems are in"), *about(found, "overlap of")]


def test_problems_in_both_training_and_test(tmp_path: Path) -> None:
    found = paper_data(tmp_path, ["another", "what is 1+1?"])
    assert [finding.level for finding in found] == ["warning", "info"]
    assert found[0].key == "math, aime24"
    assert found[0].message.startswith("1 of 2 test problems are in the training data: what is 1+1?")
    assert "file absent: AIME25/test.parquet" in found[1].message


def test_training_data_without_test_problems(tmp_path: Path) -> None:
    assert [finding.level for finding in paper_data(tmp_path, ["another"])] == ["info"]


def test_absent_and_damaged_files_are_not_checked(tmp_path: Path) -> None:
    (found,) = about(remarks(load_grid(DEMO, scale=PAPER), assets=tmp_path), "overlap")
    assert "not checked, file absent: KlearReasoner" in found.message
    paper_data(tmp_path, ["another"])
    (tmp_path / "AIME24" / "test.parquet").write_bytes(b"PAR1 no")
    data._problems.cache_clear()
    found = about(remarks(load_grid(DEMO, scale=PAPER), assets=tmp_path), "is not readable")[0]
    assert found.level == "warning"


def test_generated_halves_share_nothing() -> None:
    """What the plan says about generated tasks."""
    from cegppo_verl.toy import pick

    assert about(remarks(grid()), data.DISJOINT)
    assert not set(pick.all_prompts("train")) & set(pick.all_prompts("validation"))


def test_repeated_data_and_deviations_are_said() -> None:
    assert about(remarks(grid(settings={"train_prompts": 256})), "3.0 times")
    assert about(remarks(load_grid(DEMO, scale=PAPER)), "positive_loss_coeff")


def test_a_remark_is_made_once_for_all_seeds() -> None:
    found = remarks(grid(seeds=[1, 2, 3], settings=INERT))
    assert len([finding for finding in found if finding.key == "settings.mini_batch_size"]) == 1
