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

_VARIED = ("params", "seed", "settings")
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
    """Makes the stems of one scale; the JSON around parameters and settings is kept by algorithm and task."""

    scale: Scale
    _frames: dict[tuple[str, str], list[str]] = field(default_factory=dict)
    _settings: dict[int, tuple[Settings, str]] = field(default_factory=dict)

    def stem(self, algorithm: str, params: Params, settings: Settings) -> Stem:
        """The stem of one arm under these settings."""
        key = (algorithm, settings.task)
        if key not in self._frames:
            self._frames[key] = self._frame(algorithm, settings)
        head, middle, after, end = self._frames[key]
        text = f"{after}{self._text(settings)}{end}"
        return Stem(f"{head}{identity.canonical(params)}{middle}", text)

    def _text(self, settings: Settings) -> str:
        """Of each object once; it is kept too, so that its id is not used again."""
        if id(settings) not in self._settings:
            text = identity.canonical(identity.settings_content(settings))
            self._settings[id(settings)] = settings, text
        return self._settings[id(settings)][1]

    def _frame(self, algorithm: str, settings: Settings) -> list[str]:
        content = identity.content(algorithm, {}, self.scale, settings, 0)
        parts = [
            f'"{key}":{_HOLE}' if key in _VARIED else identity.canonical({key: content[key]})[1:-1]
            for key in sorted(content)
        ]
        return ("{" + ",".join(parts) + "}").split(_HOLE)
