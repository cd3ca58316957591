"""A run's logged numbers by key, and nothing else: what a report of a thousand runs holds of each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import pandas as pd

VALIDATION_PREFIX = "val-"  # verl: val-core/… and val-aux/…
_NONE = (np.empty(0, np.int64), np.empty(0))


@dataclass(frozen=True)
class Series:
    """Steps (T,) int, ascending, and values (T,) float of every key; NaN = logged but not finite.

    Keys that were logged at the same steps share one array of them.
    """

    by_key: Mapping[str, tuple[np.ndarray, np.ndarray]]

    @classmethod
    def of(cls, codes: np.ndarray, names: Sequence[str], steps: np.ndarray, values: np.ndarray) -> Series:
        """From rows in the order of their steps; ``codes`` index the names."""
        order = np.argsort(codes, kind="stable")
        codes, steps, values = codes[order], steps[order], values[order]
        ends = np.searchsorted(codes, np.arange(len(names) + 1))
        found, shared = {}, _NONE[0]
        for name, begin, end in zip(names, ends, ends[1:], strict=False):
            if end > begin:
                mine = steps[begin:end]
                shared = shared if np.array_equal(shared, mine) else mine.copy()
                found[name] = (shared, values[begin:end])
        return cls(dict(sorted(found.items())))

    @cached_property
    def last_step(self) -> int | None:
        """The last step that was trained (not merely validated), None when there is none."""
        trained = [steps for key, (steps, _) in self.by_key.items() if not key.startswith(VALIDATION_PREFIX)]
        return max((int(steps.max()) for steps in trained), default=None)

    def keys(self) -> list[str]:
        """All keys that occur, sorted."""
        return list(self.by_key)

    def series(self, key: str) -> tuple[np.ndarray, np.ndarray]:
        """Steps and values of one key; empty when it was never logged. Not to be written to."""
        return self.by_key.get(key, _NONE)

    def frame(self) -> pd.DataFrame:
        """Tidy: step, key (categorical), value; sorted by step, then key."""
        import pandas as pd

        sizes = [len(steps) for steps, _ in self.by_key.values()]
        names = pd.Index(self.keys(), dtype="str")
        key = pd.Categorical.from_codes(np.repeat(np.arange(len(sizes)), sizes), names)
        step, value = (np.concatenate(parts) for parts in zip(_NONE, *self.by_key.values(), strict=True))
        tidy = pd.DataFrame({"step": step, "key": key, "value": value})
        return tidy.sort_values(["step", "key"], ignore_index=True)
