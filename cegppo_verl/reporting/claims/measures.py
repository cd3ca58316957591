"""What a claim can be about: one number of one finished run.

Adding a measure is one function and one line in ``MEASURES``; study files name it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from cegppo_verl.experiment.claims import Measure
from cegppo_verl.records import anatomy
from cegppo_verl.reporting import comparable, numbers
from cegppo_verl.reporting.runs import RunView

ENDS = 3  # steps at either end that "kept" compares


@dataclass(frozen=True)
class Kind:
    """A measure.

    Attributes:
        meaning: one line for people, with the unit.
        value: the number of a run; None where its records do not have it.
        same: what must agree between runs that are compared.
        factor, unit: how the number is shown.
    """

    meaning: str
    value: Callable[[RunView, Measure], float | None]
    same: Callable[[RunView, Measure], str]
    factor: float = 1.0
    unit: str = ""


def _window(run: RunView, measure: Measure) -> tuple[int, int]:
    return measure.steps or (run.total_steps // 2 + 1, run.total_steps)


def _mean(steps: np.ndarray, values: np.ndarray, window: tuple[int, int]) -> float | None:
    """Mean over a window, every step of which must have a finite value."""
    inside = values[(steps >= window[0]) & (steps <= window[1]) & np.isfinite(values)]
    return float(inside.mean()) if len(inside) == window[1] - window[0] + 1 else None


def _entropy(run: RunView, measure: Measure) -> float | None:
    return _mean(*numbers.curve(run, numbers.ENTROPY), _window(run, measure))


def _entropy_kept(run: RunView, measure: Measure) -> float | None:
    steps, values = numbers.curve(run, numbers.ENTROPY)
    first = _mean(steps, values, (1, ENDS))
    last = _mean(steps, values, (run.total_steps - ENDS + 1, run.total_steps))
    return None if first is None or last is None else last / first


def _accuracy(run: RunView, measure: Measure) -> float | None:
    benchmark = _benchmark(run, measure)
    if benchmark is None or run.gaps(run.total_steps, benchmark):
        return None
    return numbers.plain_accuracy(run, run.total_steps, benchmark)


def _benchmark(run: RunView, measure: Measure) -> str | None:
    return measure.benchmark or next((b["name"] for b in run.benchmarks), None)


def _share(name: str) -> Callable[[RunView, Measure], float | None]:
    def value(run: RunView, measure: Measure) -> float | None:
        found = run.anatomy
        return _mean(found["step"], found[name], _window(run, measure))

    return value


def _share_within(region: str, name: str) -> Callable[[RunView, Measure], float | None]:
    """A share of a region's tokens over the window; a step counts by the region's share of its tokens.

    So a step without a token in the region counts for nothing, instead of leaving the run out.
    """

    def value(run: RunView, measure: Measure) -> float | None:
        found, (first, last) = run.anatomy, _window(run, measure)
        inside = (found["step"] >= first) & (found["step"] <= last) & np.isfinite(found[region])
        size, share = found[region][inside], found[name][inside]
        there = size > 0
        if len(size) != last - first + 1 or not there.any() or not np.isfinite(share[there]).all():
            return None
        return float(size[there] @ share[there] / size[there].sum())

    return value


def _low_probability_excess(run: RunView, measure: Measure) -> float | None:
    found = run.anatomy
    excess = found["clipped_low_probability"] - found["low_probability"]
    known = np.isfinite(excess)
    return _mean(found["step"][known], excess[known], _window(run, measure))


def _entropy_law(run: RunView, measure: Measure) -> float | None:
    """Correlation over steps of H(t+1) − H(t) with −Cov(log π, Â) at step t."""
    found, (steps, entropy) = run.anatomy, numbers.curve(run, numbers.ENTROPY)
    known = dict(zip(steps.tolist(), entropy.tolist(), strict=True))
    pairs = [
        (known[step + 1] - known[step], -covariance)
        for step, covariance in zip(found["step"].tolist(), found["covariance"].tolist(), strict=True)
        if step in known and step + 1 in known and np.isfinite(covariance)
    ]
    table = np.array(pairs).reshape(-1, 2)
    return float(np.corrcoef(table.T)[0, 1]) if len(table) > 2 and table.std(0).all() else None


def _entropy_is(run: RunView, measure: Measure) -> str:
    return comparable.entropy_definition(run)


def _graded_by(run: RunView, measure: Measure) -> str:
    return comparable.accuracy_definition(run, _benchmark(run, measure) or "")


def _counted_alike(run: RunView, measure: Measure) -> str:
    return ""


MEASURES = {
    "entropy": Kind("mean policy entropy over the steps, nats per token", _entropy, _entropy_is, unit="nats"),
    "entropy_kept": Kind(
        f"entropy of the last {ENDS} steps over that of the first {ENDS}", _entropy_kept, _entropy_is
    ),
    "accuracy": Kind("avg@k at the last step, points", _accuracy, _graded_by, 100.0, "points"),
    "outside": Kind(
        "share of tokens outside the clip interval, points",
        _share("outside"),
        _counted_alike,
        100.0,
        "points",
    ),
    "low_probability_excess": Kind(
        "share of low-probability tokens among those that PPO clips, minus their share among all, points",
        _low_probability_excess,
        _counted_alike,
        100.0,
        "points",
    ),
    **{
        f"{region}_sharp": Kind(
            f"share of the tokens in {region} that are likelier than exp(−entropy): raising one lowers the "
            "entropy, lowering one raises it, to first order; points",
            _share_within(region, f"{region}_sharp"),
            _counted_alike,
            100.0,
            "points",
        )
        for region in anatomy.CLIPPED
    },
    "entropy_law": Kind(
        "correlation over steps of the change of entropy with −Cov(log π, Â)", _entropy_law, _entropy_is
    ),
    "grad_norm": Kind(
        "mean gradient norm over the steps",
        lambda run, measure: _mean(*numbers.curve(run, "actor/grad_norm"), _window(run, measure)),
        _counted_alike,
    ),
}
