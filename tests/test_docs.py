"""The documentation is true: its commands, links, profiles, grids and counts are those of the code."""

from __future__ import annotations

import csv
import re
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
import typer
import yaml
from typer.testing import CliRunner

from cegppo_verl import cli
from cegppo_verl.experiment.grid import Grid, load_grid
from cegppo_verl.launch.executors.profile import MODELS, load_profile
from cegppo_verl.launch.executors.registry import NAMES

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")]
PAGES += sorted((ROOT / "docs").rglob("*.md"))
EVERY_PAGE = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
REQUIRED = {key for key, field in Grid.model_fields.items() if field.is_required()}


class Named(NamedTuple):
    """A command as a page names it."""

    verb: str
    options: list[str]


def known() -> dict[str, set[str]]:
    """Options by verb, as the command line has them; ``bench runner`` is a verb of two words."""
    return dict(_verbs(typer.main.get_command(cli.app), ""))


def _verbs(group: object, before: str) -> Iterator[tuple[str, set[str]]]:
    for name, command in group.commands.items():  # type: ignore[attr-defined]
        options = {word for param in command.params for word in (*param.opts, *param.secondary_opts)}
        yield f"{before}{name}", {word for word in options if word.startswith("-")} | {"--help"}
        if hasattr(command, "commands"):
            yield from _verbs(command, f"{before}{name} ")


def commands(text: str) -> list[Named]:
    """Every ``cegppo VERB …`` of a code block's line or of inline code; a code fence holds no inline code."""
    code = re.findall(r"^    (.*)$|`([^`\n]+)`", text, re.MULTILINE)
    found = []
    for line in (block or inline for block, inline in code):
        for match in re.finditer(r"\bcegppo ((?:bench )?[a-z][a-z-]*)\b([^#|;]*(?:#\S[^#|;]*)*)", line):
            options = re.findall(r"(?<!\S)(--[a-z][a-z-]*|-[a-z])(?![\w-])", _unquoted(match[2]))
            found.append(Named(match[1], options))
    return found


def _unquoted(words: str) -> str:
    return re.sub(r"\"[^\"]*\"", '""', words)


def blocks(text: str, language: str) -> list[str]:
    """The fenced blocks of a language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def indented(text: str) -> list[str]:
    """The indented blocks."""
    return [textwrap.dedent(block) for block in re.findall(r"(?:^    .*\n|^\n(?=    ))+", text, re.MULTILINE)]


def is_grid(block: str) -> bool:
    """Whether a block is a whole grid file, and not a part of one or with something left out."""
    if "…" in block:
        return False
    try:
        data = yaml.safe_load(block)
    except yaml.YAMLError:
        return False
    return isinstance(data, dict) and data.keys() >= REQUIRED


def slug(heading: str) -> str:
    """The anchor that GitHub gives a heading."""
    return re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")


@EVERY_PAGE
def test_every_command_exists_with_its_options(page: Path) -> None:
    verbs = known()
    for verb, options in commands(page.read_text()):
        assert verb in verbs, f"no verb '{verb}'"
        assert set(options) <= verbs[verb], f"{verb} has no {set(options) - verbs[verb]}"


def test_commands_are_found() -> None:
    text = "    cegppo run a.yaml#x --arm b -f # --no\n`cegppo bench runner --no-ray` and `cegppo why --x`\n"
    assert commands(text) == [
        Named("run", ["--arm", "-f"]),
        Named("bench runner", ["--no-ray"]),
        Named("why", ["--x"]),
    ]


@pytest.mark.parametrize("verb", ["status", "watch", "logs", "stop", "retry", "why", "run", "plan"])
@pytest.mark.parametrize("executor", NAMES)
def test_a_page_of_an_executor_shows_every_verb(executor: str, verb: str) -> None:
    page = ROOT / "docs" / "clusters" / f"{executor}.md"
    shown = re.sub(r"`[^`\n]+`", "", page.read_text())  # a mention in a sentence is no example
    assert verb in {named.verb for named in commands(shown)}


@EVERY_PAGE
def test_every_relative_link_resolves(page: Path) -> None:
    for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        if "://" in link:
            continue
        name, _, anchor = link.partition("#")
        target = (page.parent / name).resolve() if name else page
        assert target.exists(), f"{link} leads nowhere"
        if anchor:
            headings = re.findall(r"^#+ (.*)$", target.read_text(), re.MULTILINE)
            assert anchor in {slug(heading) for heading in headings}, f"{link}: no such heading"


@pytest.mark.parametrize("executor", NAMES)
def test_the_profile_of_a_page_is_valid_and_explains_every_key(executor: str, tmp_path: Path) -> None:
    text = (ROOT / "docs" / "clusters" / f"{executor}.md").read_text()
    [profile] = blocks(text, "yaml")
    for template in blocks(text, "jinja"):
        (tmp_path / "site.sh.j2").write_text(template)
    (tmp_path / "cluster.yaml").write_text(profile)
    loaded = load_profile(tmp_path / "cluster.yaml")
    assert loaded.model_fields_set == set(MODELS[executor].model_fields)


def test_the_batch_script_of_the_slurm_page_can_be_rendered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = (ROOT / "docs" / "clusters" / "slurm.md").read_text()
    monkeypatch.chdir(tmp_path)
    Path("site.sh.j2").write_text(blocks(text, "jinja")[0])
    Path("cluster.yaml").write_text(blocks(text, "yaml")[0])
    smoke = str(ROOT / "ablations" / "smoke.yaml")
    shown = CliRunner().invoke(cli.app, ["run", smoke, "--cluster", "cluster.yaml", "--dry-run"])
    assert shown.exit_code == 0, shown.output
    assert "ulimit -n 65536" in shown.output
    assert not Path("results").exists()


def grids() -> list[tuple[str, str]]:
    """(page, block) of every whole grid; one with a loss of the tutorial is tests/test_new_loss.py's."""
    found = [
        (page, block)
        for page in PAGES
        for block in [*blocks(page.read_text(), "yaml"), *indented(page.read_text())]
    ]
    return [(page.name, block) for page, block in found if is_grid(block) and "losses/" not in block]


