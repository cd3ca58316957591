"""The paper's tables from a grid of known truth by one command: every number, in every format."""

from __future__ import annotations

import csv
import json
import re
import shutil
import subprocess
from pathlib import Path

import known_truth as truths
import numpy as np
import pytest
from typer.testing import CliRunner

from cegppo_verl.cli import app
from cegppo_verl.reporting.scores import Line, Score, ScoreTable
from cegppo_verl.reporting.scores.compare import _best
from cegppo_verl.reporting.scores.files import files
from cegppo_verl.reporting.scores.latex import NEEDS

SMALL, LARGE = "deepseek-r1-distill-qwen-1.5b", "deepseek-r1-distill-qwen-7b"
ROOT = Path(__file__).parents[2]
PUBLISHED = ROOT / "results" / "published"
TITLES = {"aime24": "AIME24", "aime25": "AIME25", "hmmt25": "HMMT25", "amc23": "AMC23"}
ARMS = {
    "GRPO": "grpo",
    "DAPO (clip-higher)": "dapo",
    "CE-GPPO (β1 = 0.5, β2 = 1)": "cegppo-0.5-1",
    "CE-GPPO (β1 = 0.75, β2 = 1)": "cegppo-0.75-1",
}


def cegppo(truth, out: Path, *options: str):  # type: ignore[no-untyped-def]
    words = ["report", str(truth.grid), "--results", str(truth.results), "--out", str(out)]
    return CliRunner().invoke(app, [*words, "--published", str(PUBLISHED), *options])


@pytest.fixture(scope="module")
def made(tmp_path_factory):  # type: ignore[no-untyped-def]
    """Table 1: 7B lacks DAPO, one run is cut off, one directory is empty, one evaluation lost a problem."""
    root = tmp_path_factory.mktemp("table1")
    truth = truths.write_grid(root, "table1_methods")
    for seed in (1, 2, 3):
        shutil.rmtree(truth.folders[LARGE, "dapo", seed])
    cut = truth.folders[LARGE, "grpo", 2] / "attempts" / "001" / "metrics.jsonl"
    cut.write_bytes(cut.read_bytes()[:600])
    empty = truth.folders[LARGE, "cegppo-0.5-1", 3]
    shutil.rmtree(empty)
    empty.mkdir()
    dump = truth.folders[LARGE, "cegppo-0.75-1", 1] / "validation" / f"{truths.STEPS}.jsonl"
    rows = [json.loads(line) for line in dump.read_text().splitlines()]
    rows[-1]["problem_id"] = "amc23/0"
    dump.write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.MonkeyPatch.context() as patch:
        for form in ("png", "pdf"):
            patch.setattr(f"cegppo_verl.reporting.canvas._{form}", lambda figure: b"")
        done = cegppo(truth, root / "reports")
    assert done.exit_code == 0, done.output
    return truth, root / "reports" / "table1_methods"


def table(folder: Path, name: str = "table1") -> dict[tuple[str, str], dict[str, str]]:
    rows = csv.DictReader((folder / "tables" / f"{name}.csv").open(encoding="utf-8"))
    return {(row["group"].lower(), row["row"]): row for row in rows}


def test_every_measured_number_is_the_truth(made) -> None:
    truth, folder = made
    rows = table(folder)
    for head, arm in ARMS.items():
        values = []
        for benchmark, title in TITLES.items():
            values.append(truth.accuracy(SMALL, arm, benchmark))
            found = rows[SMALL, head]
            assert float(found[title]) == pytest.approx(values[-1])
            assert float(found[f"{title}: low"]) < values[-1] < float(found[f"{title}: high"])
            assert (found[f"{title}: seeds"], found[f"{title}: samples"]) == ("3", str(truths.SAMPLES))
        assert float(rows[SMALL, head]["Average"]) == pytest.approx(np.mean(values))
    for benchmark, title in TITLES.items():
        for scale in (SMALL, LARGE):
            if (scale, title) != (LARGE, "AMC23"):
                assert float(rows[scale, "base"][title]) == pytest.approx(base(truth, scale, benchmark))
    difference = truth.accuracy(SMALL, "dapo", "aime24") - truth.accuracy(SMALL, "grpo", "aime24")
    assert float(rows[SMALL, "DAPO (clip-higher)"]["AIME24: difference"]) == pytest.approx(difference)


def base(truth, scale: str, benchmark: str) -> float:  # type: ignore[no-untyped-def]
    gone = {"dapo": (1, 2, 3), "cegppo-0.5-1": (3,)} if scale == LARGE else {}
    tables = [
        v
        for (s, arm, seed, step, b), v in truth.correct.items()
        if (s, step, b) == (scale, 0, benchmark) and seed not in gone.get(arm, ())
    ]
    return 100 * float(np.mean(tables))


