"""The identities of many cells without encoding each of them whole.

Cells of one arm and scale differ in the seed only, arms of one algorithm and settings in the parameters only.
So the canonical JSON of :func:`identity.content` is kept in pieces and hashed up to the seed once.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import Any

from cegppo_verl.experiment import identity
from cegppo_verl.experiment.algorithms import Params
from cegppo_verl.experiment.catalog import Scale
from cegppo_verl.experiment.settings import Settings

_HOLE = "\0"  # cannot occur in JSON, which escapes it


@dataclass(frozen=True, slots=True)
class Stem:
    """A cell's canonical JSON before and after its seed. Equal stems are the same run."""

    before: str
    after: str

    def ids(self, seeds: list[int]) -> list[str]:
        """The identity of the cell of each seed: ``identity.digest`` of its content."""
        start = hashlib.sha256(self.before.encode())
        return [self._id(start.copy(), seed) for seed in seeds]

    def _id(self, hashed: Any, seed: int) -> str:
        hashed.update(f"{seed}{self.after}".encode())
        return str(hashed.hexdigest()[: identity.LENGTH])


@dataclass
class Stems:
    """Makes the stems of one scale; frames are kept per algorithm and settings object."""

    scale: Scale
    _frames: dict[tuple[str, int], tuple[Settings, list[str]]] = field(default_factory=dict)

    def stem(self, algorithm: str, params: Params, settings: Settings) -> Stem:
        """The stem of one arm under these settings."""
        key = (algorithm, id(settings))
        if key not in self._frames:  # the settings are kept too, so that their id is not used again
            self._frames[key] = settings, self._frame(algorithm, settings)
        head, middle, after = self._frames[key][1]
        return Stem(f"{head}{identity.canonical(params)}{middle}", after)

    def _frame(self, algorithm: str, settings: Settings) -> list[str]:
        content = identity.content(algorithm, {}, self.scale, settings, 0)
        parts = [f"{identity.canonical({key: content[key]})[1:-1]}" for key in sorted(content)]
        holes = {'"params":{}': f'"params":{_HOLE}', '"seed":0': f'"seed":{_HOLE}'}
        return ("{" + ",".join(holes.get(part, part) for part in parts) + "}").split(_HOLE)
