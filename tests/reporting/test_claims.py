"""Claims decided from runs of known truth."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import subprocess
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from scipy import stats as scipy_stats
from synthetic import FakeRun
from typer.testing import CliRunner

from cegppo_verl.cli import app
from cegppo_verl.errors import UserError
from cegppo_verl.experiment.claims import (
    Agreement,
    Claim,
    Evidence,
    Exploration,
    Measure,
    StudyFile,
    load_study,
)
from cegppo_verl.experiment.grid import load_grid
from cegppo_verl.records.status import PLANNED
from cegppo_verl.reporting.claims import MEASURES, Grid, build_study, decide
from cegppo_verl.reporting.claims.agreement import compare
from cegppo_verl.reporting.claims.exploration import explore
from cegppo_verl.reporting.claims.verdict import OPEN, REFUTED, SUPPORTED
from cegppo_verl.stats.by_seed import mean_over_seeds, slope

ROOT = Path(__file__).resolve().parents[2]
SEEDS = (1, 2, 3, 4, 5)
SCATTER = (0.00, 0.01, -0.01, 0.02, -0.02)  # shared by all arms of a seed: pairing removes it
TEXT = {"claim": "A sentence that can be wrong.", "source": "somebody, somewhere"}


def claim(name: str = "one", expected: str = "positive", **test) -> Claim:
    body = {"name": name, **TEXT, "evidence": ["grid"], "measure": {"of": "entropy"}, "expected": expected}
    return Claim.model_validate({**body, **test})


def study(*claims: Claim) -> StudyFile:
    return StudyFile.model_validate(
        {
            "name": "study",
            "question": "Which way does it go?",
            "design": "Two arms, five seeds.",
            "threats": ["The runs are made up."],
            "evidence": {"grid": {"grid": "x.yaml"}, "other": {"grid": "x.yaml"}},
            "claims": [one.model_dump() for one in claims],
        }
    )


def arm(root: Path, name: str, level: float, noise: float = 0.003, **fields) -> list:
    own = noise * np.random.default_rng(len(name)).standard_normal(len(SEEDS))
    entropies = level + np.array(SCATTER) + own
    verdicts = {8: np.ones((4, 2)) if level > 0.5 else np.eye(4, 2)}
    return [
        FakeRun(arm=name, seed=seed, entropy=lambda step, h=h: h, verdicts=verdicts, **fields).view(root)
        for seed, h in zip(SEEDS, entropies.tolist(), strict=True)
    ]


@pytest.fixture
def grid(tmp_path: Path) -> Grid:
    runs = [*arm(tmp_path, "low", 0.40), *arm(tmp_path, "middle", 0.60), *arm(tmp_path, "high-up", 0.80)]
    return Grid("grid", tuple(runs), "cegppo run x.yaml", "verl-0.9.1")


def verdict(grid: Grid, **test) -> str:
    (found,) = decide(study(claim(**test)), {"grid": grid})
    return found.verdict


def test_the_sign_decides(grid: Grid) -> None:
    assert verdict(grid, difference=("high-up", "low")) == SUPPORTED
    assert verdict(grid, difference=("low", "high-up")) == REFUTED
    assert verdict(grid, difference=("low", "high-up"), expected="negative") == SUPPORTED
    assert verdict(grid, difference=("low", "low")) == OPEN


def test_numbers_are_those_of_the_runs(grid: Grid) -> None:
    (found,) = decide(study(claim(difference=("high-up", "low"))), {"grid": grid})
    assert found.seeds == SEEDS
    assert np.abs(np.array(found.values) - 0.4).max() < 0.02  # the scatter of the seeds is gone
    over = {"low": 0.0, "middle": 0.5, "high-up": 1.0}
    (found,) = decide(study(claim(slope={"over": over})), {"grid": grid})
    assert found.result is not None
    assert found.result.interval.point == pytest.approx(0.4, abs=0.01)
    (found,) = decide(study(claim(level={"arm": "low", "than": 0.5})), {"grid": grid})
    assert found.result is not None
    assert found.result.interval.point == pytest.approx(-0.1, abs=0.01)


def test_accuracy_is_of_the_last_evaluation(grid: Grid) -> None:
    body = {"measure": {"of": "accuracy"}, "difference": ("high-up", "low")}
    (found,) = decide(study(claim(**body)), {"grid": grid})
    assert found.values == pytest.approx([0.75] * 5)  # 8 of 8 against 2 of 8
    (found,) = decide(
        study(claim(measure={"of": "accuracy"}, level={"arm": "low", "than": 20})), {"grid": grid}
    )
    assert found.values == pytest.approx([0.05] * 5)  # 25 % against 20 points


def test_a_window_needs_every_step(tmp_path: Path) -> None:
    runs = arm(tmp_path, "low", 0.4)
    grid = Grid("grid", tuple(runs), "", "verl")
    inside = claim(measure={"of": "entropy", "steps": (1, 8)}, level={"arm": "low", "than": 0})
    beyond = claim(measure={"of": "entropy", "steps": (1, 9)}, level={"arm": "low", "than": 0})
    assert decide(study(inside), {"grid": grid})[0].result is not None
    assert decide(study(beyond), {"grid": grid})[0].verdict == "not run"


def test_unfinished_seeds_and_absent_arms_do_not_count(grid: Grid, tmp_path: Path) -> None:
    late = FakeRun(arm="late", seed=1, trained_steps=3).view(tmp_path, PLANNED, 3)
    found = decide(
        study(claim(difference=("late", "low")), claim("two", difference=("gone", "low"))),
        {"grid": Grid("grid", (*grid.runs, late), "", "verl")},
    )
    assert [one.verdict for one in found] == ["not run", "not run"]
    assert "step 3 of 8" in found[0].missing
    assert "gone" in found[1].missing
    unevaluated = FakeRun(arm="late", seed=2).view(tmp_path, PLANNED)  # every step, but no final evaluation
    early = claim(measure={"of": "entropy", "steps": (1, 3)}, difference=("late", "low"))
    (one,) = decide(study(early), {"grid": Grid("grid", (*grid.runs, unevaluated), "", "verl")})
    assert one.verdict == "not run"
    partial = Grid("grid", tuple(run for run in grid.runs if (run.arm, run.seed) != ("low", 2)), "", "verl")
    (found,) = decide(study(claim(difference=("high-up", "low"))), {"grid": partial})
    assert found.seeds == (1, 3, 4, 5)


def test_one_seed_tells_nothing(grid: Grid) -> None:
    single = Grid("grid", tuple(run for run in grid.runs if run.seed == 1), "", "verl")
    assert verdict(single, difference=("high-up", "low")) == OPEN


def test_holm_is_over_the_claims_of_an_engine(grid: Grid) -> None:
    weak = [claim(f"weak-{n}", level={"arm": "low", "than": 0.4}) for n in range(3)]
    other = Grid("other", grid.runs, "", "reference-1")
    both = claim("both", difference=("high-up", "low"), evidence=["grid", "other"])
    found = decide(study(*weak, both), {"grid": grid, "other": other})
    raw = found[-1].result.p_value
    assert found[-2].p_holm == pytest.approx(4 * raw)
    assert found[-1].p_holm == pytest.approx(raw)  # alone with its engine


def test_entropies_of_two_kinds_are_not_compared(tmp_path: Path) -> None:
    runs = [*arm(tmp_path, "low", 0.4), *arm(tmp_path, "gspo", 0.6, algorithm="gspo", params={})]
    with pytest.raises(UserError, match="entropy"):
        decide(study(claim(difference=("gspo", "low"))), {"grid": Grid("grid", tuple(runs), "", "verl")})


def test_against_scipy() -> None:
    values = np.random.default_rng(3).normal(0.3, 1, 7)
    found, theirs = mean_over_seeds(values), scipy_stats.ttest_1samp(values, 0)
    assert found.p_value == pytest.approx(theirs.pvalue)
    assert (found.interval.low, found.interval.high) == pytest.approx(tuple(theirs.confidence_interval()))
    y = np.random.default_rng(4).normal(size=(2, 4))
    x = np.array([0.0, 0.25, 0.5, 1.0])
    assert slope(x, y) == pytest.approx([scipy_stats.linregress(x, row).slope for row in y])
    for wrong in ([], [1.0, float("nan")]):
        with pytest.raises(ValueError, match="per seed"):
            mean_over_seeds(np.array(wrong))
    with pytest.raises(ValueError, match="two different"):
        slope(np.ones(3), np.ones((2, 3)))


def test_the_detectable_effect_is_found_with_the_stated_probability() -> None:
    rng = np.random.default_rng(5)
    draws = rng.normal(0, 1, (4000, 8))
    at = mean_over_seeds(rng.normal(0, 1, 8) * 0 + np.array([1, -1] * 4) / np.sqrt(8 / 7)).detectable  # sd 1
    hits = scipy_stats.ttest_1samp(draws + at, 0, axis=1).pvalue < 0.05
    assert 0.75 < hits.mean() < 0.85


def test_the_report_has_every_number_and_the_same_bytes_twice(grid: Grid) -> None:
    asked = study(claim(difference=("high-up", "low")), claim("two", level={"arm": "none", "than": 0}))
    contents = build_study(asked, {"grid": grid}, "cegppo study x.yaml")
    assert contents == build_study(asked, {"grid": grid}, "cegppo study x.yaml")
    rows = list(csv.DictReader(io.StringIO(contents["claims.csv"].decode())))
    assert [row["verdict"] for row in rows] == [SUPPORTED, "not run"]
    report = contents["report.md"].decode()
    for said in ("**supported**", "not run: the grid has no arm none", "The runs are made up.", "15 of 15"):
        assert said in report
    assert set(contents) >= {"report.md.json", "claims.svg", "claims.png", "claims.pdf", "claims.csv.json"}
    assert len(json.loads(contents["claims.svg.json"])["drawn"]) > 10


def test_nothing_run_is_still_a_report() -> None:
    contents = build_study(study(claim(difference=("a", "b"))), {"grid": Grid("grid", (), "")}, "")
    assert b"not run" in contents["report.md"]


def by_two_engines(tmp_path: Path, shift: float) -> dict[str, Grid]:
    """The same arm twice; the second engine's entropies are higher by ``shift``."""
    return {
        "grid": Grid("grid", tuple(arm(tmp_path / "a", "low", 0.4)), "", "verl-0.9.1"),
        "other": Grid("other", tuple(arm(tmp_path / "b", "low", 0.4 + shift)), "", "reference-1"),
    }


