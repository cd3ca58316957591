"""``cegppo new-loss``: the skeleton passes the contract as it stands, and nothing is ever overwritten."""

from __future__ import annotations

import difflib
import importlib.util
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from typer.testing import CliRunner

from cegppo_verl import cli
from cegppo_verl.contract import resolve, runner
from cegppo_verl.errors import UserError
from cegppo_verl.experiment.algorithms import resolve_params
from cegppo_verl.experiment.expand import expand
from cegppo_verl.experiment.grid import load_grid
from cegppo_verl.losses import external
from cegppo_verl.losses.registry import LOSSES
from cegppo_verl.reporting.losses import page, verdicts
from cegppo_verl.scaffold import new_loss, registry_edit

ROOT = Path(__file__).parents[1]
REGISTRY = (ROOT / new_loss.REGISTRY).read_text()
FORMULA = ("gradient as printed", "value as printed", "weight = slope of value", "worked by hand")


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The two files by which a checkout is known, and a working directory inside it."""
    for name in ("cegppo_verl/losses/registry.py", "tests/losses/rows/__init__.py"):
        (tmp_path / name).parent.mkdir(parents=True)
        shutil.copy(ROOT / name, tmp_path / name)
    monkeypatch.chdir(tmp_path / "tests")
    return tmp_path


def typed(*words: str) -> tuple[int, str]:
    """Exit code and output of the command, user errors included."""
    try:
        done = CliRunner().invoke(cli.app, ["new-loss", *words], catch_exceptions=False)
    except UserError as error:
        return 2, str(error)
    return done.exit_code, done.stdout


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def styled(file: Path, place: str) -> None:
    """As if the file lay at ``place`` in this repository: which imports are its own depends on that."""
    for command in (["check"], ["format", "--check"]):
        words = [sys.executable, "-m", "ruff", *command, "--stdin-filename", str(ROOT / place), "-"]
        done = subprocess.run(words, input=file.read_text(), capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr


# --- a file of its own --------------------------------------------------------------------------------


def test_a_file_of_its_own_passes_the_contract(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    code, text = typed("--file", "losses/soft.py")
    assert code == 0
    assert "cegppo check-loss losses/soft.py" in text
    report = runner.check(resolve.subject("losses/soft.py"))
    assert report.failures == ()
    assert {r.name for r in report.results if r.status == "passed"} >= set(FORMULA[:3])
    styled(tmp_path / "losses" / "soft.py", "losses/soft.py")


def test_its_literal_catches_a_mistake(tmp_path: Path) -> None:
    file = tmp_path / "mistaken.py"
    new_loss.standalone(file).write()
    text = file.read_text()
    assert text.count("regions.neg_below") == 1
    file.write_text(text.replace("regions.neg_below", "regions.pos_below"))
    failed = runner.check(resolve.subject(str(file)), FORMULA).failures
    assert "gradient as printed" in {result.name for result in failed}


def test_a_grid_can_name_it_and_it_imports_without_torch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    new_loss.standalone(Path("soft.py")).write()
    assert resolve_params("soft.py", {"epsilon_high": 0.28}) == {"epsilon_low": 0.2, "epsilon_high": 0.28}
    program = (
        "import sys\n"
        "class Block:\n"
        "    def find_spec(self, name, *_):\n"
        "        if name.partition('.')[0] == 'torch': raise ImportError('blocked')\n"
        "sys.meta_path.insert(0, Block())\n"
        "from cegppo_verl.losses.external import find; print(find('soft.py').title)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout == "soft\n", done.stderr


# --- in a checkout ------------------------------------------------------------------------------------


def test_three_files_in_a_checkout_pass_the_contract(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code, text = typed("soft_clip")
    assert code == 0
    assert verdicts.COMMAND in text
    assert page.COMMAND in text
    assert "extended " in text
    loss = checkout / "cegppo_verl/losses/soft_clip.py"
    row = checkout / "tests/losses/rows/soft_clip.py"
    assert "def literal" not in loss.read_text()
    for file in (loss, row, checkout / new_loss.REGISTRY):
        styled(file, str(file.relative_to(checkout)))
    spec = importlib.util.spec_from_file_location("soft_clip_row", row)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setitem(LOSSES, "soft_clip", external.find(str(loss)))
    report = runner.check(resolve.registered("soft_clip", {}, module.ROW), FORMULA)
    assert [r.status for r in report.results] == ["passed"] * len(FORMULA)


def test_the_registry_gains_an_import_and_a_line_and_changes_in_nothing_else() -> None:
    edited = registry_edit.with_loss(REGISTRY, "soft_clip")
    changes = [line for line in difflib.ndiff(REGISTRY.splitlines(), edited.splitlines()) if line[0] in "+-"]
    assert changes == ["+     soft_clip,", '+     "soft_clip": soft_clip.LOSS,']
    assert edited.rstrip().endswith('"soft_clip": soft_clip.LOSS,\n}')
    with pytest.raises(ValueError, match="already"):
        registry_edit.with_loss(edited, "soft_clip")


def test_a_short_import_stays_on_its_line_until_it_is_full() -> None:
    head = "from cegppo_verl.losses import {}\n\nLOSSES: dict = {{\n    'x': x.LOSS,\n}}\n"
    assert "import a, b, x\n" in registry_edit.with_loss(head.format("x, b"), "a")
    long = ", ".join(f"loss_number_{i}" for i in range(6))
    assert "import (\n    loss_number_0,\n" in registry_edit.with_loss(head.format(long), "z")


@pytest.mark.parametrize("text", ["LOSSES = {}\n", "from cegppo_verl.losses import a\nLOSSES: dict = {}\n"])
def test_an_unknown_registry_is_left_alone(checkout: Path, text: str) -> None:
    (checkout / new_loss.REGISTRY).write_text(text)
    before = contents(checkout)
    code, message = typed("soft_clip")
    assert code == 2
    assert "the registry has no" in message
    assert contents(checkout) == before


# --- what is refused ----------------------------------------------------------------------------------

BAD = {
    "capital": (["SoftClip"], "cannot name a loss"),
    "dash": (["soft-clip"], "soft_clip"),
    "digit first": (["2clip"], "cannot name a loss"),
    "keyword": (["lambda"], "cannot name a loss"),
    "path": (["../soft"], "cannot name a loss"),
    "empty": ([""], "cannot name a loss"),
    "a loss": (["cegppo"], "already a loss called 'cegppo'"),
    "verl's": (["vanilla"], "already a loss called 'vanilla'"),
    "verl's in a file": (["--file", "vanilla.py"], "already a loss called 'vanilla'"),
    "suffix": (["--file", "soft"], "write soft.py"),
    "bad stem": (["--file", "soft-clip.py"], "soft_clip"),
    "two names": (["other", "--file", "soft.py"], "other.py"),
    "nothing": ([], "what is the loss called?"),
}


@pytest.mark.parametrize(("words", "message"), BAD.values(), ids=list(BAD))
def test_bad_names_write_nothing(checkout: Path, words: list[str], message: str) -> None:
    before = contents(checkout)
    code, text = typed(*words)
    assert code == 2
    assert message in text
    assert contents(checkout) == before


@pytest.mark.parametrize("existing", ["cegppo_verl/losses/soft_clip.py", "tests/losses/rows/soft_clip.py"])
def test_nothing_is_overwritten(checkout: Path, existing: str) -> None:
    (checkout / existing).write_text("mine")
    before = contents(checkout)
    assert typed("soft_clip")[0] == 2
    assert typed("--file", str(checkout / existing))[0] == 2
    assert contents(checkout) == before


def test_a_loss_may_not_take_the_name_of_a_module_beside_it(checkout: Path) -> None:
    shutil.copy(ROOT / "cegppo_verl/losses/tokens.py", checkout / "cegppo_verl/losses/tokens.py")
    assert typed("tokens") == (2, typed("tokens")[1])
    assert "exists already" in typed("tokens")[1]


def test_outside_a_checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    code, text = typed("soft_clip")
    assert code == 2
    assert "--file" in text
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("words", [["soft_clip"], ["--file", "soft_clip.py"]])
def test_a_dry_run_writes_nothing(checkout: Path, words: list[str]) -> None:
    before = contents(checkout)
    code, text = typed(*words, "--dry-run")
    assert code == 0
    assert "def weight(tokens: Tokens, params: Params)" in text
    assert contents(checkout) == before


def test_a_place_that_cannot_be_written(checkout: Path) -> None:
    (checkout / "file").write_text("")
    code, text = typed("--file", str(checkout / "file" / "soft.py"))
    assert code == 2
    assert "cannot be written" in text


# --- the tutorial -------------------------------------------------------------------------------------


def test_the_tutorial_of_the_readme_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    section = (ROOT / "README.md").read_text().partition("### Adding a loss")[2].partition("\n## ")[0]
    file = Path("losses/log_gate.py")
    assert f"cegppo new-loss --file {file}" in section
    typed("--file", str(file))
    code = section.partition("```python\n")[2].partition("```")[0]
    head = file.read_text().partition("@dataclass")[0]
    file.write_text(head + code)
    report = runner.check(resolve.subject(str(file)), FORMULA)
    assert report.failures == ()
    assert report.results[0].status == "passed"
    file.with_name("no_delta.py").write_text(head + code.replace("gate.mul_(tokens.ratio)", "gate"))
    wrong = runner.check(resolve.subject("losses/no_delta.py"), FORMULA[:1]).failures
    assert [result.name for result in wrong] == ["gradient as printed"]
    grid = textwrap.dedent(
        "    name: log-gate" + section.partition("    name: log-gate")[2].partition("\n\n")[0]
    )
    Path("log_gate.yaml").write_text(grid)
    cells = expand(load_grid(Path("log_gate.yaml")))
    assert [cell.algorithm for cell in cells] == ["grpo", str(file)]
