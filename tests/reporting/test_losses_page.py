"""``cegppo losses``: list, explanation and curves, and that the committed page is what the code says."""

from __future__ import annotations

import dataclasses
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from cegppo_verl import cli
from cegppo_verl.errors import UserError
from cegppo_verl.losses.loss import Loss
from cegppo_verl.losses.parameters import specs
from cegppo_verl.losses.registry import LOSSES
from cegppo_verl.reporting.losses import curves, entries, page, plot, terminal, verdicts
from cegppo_verl.reporting.losses.braille import Canvas

ROOT = Path(__file__).parents[2]
COMMITTED = ROOT / "reports" / "losses"
CEGPPO = LOSSES["cegppo"]


@pytest.fixture
def no_png(monkeypatch: pytest.MonkeyPatch) -> None:
    """Drawing pixels is slow, and no test here looks at them."""
    monkeypatch.setattr("cegppo_verl.reporting.canvas._png", lambda figure: b"")


def typed(*words: str, width: int = 200) -> tuple[int, str]:
    """Exit code and output of the command, user errors included."""
    cli.console._width = width
    try:
        done = CliRunner().invoke(cli.app, list(words), catch_exceptions=False)
    except UserError as error:
        return 2, str(error)
    finally:
        cli.console._width = None
    return done.exit_code, done.stdout


# --- the page -----------------------------------------------------------------------------------------


@pytest.mark.usefixtures("no_png")
def test_the_committed_page_is_what_the_code_generates() -> None:
    made = page.build(LOSSES, verdicts.read(COMMITTED / verdicts.FILE))
    for name in ("index.md", "index.html", "losses.svg", "losses.json"):
        same = made[name] == (COMMITTED / name).read_bytes()
        assert same, f"reports/losses/{name} is out of date: run `{page.COMMAND}`"
    assert (COMMITTED / "losses.png").is_file()


@pytest.mark.usefixtures("no_png")
def test_the_page_is_the_same_twice_and_follows_the_declaration() -> None:
    some = {"cegppo": CEGPPO, "dro": LOSSES["dro"]}
    first, second = page.build(some, {}), page.build(some, {})
    assert first == second
    changed = {**some, "cegppo": dataclasses.replace(CEGPPO, departures="Another one.")}
    assert b"Another one." in page.build(changed, {})["index.md"]
    assert b"Another one." in page.build(changed, {})["index.html"]


def test_a_row_has_everything() -> None:
    row = next(
        line for line in (COMMITTED / "index.md").read_text().splitlines() if line.startswith("| **cegppo**")
    )
    for part in (
        "CE-GPPO",
        "arXiv 2509.20712",
        "Eq. 8",
        "ours",
        "β1 (beta1) required, e.g. 0.5",
        "Dual clip",
    ):
        assert part in row


def test_every_row_says_how_the_contract_ended() -> None:
    rows = [line for line in (COMMITTED / "index.md").read_text().splitlines() if line.startswith("| **")]
    assert len(rows) == len(LOSSES)
    for row in rows:
        assert re.search(r"\| \d+ passed(; [^|]*)? \|$", row), row[-200:]


def kept(version: str, **checks: tuple[str, str]) -> dict[str, Any]:
    """One loss as contract.json has it."""
    return {"version": version, "checks": {k: {"status": s, "note": n} for k, (s, n) in checks.items()}}


@pytest.mark.usefixtures("no_png")
def test_verdicts_of_the_contract(tmp_path: Path) -> None:
    file = tmp_path / verdicts.FILE
    assert verdicts.read(file) == {}
    found = {
        "cegppo": kept(
            CEGPPO.version,
            a=("passed", ""),
            b=("EXCUSED (fails)", "because"),
            c=("not applicable", "no rows"),
            d=("passed", ""),
        ),
        "gppo": kept(LOSSES["gppo"].version, a=("FAILED", ""), b=("passed", "")),
        "dgpo": kept("0", a=("passed", "")),
    }
    file.write_text(json.dumps({"losses": found}))
    some = {name: LOSSES[name] for name in ("cegppo", "gppo", "dgpo", "topr")}
    index = page.build(some, verdicts.read(file))["index.md"].decode()
    ends = [line.split(" | ")[-1] for line in index.splitlines() if line.startswith("| **")]
    assert ends == [
        "2 passed; 1 not applicable; fails b (because) |",
        "FAILED: a; 1 passed |",
        "not run with version 1 |",
        "not run |",
    ]