def agreeing(margin: float = 0.05, of: str = "entropy") -> StudyFile:
    asked = {"between": ["grid", "other"], "arms": ["low"], "margin": margin, "why": "Half of what matters."}
    return study(claim(level={"arm": "low", "than": 0})).model_copy(
        update={"agreements": [Agreement.model_validate({**asked, "measure": {"of": of}})]}
    )


@pytest.mark.parametrize(("shift", "verdict"), [(0.005, "agree"), (0.2, "differ"), (0.04, "cannot tell")])
def test_engines_agree_only_within_the_margin(shift: float, verdict: str, tmp_path: Path) -> None:
    grids = by_two_engines(tmp_path, shift)
    (found,) = compare(agreeing(), grids)
    assert found.verdict == verdict
    report = build_study(agreeing(), grids, "")["report.md"].decode()
    assert f"**{verdict}** |" in report
    assert "Half of what matters." in report


def test_a_margin_has_the_unit_that_is_shown(tmp_path: Path) -> None:
    (found,) = compare(agreeing(margin=5, of="accuracy"), by_two_engines(tmp_path, 0.2))
    assert found.numbers == (pytest.approx((25.0,) * 5), pytest.approx((100.0,) * 5))
    assert found.verdict == "differ"


def test_only_the_runs_of_the_arm_are_compared(tmp_path: Path) -> None:
    grids = by_two_engines(tmp_path, 0.005)
    more = (*grids["other"].runs, *arm(tmp_path / "c", "another", 0.9))
    (found,) = compare(agreeing(), grids | {"other": dataclasses.replace(grids["other"], runs=more)})
    assert [len(side) for side in found.numbers] == [len(SEEDS)] * 2
    assert found.verdict == "agree"


