"""A run's stitched metrics to other trackers, after the fact: every step once, whatever the attempts were."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cegppo_verl.errors import UserError

if TYPE_CHECKING:
    from cegppo_verl.reporting.runs import RunView


def tensorboard(run: RunView, folder: Path) -> Path:
    """Write ``folder/<run>/`` with every metric as a scalar; returns the folder.

    Raises:
        UserError: it is there already, or tensorboard is not installed.
    """
    try:
        from tensorboard.compat.proto.event_pb2 import Event  # type: ignore[import-untyped]
        from tensorboard.compat.proto.summary_pb2 import Summary  # type: ignore[import-untyped]
        from tensorboard.summary.writer.event_file_writer import EventFileWriter  # type: ignore[import-untyped]
    except ImportError as error:
        raise UserError("tensorboard is not installed", hint="pip install tensorboard") from error
    place = folder / run.name
    if place.exists():
        raise UserError("is there already", file=place, hint="remove it, or choose another folder")
    writer = EventFileWriter(str(place))
    for step, values in steps(run):
        scalars = [Summary.Value(tag=key, simple_value=value) for key, value in values.items()]
        writer.add_event(Event(wall_time=float(step), step=step, summary=Summary(value=scalars)))
    writer.close()
    return place


def wandb(run: RunView, project: str, **init: Any) -> str:
    """Log the run to W&B; returns its id there.

    Raises:
        UserError: wandb is not installed.
    """
    try:
        import wandb as client
    except ImportError as error:
        raise UserError("wandb is not installed", hint="pip install wandb") from error
    told = client.init(project=project, name=run.name, config=dict(run.cell), reinit=True, **init)
    for step, values in steps(run):
        told.log(values, step=step)
    told.finish()
    return str(told.id)


def steps(run: RunView) -> Iterator[tuple[int, dict[str, float]]]:
    """Each step with its metrics; what was logged and is no number is left out."""
    frame = run.metrics.frame().dropna(subset="value")
    for step, rows in frame.groupby("step", sort=True):
        yield int(str(step)), dict(zip(rows["key"].astype(str), rows["value"].astype(float), strict=True))
