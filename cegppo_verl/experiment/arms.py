"""The arms of a grid file: written out one by one, or generated.

    - name: cegppo-{beta1}-{beta2}        every combination of the values
      algorithm: cegppo
      product: {beta1: [0.5, 0.75], beta2: [0, 1]}

    - name: clip-{epsilon_low}-{epsilon_high}     the first values together, the second values together, …
      algorithm: dapo
      zip: {epsilon_low: [0.1, 0.2], epsilon_high: [0.1, 0.28]}

    - name: cegppo                        the centre once, then one factor at a time away from it
      algorithm: cegppo
      star:
        centre: {beta1: 0.5, beta2: 1}
        factors: {beta1: [0, 0.25], beta2: [0]}

A bare key is a parameter of the algorithm, ``settings.KEY`` a training setting, ``algorithm`` the algorithm.
``product`` and ``zip`` may stand together: every row of the zip with every combination of the product.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import Field

from cegppo_verl.experiment import algorithms
from cegppo_verl.experiment.generator_checks import check_forms
from cegppo_verl.experiment.generators import GENERATORS, Generator, Paths, size, written_out
from cegppo_verl.experiment.places import Expanded, Place, problem
from cegppo_verl.experiment.validation import Name, Strict, validate
from cegppo_verl.experiment.yaml_file import Document, KeyPath

MAX_ARMS = 20_000


class Arm(Strict):
    """An algorithm with its hyper-parameters, under a name of the grid's own."""

    name: Name = Field(description="the arm's name in folders, tables and legends")
    algorithm: str = Field(description="one of: " + ", ".join(algorithms.ALGORITHMS))
    params: dict[str, Any] = Field(default={}, description="the algorithm's hyper-parameters")
    settings: dict[str, Any] = Field(default={}, description="changes to the grid's settings, same keys")
    priority: int | None = Field(default=None, description="larger starts first; default: the grid's")


def expanded(document: Document) -> Expanded:
    """The document with every generator in ``arms`` written out; what is no arm is left for later checks.

    Raises:
        UserError: a generator that cannot be written out.
    """
    entries = document.data.get("arms")
    if not isinstance(entries, list):
        return Expanded(document.file, document.data, document.lines)
    arms: list[Any] = []
    places: list[Place] = []
    for index, entry in enumerate(entries):
        for arm, varied in _written_out(entry, index, len(arms), document):
            arms.append(arm)
            places.append(Place(index, varied))
    return Expanded(document.file, {**document.data, "arms": arms}, document.lines, places)


def _written_out(entry: Any, index: int, before: int, document: Document) -> Iterator[tuple[Any, Paths]]:
    path: KeyPath = ("arms", index)
    if not isinstance(entry, dict) or not _means_several(entry):
        _refuse_pattern(entry, document, path)
        yield entry, {}
        return
    generator = validate(Generator, entry, document, path)
    check_forms(generator, document, path)
    if before + size(generator) > MAX_ARMS:
        hint = "use fewer values, or a star design, which adds them up instead of multiplying"
        raise problem(f"{before + size(generator):,} arms are more than {MAX_ARMS:,}", document, path, hint)
    yield from written_out(generator, document, path)


def _means_several(entry: Mapping[str, Any]) -> bool:
    """Also where the generator's name is misspelt, so that the hint can name it."""
    return any(key in GENERATORS for key in entry) or any(
        key not in Arm.model_fields and isinstance(value, dict) for key, value in entry.items()
    )


def _refuse_pattern(entry: Any, document: Document, path: KeyPath) -> None:
    name = entry.get("name") if isinstance(entry, dict) else None
    if isinstance(name, str) and "{" in name:
        hint = "add product, zip or star with the values, or write the name out"
        raise problem(f"'{name}' is a pattern, but nothing is varied", document, (*path, "name"), hint)
