"""What verl is told for each arm: rendered here, and checked with verl's own code where it is installed."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from cegppo_verl.errors import UserError
from cegppo_verl.experiment import catalog, trainers
from cegppo_verl.experiment.cell import Cell
from cegppo_verl.experiment.overrides import override_groups
from cegppo_verl.launch import jobs
from cegppo_verl.launch.cells import run_dir

MOST = 60  # cells composed; one takes a good part of a second
NOT_VERL = "the reference trainer runs these: there is nothing to compose for verl"
NOT_INSTALLED = "verl is not installed here: overrides rendered, not validated"

Groups = dict[str, list[str]]


def verdict(cells: Sequence[Cell], results: Path) -> str:
    """Compose one cell per arm and scale against verl's own configuration, a process per platform.

    Raises:
        UserError: verl refuses a configuration.
    """
    cells = [cell for cell in cells if catalog.scale(cell.scale).trainer == trainers.VERL]
    if not cells:
        return NOT_VERL
    if importlib.util.find_spec("verl") is None:
        return NOT_INSTALLED
    chosen = representatives(cells)
    groups: dict[str, list[Cell]] = {}
    for cell in chosen:  # a configuration is judged under the environment that its run will have
        groups.setdefault(json.dumps(jobs.platform_environment(cell), sort_keys=True), []).append(cell)
    for group in groups.values():
        _compose(group, results)
    arms = len({(cell.arm, cell.scale) for cell in cells})
    some = f", one per algorithm and settings of the {arms:,} arms" if len(chosen) < arms else ""
    number = "1 cell" if len(chosen) == 1 else f"{len(chosen)} cells"
    return f"verl accepts the configuration of {number} (composed and validated with its own code{some})"


def representatives(cells: Sequence[Cell]) -> list[Cell]:
    """One cell per arm and scale; of very many, one per algorithm, settings and scale."""
    arms = list({(cell.arm, cell.scale): cell for cell in cells}.values())
    if len(arms) <= MOST:
        return arms
    kinds = {(cell.algorithm, cell.scale, cell.settings.model_dump_json()): cell for cell in arms}
    return list(kinds.values())[:MOST]


def _compose(cells: Sequence[Cell], results: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "cegppo_verl.verl_plugin.compose", "-"],
        input=json.dumps([_overrides(c, results) for c in cells]),
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **jobs.platform_environment(cells[0])},
    )
    if done.returncode:
        why = (done.stderr.strip().splitlines() or ["?"])[-1]
        raise UserError(f"verl refuses the configuration: {why}", hint="`cegppo plan --overrides` shows it")


def _overrides(cell: Cell, results: Path) -> list[str]:
    """Without Hydra's own keys, which steer the entry point and are not part of verl's configuration."""
    arguments = jobs.arguments(cell, run_dir(cell, results), jobs.expected_inputs(cell), 0)
    return [a for a in arguments[2:] if not a.startswith("hydra")]


def groups_of(cell: Cell, results: Path) -> Groups:
    """The overrides of a cell by group, without what the launcher adds for Ray and resuming."""
    paths = jobs.run_paths(run_dir(cell, results), jobs.expected_inputs(cell))
    return override_groups(cell, catalog.scale(cell.scale), paths)


def print_overrides(cells: Sequence[Cell], results: Path, console: Console) -> None:
    """The first arm's overrides in full, then what the other arms have instead, scale after scale."""
    cells = [cell for cell in cells if catalog.scale(cell.scale).trainer == trainers.VERL]
    if not cells:
        _say(console, f"# {NOT_VERL}")
    for scale in dict.fromkeys(cell.scale for cell in cells):
        arms = list({cell.arm: cell for cell in reversed(cells) if cell.scale == scale}.values())[::-1]
        first = groups_of(arms[0], results)
        _say(console, f"# {arms[0].arm} at {scale}, seed {arms[0].seed}")
        for name, lines in first.items():
            _say(console, f"\n# {name}", *lines)
        for cell in arms[1:]:
            _print_difference(cell, first, groups_of(cell, results), console)


def _print_difference(cell: Cell, first: Groups, other: Groups, console: Console) -> None:
    """Lines of ``other`` that ``first`` has not, and keys that only ``first`` has; folders left out."""
    base = [line for lines in first.values() for line in lines]
    mine = [line for lines in other.values() for line in lines]
    keys = {_key(line) for line in mine}
    added = [line for line in mine if line not in set(base) and _key(line) not in _OWN]
    gone = [f"# without {_key(line)}" for line in base if _key(line) not in keys]
    _say(console, f"\n# {cell.arm}: as above, but", *(added or ["# nothing differs"]), *gone)


# These differ between any two cells and say nothing about the method.
_OWN = {"trainer.experiment_name", "trainer.default_local_dir", "trainer.validation_data_dir"}


def _key(line: str) -> str:
    return line.partition("=")[0]


def _say(console: Console, *lines: str) -> None:
    """Whole lines, so that they can be piped and pasted."""
    console.print("\n".join(lines), markup=False, highlight=False, soft_wrap=True)