def test_an_engine_without_runs_is_not_run(tmp_path: Path) -> None:
    grids = by_two_engines(tmp_path, 0.0) | {"other": Grid("other", (), "")}
    (found,) = compare(agreeing(), grids)
    assert found.verdict == "not run"
    assert "not run" in build_study(agreeing(), grids, "")["report.md"].decode().partition("agree?")[2]


def exploring(of: str = "entropy") -> StudyFile:
    points = {
        "wide": ("grid", "high-up", "low"),
        "narrow": ("grid", "middle", "low"),
        "none": ("grid", "x", "low"),
    }
    asked = {"name": "gap", "question": "How wide is the gap?", "measure": {"of": of}, "over": "gap"}
    return study(claim(level={"arm": "low", "than": 0})).model_copy(
        update={"explorations": [Exploration.model_validate({**asked, "points": points})]}
    )


def test_explorations_are_described_and_decide_nothing(grid: Grid) -> None:
    (found,) = explore(exploring(), {"grid": grid})
    wide, narrow, none = found.points
    assert wide.result is not None
    assert narrow.result is not None
    assert wide.result.interval.point == pytest.approx(0.4, abs=0.01)
    assert narrow.result.interval.point == pytest.approx(0.2, abs=0.01)
    assert wide.first - wide.second == pytest.approx(wide.result.interval.point)
    assert none.result is None
    contents = build_study(exploring(), {"grid": grid}, "")
    report = contents["report.md"].decode().partition("## Explorations")[2].partition("## Design")[0]
    assert "not run" in report
    assert not any(word in report for word in (SUPPORTED, REFUTED))
    assert len(json.loads(contents["gap.svg.json"])["drawn"]) > 10


