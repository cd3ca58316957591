"""Every arm of a grid at every scale, resolved: what its runs share, whatever their seed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cegppo_verl.errors import UserError
from cegppo_verl.experiment import algorithms, catalog
from cegppo_verl.experiment.algorithms import Params
from cegppo_verl.experiment.arms import Arm
from cegppo_verl.experiment.fractions_of_training import has_shares, in_steps
from cegppo_verl.experiment.places import Layer, problem
from cegppo_verl.experiment.recipe import resolve_settings
from cegppo_verl.experiment.settings import Settings
from cegppo_verl.experiment.stem import Stem, Stems
from cegppo_verl.experiment.trainers import require_supported
from cegppo_verl.experiment.yaml_file import Document

if TYPE_CHECKING:
    from cegppo_verl.experiment.grid import Grid


@dataclass(frozen=True, slots=True)
class Resolved:
    """One arm at one scale.

    Args:
        stem: the identity of its cells but for the seed.
    """

    arm: Arm
    scale: catalog.Scale
    params: Params
    settings: Settings
    stem: Stem


def resolve(grid: Grid, document: Document | None = None) -> list[Resolved]:
    """Every arm at every scale, scale by scale.

    Raises:
        UserError: an arm does not fit a scale, or two arms are the same run under two names.
    """
    known: dict[str, Params] = {}
    return [found for name in grid.scales for found in _at(catalog.scale(name), grid, document, known)]


def _at(
    scale: catalog.Scale, grid: Grid, document: Document | None, known: dict[str, Params]
) -> Iterator[Resolved]:
    settings_of = _SettingsOf(grid, scale, document)
    stems = Stems(scale)
    seen: dict[Stem, str] = {}
    for index, arm in enumerate(grid.arms):
        algorithms.algorithm(arm.algorithm, document, ("arms", index, "algorithm"))
        settings = settings_of(arm, index)
        params = _params(arm, index, settings, document, known)
        _require_trainer(arm, index, scale, settings, document)
        stem = stems.stem(arm.algorithm, params, settings)
        if seen.setdefault(stem, arm.name) != arm.name:
            raise _twins(arm.name, seen[stem], scale.name, document, index)
        yield Resolved(arm, scale, params, settings, stem)


def _require_trainer(
    arm: Arm, index: int, scale: catalog.Scale, settings: Settings, document: Document | None
) -> None:
    try:
        require_supported(scale, arm.algorithm, settings)
    except UserError as error:
        path = ("arms", index, "algorithm") if error.key == "algorithm" else ("settings",)
        raise problem(error.message, document, path, error.hint or "") from error


class _SettingsOf:
    """Settings by arm, each distinct set of changes checked once."""

    def __init__(self, grid: Grid, scale: catalog.Scale, document: Document | None) -> None:
        self._scale, self._document = scale, document
        self._preset = catalog.preset(grid.preset or scale.preset)
        self._layers = base_layers(grid, scale.name)
        self._known: dict[str, Settings] = {}

    def __call__(self, arm: Arm, index: int) -> Settings:
        key = repr(arm.settings) if arm.settings else ""
        if key not in self._known:
            own = [Layer(("arms", index, "settings"), arm.settings)] if arm.settings else []
            layers = [*self._layers, *own]
            self._known[key] = resolve_settings(self._preset, self._scale, layers, self._document)
        return self._known[key]


def base_layers(grid: Grid, scale: str) -> list[Layer]:
    """What the grid changes for all arms at a scale."""
    layers = [Layer(("settings",), grid.settings)]
    if scale in grid.settings_by_scale:
        layers.append(Layer(("settings_by_scale", scale), grid.settings_by_scale[scale]))
    return layers


def _params(
    arm: Arm, index: int, settings: Settings, document: Document | None, known: dict[str, Params]
) -> Params:
    """``known`` has each distinct set of parameters once; a schedule in shares also depends on the steps."""
    shares = [key for key, value in arm.params.items() if has_shares(value)]
    text = f"{arm.algorithm} {arm.params!r} {settings.total_steps if shares else ''}"
    if text not in known:
        path = ("arms", index, "params")
        total = settings.total_steps
        steps = {key: in_steps(arm.params[key], total, document, (*path, key)) for key in shares}
        known[text] = algorithms.resolve_params(arm.algorithm, {**arm.params, **steps}, document, path)
    return known[text]


def _twins(arm: str, other: str, scale: str, document: Document | None, index: int) -> UserError:
    message = f"'{arm}' is the same run as '{other}' at scale {scale}: parameters and settings are equal, "
    hint = "remove one of the two, or change what should tell them apart"
    return problem(message + "defaults included", document, ("arms", index), hint)
