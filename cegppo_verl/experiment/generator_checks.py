"""The forms of a generator contradict each other, or say nothing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cegppo_verl.experiment.generators import GENERATORS, SETTING, Generator, Star, same, text
from cegppo_verl.experiment.places import problem
from cegppo_verl.experiment.yaml_file import Document, KeyPath


def check_forms(generator: Generator, document: Document, path: KeyPath) -> None:
    """Raise :class:`UserError` where a generator at ``path`` cannot be written out."""
    given = [form for form in GENERATORS if getattr(generator, form) is not None]
    if not given:
        hint = f"add one of {', '.join(GENERATORS)}, or leave out what is unknown"
        raise problem("nothing is varied", document, path, hint)
    if generator.star and len(given) > 1:
        hint = "write two entries, one with each"
        raise problem(f"star cannot be combined with {given[0]}", document, (*path, "star"), hint)
    for form in given:
        if form != "star":
            _check_lists(getattr(generator, form), document, (*path, form))
    _check_once(generator, document, path)
    if generator.zip:
        _check_rows(generator.zip, document, (*path, "zip"))
    if generator.star:
        _check_star(generator.star, document, (*path, "star"))


def _check_lists(lists: Mapping[str, list[Any]], document: Document, path: KeyPath) -> None:
    if not lists:
        raise problem("nothing is varied", document, path, "name at least one parameter with its values")
    for key, values in lists.items():
        if not values:
            raise problem("an empty list of values", document, (*path, key), "give at least one value")
        if path[-1] == "zip":
            continue  # a column may repeat a value: the rows differ
        for index, value in enumerate(values):
            if any(same(value, other) for other in values[:index]):
                hint = "name each value once"
                raise problem(f"{text(value)} is there twice", document, (*path, key, index), hint)


def _check_once(generator: Generator, document: Document, path: KeyPath) -> None:
    fixed: dict[str, tuple[str, ...]] = {key: ("params", key) for key in generator.params}
    fixed |= {SETTING + key: ("settings", key) for key in generator.settings}
    fixed |= {"algorithm": ("algorithm",)} if generator.algorithm else {}
    centre = generator.star.centre if generator.star else {}
    lists = {"product": generator.product or {}, "zip": generator.zip or {}, "star": centre}
    for form, keys in lists.items():
        for key in keys:
            if key in fixed:
                where = ".".join(fixed[key])
                hint = "give it in one place only"
                raise problem(f"'{key}' is already at {where}", document, (*path, form, key), hint)
            fixed[key] = (form, key)


def _check_rows(columns: Mapping[str, list[Any]], document: Document, path: KeyPath) -> None:
    (first, reference), *others = columns.items()
    for key, values in others:
        if len(values) != len(reference):
            message = f"{len(values)} values, but '{first}' has {len(reference)}"
            hint = "make the lists equally long; for every combination use product"
            raise problem(message, document, (*path, key), hint)


def _check_star(star: Star, document: Document, path: KeyPath) -> None:
    if not star.centre:
        hint = "write it below star, e.g. centre: {beta1: 0.5, beta2: 1}"
        raise problem("a star needs a centre", document, (*path, "centre"), hint)
    _check_lists(star.factors, document, (*path, "factors"))
    for key, values in star.factors.items():
        if key not in star.centre:
            hint = f"add '{key}' to star.centre with the value that the other arms keep"
            raise problem(f"'{key}' has no value at the centre", document, (*path, "factors", key), hint)
        if all(same(value, star.centre[key]) for value in values):
            message = f"'{key}' has only the centre's value"
            raise problem(message, document, (*path, "factors", key), "add another value")