def test_explorations_have_the_unit_that_is_shown(grid: Grid) -> None:
    (found,) = explore(exploring("accuracy"), {"grid": grid})
    assert (found.points[0].first, found.points[0].second) == pytest.approx((100.0, 25.0))
    assert found.points[0].values == pytest.approx((75.0,) * len(SEEDS))


FILE = ROOT / "ablations/studies/clipping.yaml"


def test_the_committed_study_fits_its_grids(tmp_path: Path) -> None:
    found = load_study(FILE, MEASURES)
    ran = CliRunner().invoke(
        app, ["study", str(FILE), "--results", str(tmp_path), "--out", str(tmp_path / "o")]
    )
    assert ran.exit_code == 0, ran.output
    report = (tmp_path / "o/clipping/report.md").read_text()
    assert "has no arm" not in report
    assert f"{sum(len(one.evidence) for one in found.claims)} not run" in report
    for line in report.partition("## Explorations")[2].splitlines():
        assert "no arm" not in line
    grids = {name: _arms(one) for name, one in found.evidence.items()}
    for one in found.explorations:
        for evidence, *arms in one.points.values():
            assert set(arms) <= grids[evidence], (one.name, evidence, arms)
    for agreed in found.agreements:
        assert all(set(agreed.arms) <= grids[side] for side in agreed.between)


SMALL = """
name: small
question: Is the committed demo there?
design: One arm, one seed.
threats: [It is one seed of a toy.]
evidence: {demo: {grid: demo.yaml}}
claims:
  - name: falls
    claim: The entropy of GRPO falls.
    source: nobody doubts it
    evidence: [demo]
    measure: {of: entropy_kept}
    level: {arm: grpo, than: 1}
    expected: negative
"""


def test_the_check_of_all_reports_checks_studies_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("small.yaml").write_text(SMALL)
    Path("demo.yaml").write_text((ROOT / "ablations/demo.yaml").read_text())
    records = ["--results", str(ROOT / "results/runs")]
    assert CliRunner().invoke(app, ["study", "small.yaml", *records]).exit_code == 0
    assert "follows from its records" in CliRunner().invoke(app, ["report", "--check", *records]).output
    report = Path("reports/small/report.md")
    report.write_text(report.read_text().replace("cannot tell", "supported"))
    changed = CliRunner().invoke(app, ["report", "--check", *records])
    assert changed.exit_code == 1
    assert "report.md" in changed.output