@pytest.mark.parametrize(
    "text", ['["passed"]', "{", '{"losses": {"cegppo": {"checks": {"a": {"status": "?"}}}}}']
)
def test_another_file_is_no_verdict(tmp_path: Path, text: str) -> None:
    (tmp_path / verdicts.FILE).write_text(text)
    with pytest.raises(UserError, match="not what check-loss writes"):
        verdicts.read(tmp_path / verdicts.FILE)


# --- the curves ---------------------------------------------------------------------------------------


def test_a_curve_is_what_the_code_returns() -> None:
    params = CEGPPO.params(beta1=0.5, beta2=1.0)
    (main,) = curves.curves(CEGPPO, params)
    ratio = np.exp(main.log_ratio)
    np.testing.assert_allclose(main.positive, np.where(ratio > 1.2, 1.2, ratio))
    np.testing.assert_allclose(main.negative, np.where(ratio < 0.8, 0.4, ratio))
    doubled = dataclasses.replace(CEGPPO, weight=lambda tokens, _: tokens.ratio * 2)
    np.testing.assert_allclose(curves.curve(doubled, params, 0.04).positive, 2 * ratio)


def test_the_reference_is_the_registered_ppo_clip() -> None:
    drawn = curves.curve(LOSSES["grpo"], LOSSES["grpo"].params(dual_clip=1e9), curves.REFERENCE_PROB)
    reference = curves.ppo_clip()
    np.testing.assert_allclose(drawn.positive, reference.positive)
    np.testing.assert_allclose(drawn.negative, reference.negative)


def test_other_probabilities_are_drawn_where_they_matter_and_exist() -> None:
    by_prob = dataclasses.replace(CEGPPO, weight=lambda tokens, _: tokens.ratio * tokens.old_prob)
    drawn = curves.curves(by_prob, CEGPPO.params(beta1=0.5, beta2=1.0))
    assert [c.old_prob for c in drawn] == [0.04, 0.2, 0.8]
    for c in drawn:
        assert np.exp(c.log_ratio).max() * c.old_prob <= 1.0
        np.testing.assert_allclose(c.positive, np.exp(c.log_ratio) * c.old_prob)


@pytest.mark.parametrize("name", [name for name, loss in LOSSES.items() if loss.weight])
def test_every_curve_is_finite(name: str) -> None:
    example = entries.example(LOSSES[name])
    for c in curves.curves(LOSSES[name], entries.build(LOSSES[name], example.values)):
        assert np.isfinite(c.positive).all()
        assert np.isfinite(c.negative).all()


def test_a_weight_that_fails_is_a_user_error() -> None:
    for wrong in (lambda tokens, _: tokens.ratio.sum(), lambda tokens, _: tokens.no_such):
        with pytest.raises(UserError, match="CE-GPPO fails"):
            curves.curve(dataclasses.replace(CEGPPO, weight=wrong), CEGPPO.params(beta1=0.5, beta2=1.0), 0.04)


def test_without_torch_the_curve_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    code, text = typed("losses", "cegppo")
    assert code == 0
    assert "No curve:" in text
    assert "needs torch" in text
    assert typed("losses", "--page", str(tmp_path / "page"))[0] == 2
    assert not (tmp_path / "page").exists()


# --- the terminal -------------------------------------------------------------------------------------


