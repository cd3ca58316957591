"""A cell: one arm at one scale with one seed, i.e. one training run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from cegppo_verl.errors import UserError
from cegppo_verl.experiment.algorithms import Params
from cegppo_verl.experiment.settings import Settings
from cegppo_verl.experiment.validation import Name, Strict, validate

SCHEMA = 1

# The largest seed that torch, numpy and vLLM all accept; replica ranks are added to it.
MAX_SEED = 2**31 - 1025

Seed = Annotated[int, Field(ge=0, le=MAX_SEED)]


class Cell(Strict):
    """A fully resolved training run. ``id`` says what it computes, ``slug`` is for people."""

    grid: Name
    arm: Name
    algorithm: str
    params: Params
    scale: Name
    seed: Seed
    settings: Settings
    id: Annotated[str, Field(pattern=r"^[0-9a-f]{12}$")]
    slug: str

    @property
    def run_name(self) -> str:
        """Name of the run directory: ``<slug>-<id>``."""
        return f"{self.slug}-{self.id}"

    def to_json(self) -> str:
        """The text of ``cell.json``."""
        return (
            json.dumps({"schema": SCHEMA, **self.model_dump(mode="json")}, indent=2, ensure_ascii=False)
            + "\n"
        )


def slug(arm: str, scale: str, seed: int) -> str:
    """``<arm>__<scale>__seed<seed>``; names hold no double underscore, so it can be taken apart again."""
    return f"{arm}__{scale}__seed{seed}"


def read_cell(file: str | Path) -> Cell:
    """The cell of a ``cell.json``.

    Raises:
        UserError: the file is missing, is not JSON, or was written by another version.
    """
    path = Path(file)
    try:
        data: Any = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(
            f"not a readable cell: {error}", file=path, hint="restore it, or remove the run folder"
        ) from error
    found = data.pop("schema", None) if isinstance(data, dict) else None
    if found != SCHEMA:
        hint = "read it with the cegppo-verl that wrote it"
        raise UserError(f"schema {found!r} is not the supported {SCHEMA}", file=path, key="schema", hint=hint)
    try:
        return validate(Cell, data)
    except UserError as error:
        raise UserError(error.message, file=path, key=error.key, hint=error.hint) from error
