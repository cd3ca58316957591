"""Property-based search: random batches and parameters; for a failure the smallest input that shows it."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cegppo_verl.contract.batch import OLD, Batch, build
from cegppo_verl.contract.outcome import Measured
from cegppo_verl.contract.subjects import Subject
from cegppo_verl.errors import UserError

if TYPE_CHECKING:
    from hypothesis.strategies import SearchStrategy

EXAMPLES = 60
FACTORS = (1.0, 0.5, 0.75, 1.25, 1.5)
OLDS = (OLD, -0.25, -3.0)
ENTROPIES = (1.0, 0.5, 0.96, 1.02, 2.0)


@dataclass(frozen=True)
class Case:
    """One input: parameters and rows of tokens (log δ, Â, mask, log π_old, entropy, old entropy)."""

    params: dict[str, Any]
    rows: list[list[tuple[float, ...]]]
    needs: frozenset[str] = frozenset()

    @property
    def batch(self) -> Batch:
        """The tensors. log π_old is lowered where π_θ would exceed 1."""
        ratio, advantages, mask, old, entropy, old_entropy = (self._column(i) for i in range(6))
        return build(ratio, advantages, mask, old_log_prob=old, entropy=entropy, old_entropy=old_entropy)

    def _column(self, index: int) -> list[list[float]]:
        if index == 3:
            return [[token[3] - max(0.0, token[0]) for token in row] for row in self.rows]
        return [[token[index] for token in row] for row in self.rows]

    def __str__(self) -> str:
        names = ("log_ratio", "advantages", "mask", "old_log_prob", "entropy", "old_entropy")
        shown = [i for i in range(6) if i < 4 or names[i] in self.needs]
        lines = [f"{names[i]:<12} = {self._column(i)}" for i in shown]
        return "\n".join([*lines, f"{'params':<12} = {self.params}"])


def worst(
    subject: Subject,
    error: Callable[[Case], float],
    bound: float,
    what: str = "largest relative error",
    *,
    rows: int = 1,
    settings: tuple[dict[str, Any], ...] | None = None,
    vary: bool = True,
) -> Measured:
    """The largest ``error(case)`` over random cases; beyond ``bound`` the search shrinks the case.

    Args:
        error: a number that should be at most ``bound``; an exception counts as a failure.
        rows: the fewest rows. settings: parameters to draw from instead of the subject's.
        vary: also try parameters near them.
    """
    hypothesis = _hypothesis()
    seen = [0.0]
    failing: list[tuple[float, str]] = []

    @hypothesis.settings(
        max_examples=EXAMPLES,
        deadline=None,
        database=None,
        derandomize=True,
        report_multiple_bugs=False,
        suppress_health_check=list(hypothesis.HealthCheck),
        phases=(hypothesis.Phase.generate, hypothesis.Phase.shrink),
        verbosity=hypothesis.Verbosity.quiet,
    )
    @hypothesis.given(cases(subject, rows, settings or subject.settings, FACTORS if vary else (1.0,)))
    def probe(case: Case) -> None:
        found, raised = _tried(error, case)
        if found <= bound:
            seen[0] = max(seen[0], found)
            return
        failing[:] = [(found, f"{case}" + (f"\n# raised {raised}" if raised else ""))]
        raise AssertionError

    try:
        probe()
    except AssertionError:  # the last call was the smallest
        return Measured(failing[0][0], bound, what, failing[0][1])
    return Measured(seen[0], bound, what)


def _tried(error: Callable[[Case], float], case: Case) -> tuple[float, str]:
    try:
        return error(case), ""
    except (ArithmeticError, AssertionError, IndexError, RuntimeError, TypeError, ValueError) as raised:
        return math.nan, f"{type(raised).__name__}: {raised}"


def cases(
    subject: Subject, rows: int, settings: tuple[dict[str, Any], ...], factors: tuple[float, ...]
) -> SearchStrategy[Case]:
    """Batches of up to three rows of up to four tokens; simple numbers come first when shrinking."""
    st = _hypothesis().strategies
    number = st.one_of(
        st.sampled_from((0.0, 1.0, -1.0, 0.5, -0.5, 2.0, -2.0)),
        st.floats(-3, 3, allow_subnormal=False).map(lambda x: round(x, 3)),
    )
    advantage = st.one_of(st.sampled_from((1.0, -1.0, 2.0, -0.5, 0.0)), number)
    others = [st.sampled_from(ENTROPIES if subject.needs else (1.0,)) for _ in range(2)]
    token = st.tuples(number, advantage, st.sampled_from((1, 1, 0)), st.sampled_from(OLDS), *others)
    lengths = st.integers(1, 4).flatmap(
        lambda n: st.lists(st.lists(token, min_size=n, max_size=n), min_size=rows, max_size=3)
    )
    chosen = st.sampled_from(settings)
    params = st.tuples(chosen, st.sampled_from(factors)).map(lambda pair: subject.varied(*pair))
    return st.builds(lambda p, r: Case(p, r, subject.needs), params, lengths)


def _hypothesis() -> Any:
    try:
        import hypothesis
        import hypothesis.strategies
    except ImportError as error:
        raise UserError("checking a loss needs hypothesis", hint="pip install hypothesis") from error
    return hypothesis