def test_published_numbers_stand_beside_and_are_in_no_other_number(made) -> None:
    rows = table(made[1])
    given = list(csv.DictReader((PUBLISHED / "cegppo_table1.csv").open()))
    shown = [row for row in rows.values() if row["origin"] == "published"]
    assert len(shown) == len(given) == 10
    for own, published in zip(shown, given, strict=True):
        assert own["source"].startswith("arXiv 2509.20712")
        for title in ("AIME24", "AIME25", "HMMT25", "MATH500", "AMC23", "HumanEval", "LCB_v6"):
            assert float(own[title]) == float(published[title])
        assert own["AIME24: low"] == own["AIME24: bold"] == ""
    average = rows[SMALL, "GRPO, published"]["Average"]
    assert float(average) == pytest.approx(np.mean([33.4, 28.1, 16.6, 79.3]))  # over what ours is over


def test_bold_is_the_arm_that_is_ahead_and_no_other(made) -> None:
    rows = table(made[1])
    bold = {
        (key[1], t) for key, row in rows.items() for t in (*TITLES.values(), "Average") if row[f"{t}: bold"]
    }
    assert bold == {("CE-GPPO (β1 = 0.75, β2 = 1)", title) for title in (*TITLES.values(), "Average")}
    assert {key[0] for key, row in rows.items() if row["AIME24: bold"]} == {
        SMALL
    }  # 7B has two seeds in an arm
    assert rows[SMALL, "CE-GPPO (β1 = 0.75, β2 = 1)"]["AIME24: star"]
    assert not rows[SMALL, "DAPO (clip-higher)"]["AIME24: star"]


def test_what_is_missing_is_said(made) -> None:
    rows = table(made[1])
    assert rows[LARGE, "DAPO (clip-higher)"]["AIME24: missing"] == "not run"
    assert rows[LARGE, "GRPO"]["seeds"] == "2 of 3 seeds"
    assert rows[LARGE, "CE-GPPO (β1 = 0.5, β2 = 1)"]["seeds"] == "2 of 3 seeds"
    assert rows[LARGE, "CE-GPPO (β1 = 0.75, β2 = 1)"]["AMC23: missing"] == "incomplete"
    assert rows[SMALL, "GRPO"]["MATH500: missing"] == "not evaluated"
    said = (made[1] / "tables" / "table1.md").read_text()
    assert "amc23: 1 problem with fewer than 4 samples" in said
    report = (made[1] / "report.md").read_text()
    assert "cell.json is missing or not readable" in report
    assert "1 truncated line ignored" in report


def test_all_formats_show_the_same_numbers(made) -> None:
    tables = made[1] / "tables"
    rows = [r for r in table(made[1]).values() if r["origin"] == "measured" and r["AIME24"]]
    texts = {
        form: (tables / f"table1.{form}").read_text().replace("\\_", "_") for form in ("md", "tex", "html")
    }
    for row in rows:
        for title in TITLES.values():
            if not row[title]:
                continue
            value, low, high = (f"{float(row[k]):.1f}" for k in (title, f"{title}: low", f"{title}: high"))
            for form, text in texts.items():
                plain = re.sub(r"[\\{}*]|</?\w+>|scriptsize ?|textbf", "", text)
                assert f"{value} [{low}, {high}]" in plain, (form, row["row"], title)
    page = (made[1] / "report.html").read_text()
    assert "CE-GPPO (β1 = 0.75, β2 = 1), published" in page
    assert "Never averaged with ours" in page


def test_entropy_in_the_report_is_the_truth(made) -> None:
    truth, folder = made
    rows = {r["arm"]: r for r in csv.DictReader((folder / "tables" / f"entropy-{SMALL}.csv").open())}
    for arm, row in rows.items():
        curves = np.array([truth.entropy[SMALL, arm, seed] for seed in (1, 2, 3)])
        assert float(row["step 20"]) == pytest.approx(curves[:, -1].mean())
        assert float(row["mean of last 3 steps"]) == pytest.approx(curves[:, -3:].mean())


def test_the_sidecar_names_the_published_file(made) -> None:
    beside = json.loads((made[1] / "tables" / "table1.tex.json").read_text())
    shared = json.loads((made[1] / "tables" / beside["provenance"]["file"]).read_text())
    assert set(shared["published"]) == {"cegppo_table1.csv"}
    assert shared["cells"][0]["entropy_is"] == "token-mean, temperature 1"


