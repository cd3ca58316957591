"""How near entropy stays to a target: a table for studies in which some arm holds one by feedback."""

from __future__ import annotations

import numpy as np

from cegppo_verl.reporting import numbers, text
from cegppo_verl.reporting.arms import Arm, Study
from cegppo_verl.reporting.runs import RunView
from cegppo_verl.reporting.tables import Entry, Row, Table

SATURATED = (
    "actor/control/state_saturated"  # steps running that the control has been at a limit; 0: it is not
)


def tracking_tables(study: Study, suffix: str = "") -> list[Table]:
    """One table per target H* that an arm names, none where no arm has one."""
    targets = [target for run in study.runs if (target := target_of(run)) is not None]
    return [_table(study, target, suffix) for target in dict.fromkeys(targets)]


def target_of(run: RunView) -> float | None:
    """The entropy that a run's algorithm is to hold, nats per token; None where it has no such parameter."""
    target = (run.cell.get("params") or {}).get("target")
    held = run.cell.get("algorithm", "").startswith("adaptive_")
    return float(target) if held and isinstance(target, int | float) else None


def tracking_error(steps: np.ndarray, entropy: np.ndarray, target: float, total_steps: int) -> float | None:
    """Mean of |log(H/H*)| over the second half of training; None unless each of those steps is there.

    Args:
        steps, entropy: (T,) ascending steps and nats per token. target: H*, nats per token, above 0.
    """
    late = steps > total_steps // 2
    values = entropy[late]
    if late.sum() < total_steps - total_steps // 2 or not np.all(values > 0):
        return None
    return float(np.abs(np.log(values / target)).mean())


def _table(study: Study, target: float, suffix: str) -> Table:
    columns = ("Arm", "tracking error per seed", "mean", "steps at a limit")
    caption = (
        f"Entropy against the target H* = {target:g} nats: mean of |log(H/H*)| over the second half of "
        "training, for every arm, whether it aims at H* or not; 0.1 is about 10 %. Steps at a limit: share "
        "of those steps at which the control could go no further."
    )
    found = [(arm, [_error(run, target) for run in arm.runs]) for arm in study.arms]
    rows = tuple(_row(arm, errors) for arm, errors in found)
    records = tuple(
        {
            "arm": run.arm,
            "seed": run.seed,
            "target": target,
            "tracking_error": error,
            "at_limit": _at_limit(run),
        }
        for arm, errors in found
        for run, error in zip(arm.runs, errors, strict=True)
    )
    return Table(f"tracking-{target:g}{suffix}", caption, columns, rows, records)


def _row(arm: Arm, errors: list[float | None]) -> Row:
    known = [error for error in errors if error is not None]
    if not known:
        missing = Entry(arm.missing(), absent=True)
        return Row(arm.name, arm.index, (missing, missing, Entry("–", absent=True)))
    limits = [share for run in arm.finished if (share := _at_limit(run)) is not None]
    at_limit = Entry(f"{100 * np.mean(limits):.0f} %") if limits else Entry("–", absent=True)
    listing = ", ".join("not run" if error is None else text.number(error, 2) for error in errors)
    return Row(arm.name, arm.index, (Entry(listing), Entry(text.number(float(np.mean(known)), 2)), at_limit))


def _error(run: RunView, target: float) -> float | None:
    if not run.done:
        return None
    return tracking_error(*run.metrics.series(numbers.ENTROPY), target, run.total_steps)


def _at_limit(run: RunView) -> float | None:
    steps, saturated = run.metrics.series(SATURATED)
    late = saturated[steps > run.total_steps // 2]
    return float((late > 0).mean()) if run.done and len(late) else None