def test_the_list_has_every_loss_and_needs_no_torch() -> None:
    program = (
        "import sys\n"
        "class Block:\n"
        "    def find_spec(self, name, *_):\n"
        "        if name.partition('.')[0] == 'torch': raise ImportError('blocked')\n"
        "sys.meta_path.insert(0, Block()); sys.argv = ['cegppo', 'losses']\n"
        "from cegppo_verl import cli; cli.console._width = 200; cli.main()\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    flat = " ".join(done.stdout.replace("│", " ").split())
    for name, loss in LOSSES.items():
        assert f"│ {name} " in done.stdout
        for key, spec in specs(loss.params).items():
            assert entries.setting(key, spec).split(",")[0] in flat
    assert "distance from 1 of the token ratio δ; arXiv 2509.20712 §5" in flat


@pytest.mark.parametrize("width", [80, 120])
def test_an_explanation_fits_the_terminal(width: int) -> None:
    code, text = typed("losses", "cegppo", width=width)
    assert code == 0
    assert max(map(len, text.splitlines())) <= width
    assert "           ⎧ β1 (1 − ε_low)" in text, "the equation lost its indentation"
    assert "Only to illustrate (required, no default): beta1, beta2" in " ".join(text.split())
    assert "none: .5 at 1.5B" in text
    assert "w for Â > 0" in text


def test_given_parameters_are_not_called_illustrative() -> None:
    text = typed("losses", "cegppo", "--param", "beta1=0.25", "--param", "beta2=1")[1]
    assert "β1 = 0.25" in text
    assert "Only to illustrate" not in text


def test_a_loss_without_a_curve_says_why() -> None:
    for name in [name for name, loss in LOSSES.items() if loss.weight is None]:
        code, text = typed("losses", name)
        assert code == 0
        assert "No curve: its gradient weight is not a function of δ and the sign of Â alone" in text


WRONG = {
    "name": (["cegpo"], "did you mean 'cegppo'?"),
    "file": (["nowhere/x.py"], "there is no file 'nowhere/x.py'"),
    "parameter": (["cegppo", "--param", "beta=1"], "there is no parameter 'beta'"),
    "range": (["cegppo", "--param", "beta1=50"], "beta1 must be a number in [0, 10]"),
    "word": (["cegppo", "--param", "beta1"], "'beta1' is not name=value"),
    "no loss": (["--param", "beta1=1"], "which loss?"),
    "format": (["cegppo", "--figure", "x.bmp"], "cannot draw a '.bmp' file"),
    "no curve": (["dro", "--figure", "x.svg"], "has no curve"),
    "page of one": (["cegppo", "--page", "x"], "the page is of all losses"),
}


@pytest.mark.parametrize(("words", "message"), WRONG.values(), ids=list(WRONG))
def test_wrong_requests(
    words: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    code, text = typed("losses", *words)
    assert code == 2
    assert message in text
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("name", "start"), [("c.svg", b"<?xml"), ("c.png", b"\x89PNG"), ("c.pdf", b"%PDF")])
def test_a_figure_in_every_format(name: str, start: bytes, tmp_path: Path) -> None:
    for _ in range(2):
        assert typed("losses", "cegppo", "--figure", str(tmp_path / "deep" / name))[0] == 0
        assert (tmp_path / "deep" / name).read_bytes().startswith(start)


def test_braille_dots_are_where_the_points_are() -> None:
    canvas = Canvas(2, 1)
    canvas.line(np.array([0.0, 1.0]), np.array([0.0, 0.0]))
    assert [canvas.cell(0, 0), canvas.cell(0, 1)] == ["⣀", "⣀"]
    corner = Canvas(2, 1)
    corner.line(np.array([0.0, 0.0]), np.array([0.0, 1.0]))
    assert [corner.cell(0, 0), corner.cell(0, 1)] == ["⡇", ""]
    gap = Canvas(2, 1)
    gap.line(np.array([0.0, np.nan, 1.0]), np.array([0.0, 0.0, 0.0]))
    assert [gap.cell(0, 0), gap.cell(0, 1)] == ["", ""]


def test_a_taller_weight_is_drawn_higher() -> None:
    constant = dataclasses.replace(CEGPPO, weight=lambda tokens, _: tokens.ratio * 0 + 3.0)
    text = plot.panels(curves.curves(constant, CEGPPO.params(beta1=0.5, beta2=1.0)), 80).renderables[0]
    (row,) = [line for line in str(text).splitlines() if line.strip().startswith("3┤")]
    assert len(set(row[6:-1])) == 1, "a constant weight of 3 is one level line at the label 3"
    assert row[6] != " "


def test_required_parameters_without_example_get_some_value_in_range() -> None:
    for loss in LOSSES.values():
        example = entries.example(loss)
        assert set(example.illustrative) == {n for n, s in specs(loss.params).items() if s.required}
        assert isinstance(loss, Loss)


def test_the_machine_readable_list_is_complete() -> None:
    found = json.loads((COMMITTED / "losses.json").read_text())["losses"]
    assert list(found) == list(LOSSES)
    assert found["cegppo"]["illustrative"] == ["beta1", "beta2"]
    assert terminal.listing(LOSSES).row_count == len(LOSSES)