@pytest.mark.parametrize(("seeds", "best"), [(2, None), (3, 1)])
def test_two_seeds_make_no_bold_however_far_ahead(seeds: int, best: int | None) -> None:
    rng = np.random.default_rng(0)
    arms = [(rng.normal(level, 0.01, (seeds, 40)),) for level in (0.2, 0.9)]
    found = _best(arms, [0, 1])
    assert (None if found is None else found[0]) == best


@pytest.fixture
def no_png(monkeypatch: pytest.MonkeyPatch) -> None:
    for form in ("png", "pdf"):
        monkeypatch.setattr(f"cegppo_verl.reporting.canvas._{form}", lambda figure: b"")


@pytest.mark.usefixtures("no_png")
def test_sweeps_and_entropies_that_mean_something_else(tmp_path: Path) -> None:
    """GSPO brings its own reduction, so verl's actor/entropy is another quantity there."""
    truth = truths.write_grid(tmp_path, "table2_algorithms")
    graded = truth.folders[SMALL, "cispo", 1] / "validation" / f"{truths.STEPS}.jsonl"
    graded.write_text(graded.read_text().replace("math-verify-0.9.0+1", "another-1"))
    done = cegppo(truth, tmp_path / "reports")
    assert done.exit_code == 0, done.output
    folder = tmp_path / "reports" / "table2_algorithms"
    entropy = {r["arm"]: r for r in csv.DictReader((folder / "tables" / "entropy.csv").open())}
    assert entropy["gspo"]["missing"] == (
        "not comparable: seq-mean-token-mean, temperature 1, not token-mean, temperature 1"
    )
    assert entropy["gspo"]["step 20"] == ""
    assert float(entropy["cegppo-0.5-1"]["step 20"]) > 0
    report = (folder / "report.md").read_text()
    assert "Entropy of gspo is another quantity and not compared" in report
    rows = table(folder, "table2")
    assert rows[SMALL, "CISPO"]["AIME24: missing"] == "other grader"
    assert rows[SMALL, "GSPO"]["AIME24: missing"] == ""
    assert (SMALL, "cispo-open-below (not in the paper)") in rows
    assert not any(row[f"{t}: bold"] for row in rows.values() for t in TITLES.values())  # all alike in truth


def test_latex_has_nothing_loose() -> None:
    source = files(hostile())["tex"].decode()
    body = re.sub(r"(?<!\\)%.*", "", source)
    assert structure(body) == []
    widths = {len(re.findall(r"(?<!\\)&", line)) for line in body.split("\n") if line.endswith(r" \\")}
    assert widths - {0} == {3}
    assert body.isascii() or not re.search(r"[^\x00-\x7fÀ-ſ]", body)


def structure(body: str) -> list[str]:
    """What does not close: braces and environments."""
    stack: list[str] = []
    for token in re.findall(r"\\begin\{\w+\}|\\end\{\w+\}|\\.|[{}]", body, re.DOTALL):
        if token.startswith(("\\begin", "{")):
            stack.append(token.removeprefix("\\begin"))
        elif token.startswith(("\\end", "}")):
            opened = stack.pop() if stack else "nothing"
            if opened != (token.removeprefix("\\end") if token != "}" else "{"):
                return [f"{opened} closed by {token}"]
    return stack


def hostile() -> ScoreTable:
    nasty = "a_b & 50% $x$ #1 {\\input{x}} ~^ <b> [1] -- β₁ 中 \x00 \u202e \\end{document}"
    scores = (Score(1.0, 0.5, 1.5, bold=True, differs=True), Score(missing=nasty))
    return ScoreTable("x", nasty, nasty, (nasty, "n"), (Line(nasty, nasty, scores, nasty),), (nasty, nasty))


PDFLATEX = shutil.which("pdflatex")


@pytest.mark.skipif(PDFLATEX is None, reason="no pdflatex on this machine: the LaTeX is not compiled")
def test_latex_compiles(made, tmp_path: Path) -> None:
    for number, source in enumerate(
        (files(hostile())["tex"], (made[1] / "tables" / "table1.tex").read_bytes())
    ):
        head = f"\\documentclass{{article}}{NEEDS}\\usepackage{{textcomp}}\\begin{{document}}\n"
        (tmp_path / f"t{number}.tex").write_bytes(head.encode() + source + b"\\end{document}\n")
        command = [str(PDFLATEX), "-interaction=nonstopmode", "-halt-on-error", f"t{number}.tex"]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stdout[-2000:]


def test_html_and_markdown_keep_hostile_text_as_text() -> None:
    made_files = files(hostile())
    assert b"<b>" not in made_files["html"]
    assert b"<b>" not in made_files["md"]
    lines = [line for line in made_files["md"].decode().split("\n") if line.startswith("|")]
    assert {len(re.findall(r"(?<!\\)\|", line)) for line in lines} == {5}