@pytest.mark.parametrize(("page", "block"), grids())
def test_every_whole_grid_loads(page: str, block: str, tmp_path: Path) -> None:
    (tmp_path / "grid.yaml").write_text(block)
    assert load_grid(tmp_path / "grid.yaml").cell_count > 0


def test_the_page_of_grids_has_whole_ones() -> None:
    assert [page for page, _ in grids()].count("grids.md") == 2


def test_the_example_grid_has_as_many_arms_and_cells_as_the_page_says(tmp_path: Path) -> None:
    text = (ROOT / "docs" / "grids.md").read_text()
    (tmp_path / "grid.yaml").write_text(blocks(text, "yaml")[0])
    grid = load_grid(tmp_path / "grid.yaml")
    said = re.search(r"shows its (\d+) arms and (\d+) cells", text)
    assert said
    assert (len(grid.arms), grid.cell_count) == (int(said[1]), int(said[2]))


def test_the_table_of_predefined_grids_is_that_of_the_files() -> None:
    expected = []
    for file in sorted((ROOT / "ablations").glob("*.yaml")):
        grid = load_grid(file)
        question = " ".join(grid.question.split())
        expected.append(f"| [{grid.name}](../ablations/{file.name}) | {question} | {grid.cell_count} |")
    rows = re.findall(r"^\| \[.*\|$", (ROOT / "docs" / "grids.md").read_text(), re.MULTILINE)
    assert rows == expected, "the table should be:\n" + "\n".join(expected)
    assert f"lists the {len(expected)} grids" in " ".join((ROOT / "README.md").read_text().split())


# The rows of the README's table: claim, evidence through verl and by the reference trainer, factor, digits.
FINDINGS = (
    ("grpo-collapses", "methods", "methods-ref", 1, 2),
    ("clip-higher-raises", "methods", "methods-ref", 1, 2),
    ("cegppo-holds", "methods", "methods-ref", 1, 2),
    ("only-beta1", "sides", "sides-ref", 1, 2),
    ("only-beta2", "sides", "sides-ref", 1, 2),
    ("above-are-flat", "methods", "methods-ref", 100, 0),
    ("accuracy-cegppo-grpo", "methods", "methods-ref", 100, 1),
)


def test_the_findings_of_the_readme_are_the_numbers_of_the_study() -> None:
    with (ROOT / "reports" / "clipping" / "claims.csv").open(encoding="utf-8") as file:
        decided = {(row["claim"], row["evidence"]): row for row in csv.DictReader(file)}
    table = (ROOT / "README.md").read_text().partition("| claim |")[2].partition("\n\n")[0]
    shown = [[cell.strip() for cell in line.split("|")[2:-1]] for line in table.splitlines()[2:]]
    assert shown == [
        [_said(decided.get((claim, evidence)), factor, digits) for evidence in both]
        for claim, *both, factor, digits in FINDINGS
    ]


def _said(row: dict[str, str] | None, factor: int, digits: int) -> str:
    """A dash where the study does not ask."""
    if row is None:
        return "–"
    if not row["mean"]:
        return row["verdict"]
    numbers = (factor * float(row[name]) for name in ("mean", "low", "high"))
    mean, low, high = (f"{number:+.{digits}f}".replace("-", "−") for number in numbers)
    return f"{mean} [{low}, {high}], {len(row['seeds'].split())} seeds: {row['verdict']}"