def test_the_commands_of_a_study_run_in_a_shell() -> None:
    """Every piece of evidence as one command, which names the grid, the scale and all seeds."""
    said = CliRunner().invoke(app, ["study", str(FILE), "--commands"])
    lines, evidence = said.output.splitlines(), load_study(FILE, MEASURES).evidence
    assert len(lines) == len(evidence)
    for line, one in zip(lines, evidence.values(), strict=True):
        echoed = subprocess.run(["bash", "-c", f"echo {line}"], capture_output=True, text=True, check=True)
        words = echoed.stdout.split()
        assert words[:2] == ["cegppo", "run"]
        assert Path(words[2]).name == Path(one.grid).name
        assert [int(b) for a, b in pairwise(words) if a == "--seed"] == (one.seeds or [])
        assert ("--scale" in words) == (one.scale is not None)


def _arms(evidence: Evidence) -> set[str]:
    return {one.name for one in load_grid(FILE.parent / evidence.grid, scale=evidence.scale).arms}


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("of: entropy_law", "of: entropi_law", "did you mean 'entropy_law'"),
        ("evidence: [beta, beta-ref]", "evidence: [betta]", "did you mean 'beta'"),
        ("between: [methods, methods-ref]", "between: [methods, method-ref]", "did you mean 'methods-ref'"),
        ("[updates-ref, cegppo-updates-1,", "[update-ref, cegppo-updates-1,", "did you mean 'updates-ref'"),
        ("margin: 0.1", "margin: 0", "greater than 0"),
        ("grid: ../methods.yaml", "grid: ../method.yaml", "no grid file"),
        ("name: only-beta2", "name: only-beta1", "there twice"),
        ("level: {arm: grpo, than: 0.5}", "note: none", "exactly one of"),
        ("expected: positive", "expected: up", "expected"),
        ("cegppo-1-0.5: 0.5, cegppo-1-0.75: 0.75, cegppo-1-1: 1.0", "a: 1, b: 1", "same value"),
    ],
)
def test_a_wrong_study_file(old: str, new: str, said: str, tmp_path: Path) -> None:
    folder = tmp_path / "studies"
    folder.mkdir()
    for name in {Path(one.grid).stem for one in load_study(FILE, MEASURES).evidence.values()}:
        (tmp_path / f"{name}.yaml").write_text((FILE.parents[1] / f"{name}.yaml").read_text())
    text = FILE.read_text()
    assert old in text
    (folder / "x.yaml").write_text(text.replace(old, new, 1))
    ran = CliRunner().invoke(app, ["study", str(folder / "x.yaml"), "--out", str(tmp_path / "o")])
    assert isinstance(ran.exception, UserError) or ran.exit_code == 2
    assert said in f"{ran.output}{ran.exception}"
    assert not (tmp_path / "o").exists()


def test_a_step_without_tokens_in_a_region_counts_for_nothing(
    grid: Grid, monkeypatch: pytest.MonkeyPatch
) -> None:
    nan = float("nan")
    counted = {
        "step": np.array([1, 2, 3]),
        "pos_above": np.array([0.3, 0.0, 0.1]),
        "pos_above_sharp": np.array([0.5, nan, 0.9]),
    }
    kind, run = MEASURES["pos_above_sharp"], grid.runs[0]
    monkeypatch.setitem(vars(run), "anatomy", counted)
    assert kind.value(run, Measure(of="pos_above_sharp", steps=(1, 3))) == pytest.approx(0.6)
    assert kind.value(run, Measure(of="pos_above_sharp", steps=(1, 4))) is None  # a step is missing
    counted["pos_above_sharp"] = np.array([0.5, nan, nan])
    assert kind.value(run, Measure(of="pos_above_sharp", steps=(1, 3))) is None  # it was not counted
