"""A grid file: a question, the arms that answer it, and where and how often to run them."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import Field, PrivateAttr

from cegppo_verl.errors import UserError, did_you_mean
from cegppo_verl.experiment import catalog
from cegppo_verl.experiment.arms import Arm, expanded
from cegppo_verl.experiment.cell import Seed
from cegppo_verl.experiment.places import Expanded, problem
from cegppo_verl.experiment.recipe import resolve_settings
from cegppo_verl.experiment.resolve import Resolved, base_layers, resolve
from cegppo_verl.experiment.rules import Budget, EarlyStop
from cegppo_verl.experiment.validation import Name, Strict, validate
from cegppo_verl.experiment.yaml_file import KeyPath, read_yaml

__all__ = ["Arm", "Grid", "load_grid"]

Prose = Annotated[str, Field(min_length=10)]


class Grid(Strict):
    """A question and the runs that answer it; its arms are written out, whatever form the file has."""

    name: Name = Field(description="the folder below results/runs")
    question: Prose = Field(description="what the grid is to find out")
    hypothesis: Prose = Field(description="the answer expected, and why")
    refuted_by: Prose = Field(description="the result that would show the hypothesis wrong")
    scales: list[str] = Field(min_length=1, description="names of scales; `cegppo plan` lists them")
    seeds: list[Seed] = Field(min_length=1, description="training seeds, one run each")
    arms: list[Arm] = Field(min_length=1)
    preset: str | None = Field(default=None, description="training settings; default: each scale's own")
    settings: dict[str, Any] = Field(default={}, description="changes to the preset, same keys")
    settings_by_scale: dict[str, dict[str, Any]] = Field(
        default={}, description="further changes, for the named scales only"
    )
    budget: Budget | None = Field(default=None, description="what all cells may cost: gpu_hours, hours")
    early_stop: list[EarlyStop] = Field(default=[], description="when a run is ended before its last step")
    priority: int = Field(default=0, description="of all its cells among several grids; larger starts first")

    # What `load_grid` resolved while checking, so that `expand` need not do it again.
    _resolved: list[Resolved] | None = PrivateAttr(default=None)

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """A copy, to be resolved anew."""
        copy = super().model_copy(update=update, deep=deep)
        copy._resolved = None
        return copy

    def resolved(self) -> list[Resolved]:
        """Every arm at every scale; :class:`UserError` where one does not fit."""
        return resolve(self) if self._resolved is None else self._resolved

    @property
    def cell_count(self) -> int:
        """Number of runs."""
        return len(self.scales) * len(self.seeds) * len(self.arms)

    def priority_of(self, arm: str) -> int:
        """The priority of an arm's cells: its own, or the grid's."""
        own = next((known.priority for known in self.arms if known.name == arm), None)
        return self.priority if own is None else own


def load_grid(path: str | Path, scale: str | None = None, seeds: Sequence[int] | None = None) -> Grid:
    """Read and check a grid file completely: after this only the world, not the file, can be at fault.

    Args:
        scale: replaces the file's scales (``--scale``).
        seeds: replaces the file's seeds (``--seed``).

    Raises:
        UserError: with file, key path, line, nearest valid name and fix.
    """
    document = expanded(read_yaml(path))
    try:
        grid = validate(Grid, _overridden(document.data, scale, seeds), document)
        _check_names(grid, document, from_option=scale is not None)
        _check_distinct(grid, document)
        grid._resolved = resolve(grid, document)
        _check_other_scales(grid, document)
    except UserError as error:
        raise document.in_file(error) from error
    return grid


def _overridden(data: dict[str, Any], scale: str | None, seeds: Sequence[int] | None) -> dict[str, Any]:
    changes: dict[str, Any] = {}
    if scale is not None:
        changes["scales"] = [scale]
    if seeds is not None:
        changes["seeds"] = list(seeds)
    return {**data, **changes}


def _check_names(grid: Grid, document: Expanded, from_option: bool) -> None:
    known = catalog.scales()
    places: list[tuple[str, KeyPath]] = [
        (name, ("settings_by_scale", name)) for name in grid.settings_by_scale
    ]
    for index, name in enumerate(grid.scales):
        places.append((name, ("--scale",) if from_option else ("scales", index)))
    for name, path in places:
        if name not in known:
            raise problem(f"unknown scale '{name}'", document, path, did_you_mean(name, known))
    if grid.preset is not None and grid.preset not in catalog.presets():
        hint = did_you_mean(grid.preset, catalog.presets())
        raise problem(f"unknown preset '{grid.preset}'", document, ("preset",), hint)


def _check_distinct(grid: Grid, document: Expanded) -> None:
    _refuse_repeated(grid.scales, "scales", "", "remove one of the two", document)
    _refuse_repeated(grid.seeds, "seeds", "", "remove one of the two", document)
    hint = "every arm needs a name of its own; in a pattern, name everything that varies"
    _refuse_repeated([arm.name for arm in grid.arms], "arms", "name", hint, document)


def _refuse_repeated(values: Sequence[Hashable], key: str, below: str, hint: str, document: Expanded) -> None:
    first: dict[Hashable, int] = {}
    for index, value in enumerate(values):
        if first.setdefault(value, index) != index:
            path: KeyPath = (key, index, below) if below else (key, index)
            there = document.origin((key, first[value]))[1]
            raise problem(f"'{value}' is already at {key}[{there}]", document, path, hint)


def _check_other_scales(grid: Grid, document: Expanded) -> None:
    """What is written for a scale that does not run now is checked all the same."""
    for name in grid.settings_by_scale:
        if name not in grid.scales:
            scale = catalog.scale(name)
            preset = catalog.preset(grid.preset or scale.preset)
            resolve_settings(preset, scale, base_layers(grid, name), document)
