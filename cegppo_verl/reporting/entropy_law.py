"""The table of the entropy law: what was fitted to each arm's evaluations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from cegppo_verl.reporting import text
from cegppo_verl.reporting.panels_final import Law
from cegppo_verl.reporting.tables import Entry, Row, Table, interval_fields
from cegppo_verl.stats import Interval

_PARTS = ("a", "b", "ceiling")


def law_tables(found: Mapping[str, Sequence[Law]], suffix: str = "") -> list[Table]:
    """One per benchmark on which some arm could be fitted."""
    return [
        _table(name, laws, suffix) for name, laws in found.items() if any(law.fit is not None for law in laws)
    ]


def _table(benchmark: str, laws: Sequence[Law], suffix: str) -> Table:
    columns = ("Arm", "a, points [95 %]", "b, % [95 %]", "b − a, % [95 %]", "residual, points", "evaluations")
    caption = (
        f"Fit of accuracy on {benchmark} by entropy, R = b − a·exp(H): b − a is what it predicts at zero "
        "entropy. Intervals: bootstrap over seeds, with 1 seed over its points and so about this run only. "
        "A fit is no cause: both change over the same steps."
    )
    rows, records = zip(*map(_row, laws), strict=True)
    return Table(f"entropy-law-{benchmark}{suffix}", caption, columns, tuple(rows), tuple(records))


def _row(law: Law) -> tuple[Row, dict[str, object]]:
    count = law.entropy.shape[1]
    record: dict[str, object] = {"arm": law.arm.name, "evaluations": count, "seeds": len(law.entropy)}
    if law.fit is None:
        why = Entry("fewer than 4 evaluations, or one entropy", absent=True)
        dash = Entry("–", absent=True)
        return Row(law.arm.name, law.arm.index, (why, dash, dash, dash, Entry(str(count)))), record
    for name in _PARTS:
        record |= interval_fields(name, law.fit.values[name])
    parts = [Entry(_shown(law.fit.values[name])) for name in _PARTS]
    residual = Entry(text.number(100 * law.fit.residual_sd, 1))
    return Row(law.arm.name, law.arm.index, (*parts, residual, Entry(str(count)))), record


def _shown(interval: Interval) -> str:
    return text.percent(interval)
