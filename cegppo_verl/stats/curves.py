"""The curves that stats/fits.py fits, solved for many bootstrap replicates at once.

Shapes: R replicates, T points, q parameters on a scale on which each is unbounded.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from scipy.special import expit, logit

Read = Callable[[np.ndarray], np.ndarray]  # (R, q) → (R,)
Back = Callable[[np.ndarray], np.ndarray]  # to the reported scale, monotone

_STEPS = 60
_EDGE = 12.0  # logit of A: beyond it the asymptote is the ceiling or the start to 6 digits


class Curve(Protocol):
    """A family of curves."""

    def solve(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Least squares for each row: (R, T), (R, T) → (R, q)."""

    def predict(self, x: np.ndarray, q: np.ndarray) -> np.ndarray:
        """(R, T), (R, q) → (R, T)."""

    def parameters(self) -> Mapping[str, tuple[Read, Back]]:
        """Name → how to read it from q on its unbounded scale, and the way back."""


@dataclass(frozen=True)
class EntropyLaw:
    """y = b − a·x with x = exp(H): a straight line; q = (a, b)."""

    def solve(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Ordinary least squares per row; NaN where x does not vary."""
        centred = x - x.mean(1, keepdims=True)
        with np.errstate(invalid="ignore"):
            slope = (centred * y).sum(1) / (centred**2).sum(1)
        return np.stack([-slope, y.mean(1) - slope * x.mean(1)], axis=1)

    def predict(self, x: np.ndarray, q: np.ndarray) -> np.ndarray:
        """b − a·x."""
        return q[:, 1:] - q[:, :1] * x

    def parameters(self) -> Mapping[str, tuple[Read, Back]]:
        """a, b, and b − a: the value at H = 0."""
        return {
            "a": (lambda q: q[:, 0], np.array),
            "b": (lambda q: q[:, 1], np.array),
            "ceiling": (lambda q: q[:, 1] - q[:, 0], np.array),
        }


@dataclass(frozen=True)
class Sigmoid:
    """y = R0 + (A − R0) / (1 + (C_mid/C)^B) in x = log C.

    q = (logit of (A − R0)/(ceiling − R0), log B, log C_mid).
    """

    start: float
    ceiling: float

    def solve(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Levenberg–Marquardt for all rows at once, from the best of a grid of starts."""
        q = self._grid(x, y)
        damping, loss = np.full(len(q), 1e-2), self._loss(x, y, q)
        for _ in range(_STEPS):
            trial = self._bounded(x, q + self._step(x, y, q, damping))
            trial_loss = self._loss(x, y, trial)
            better = trial_loss < loss
            q, loss = np.where(better[:, None], trial, q), np.where(better, trial_loss, loss)
            damping = np.where(better, damping / 5, damping * 4)
            if not better.any() and (damping > 1e4).all():
                break
        return q

    def predict(self, x: np.ndarray, q: np.ndarray) -> np.ndarray:
        """The curve."""
        return self.start + self._gain(q) * expit(np.exp(q[:, 1:2]) * (x - q[:, 2:]))

    def parameters(self) -> Mapping[str, tuple[Read, Back]]:
        """A, B and C_mid."""
        return {
            "A": (lambda q: q[:, 0], lambda v: self.start + (self.ceiling - self.start) * expit(v)),
            "B": (lambda q: q[:, 1], np.exp),
            "C_mid": (lambda q: q[:, 2], np.exp),
        }

    def _gain(self, q: np.ndarray) -> np.ndarray:
        return (self.ceiling - self.start) * expit(q[:, :1])

    def _loss(self, x: np.ndarray, y: np.ndarray, q: np.ndarray) -> np.ndarray:
        return ((y - self.predict(x, q)) ** 2).sum(1)

    def _step(self, x: np.ndarray, y: np.ndarray, q: np.ndarray, damping: np.ndarray) -> np.ndarray:
        gain, slope, share = self._gain(q), np.exp(q[:, 1:2]), expit(q[:, :1])
        rise = expit(slope * (x - q[:, 2:]))
        bend = gain * rise * (1 - rise) * slope
        jacobian = np.stack([gain * (1 - share) * rise, bend * (x - q[:, 2:]), -bend], axis=-1)
        normal = np.einsum("rti,rtj->rij", jacobian, jacobian)
        diagonal = damping[:, None] * np.einsum("rii->ri", normal) + 1e-12
        gradient = np.einsum("rti,rt->ri", jacobian, y - self.predict(x, q))
        return np.linalg.solve(normal + diagonal[..., None] * np.eye(3), gradient[..., None])[..., 0]

    def _bounded(self, x: np.ndarray, q: np.ndarray) -> np.ndarray:
        """B within 0.05 and 50, C_mid within a factor of 150 of the data: beyond, nothing is identified."""
        low = np.array([-_EDGE, np.log(0.05), x.min() - 5.0])
        return np.clip(q, low, np.array([_EDGE, np.log(50.0), x.max() + 5.0]))

    def _grid(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Per row the best of some (B, C_mid), each with the A that fits it best."""
        best, best_loss = np.zeros((len(y), 3)), np.full(len(y), np.inf)
        for slope in (0.5, 1.0, 2.0, 4.0):
            for middle in np.quantile(x, (0.05, 0.25, 0.5, 0.75, 0.95)):
                rise = expit(slope * (x - middle))
                share = (rise * (y - self.start)).sum(1) / (rise**2).sum(1) / (self.ceiling - self.start)
                q = np.stack([logit(np.clip(share, 1e-3, 0.999)), *np.full((2, len(y)), 0.0)], axis=1)
                q[:, 1:] = np.log(slope), middle
                loss = self._loss(x, y, q)
                best[loss < best_loss] = q[loss < best_loss]
                best_loss = np.minimum(loss, best_loss)
        return best
