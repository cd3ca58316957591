"""What ``cegppo run`` does before the runner begins: the grid, the place, the limits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from cegppo_verl.errors import UserError
from cegppo_verl.experiment.cell import Cell
from cegppo_verl.experiment.cost import Costs
from cegppo_verl.experiment.grid import Grid
from cegppo_verl.experiment.recorded import Recorded
from cegppo_verl.launch import planning, tasks, tracking
from cegppo_verl.launch.cells import statuses
from cegppo_verl.launch.executors import registry
from cegppo_verl.launch.executors.base import Executor
from cegppo_verl.launch.executors.local import LocalExecutor
from cegppo_verl.launch.executors.profile import default_profile, load_profile
from cegppo_verl.launch.follow import Limits
from cegppo_verl.launch.options import RESULTS, Options
from cegppo_verl.launch.runner import GridRunner
from cegppo_verl.launch.view import View
from cegppo_verl.records.status import DONE


@dataclass(frozen=True)
class Call:
    """The command line.

    Attributes:
        executor: a name, None for the profile's or this machine; cluster: a profile's file.
        max_gpu_hours: None takes the grid's own budget.
        loggers: of tracking.KNOWN.
    """

    grid: Path
    scale: str | None = None
    seeds: Sequence[int] | None = None
    arms: Sequence[str] | None = None
    results: Path = RESULTS
    executor: str | None = None
    cluster: Path | None = None
    max_gpu_hours: float | None = None
    loggers: Sequence[str] = ()
    retries: int = 2
    warm: bool = True
    limits: Limits = field(default_factory=Limits)


def executor_of(call: Call) -> Executor:
    """The executor that the command line asks for.

    Raises:
        UserError: an unknown name, a profile with a mistake, or one of another executor.
    """
    if call.cluster is None:
        return registry.make(default_profile(call.executor or "local"))
    profile = load_profile(call.cluster)
    if call.executor is not None and call.executor != profile.executor:
        hint = f"leave out --executor {call.executor}, or name a profile for it"
        raise UserError(f"the profile is for '{profile.executor}'", file=call.cluster, hint=hint)
    return registry.make(profile)


def options(call: Call, grid: Grid, executor: Executor) -> Options:
    """The runner's options."""
    budget = grid.budget.gpu_hours if grid.budget is not None else None
    costs = Costs(Recorded(call.results))
    if isinstance(executor, LocalExecutor) and call.warm:
        executor.warm_log = call.results / "warm.log"
    return Options(
        results=call.results,
        warm=call.warm,
        retries=call.retries,
        limits=call.limits,
        early_stop=tuple(rule.model_dump(mode="json") for rule in grid.early_stop),
        max_gpu_hours=budget if call.max_gpu_hours is None else call.max_gpu_hours,
        hours=lambda cell: costs.estimate(cell).hours,
        priority=lambda cell: grid.priority_of(cell.arm),
        executor=executor,
    )


def prepare(call: Call, view: View) -> GridRunner:
    """A runner that is ready to go.

    Raises:
        UserError: in the grid, the profile or an option.
    """
    tracking.ask(call.loggers)
    grid, cells = planning.load(call.grid, call.scale, call.seeds)
    executor = executor_of(call)
    return GridRunner(planning.select(cells, call.arms), options(call, grid, executor), view)


def dry_run(call: Call) -> list[str]:
    """Exactly what would be submitted, cell by cell; builds, contacts and writes nothing."""
    tracking.ask(call.loggers)
    grid, cells = planning.load(call.grid, call.scale, call.seeds)
    chosen, executor = planning.select(cells, call.arms), executor_of(call)
    state = statuses(chosen, call.results)
    done = [cell for cell in chosen if state[cell.id].state == DONE]
    said = [f"# {cell.slug}: done, nothing would run" for cell in done]
    left = [cell for cell in chosen if cell not in done]
    if not executor.detached:
        return said + tasks.dry_run(left, call.results)
    how = options(call, grid, executor)
    return said + [_submission(cell, executor, how) for cell in left]


def _submission(cell: Cell, executor: Executor, how: Options) -> str:
    files = executor.files(tasks.next_task(cell, how))
    return "\n".join(_titled(cell, name, text) for name, text in files.items())


def _titled(cell: Cell, name: str, text: str) -> str:
    begin = "---\n" if name.endswith(".yaml") else ""  # so that all of them together are a file of manifests
    return f"{begin}# {cell.slug}: {name}\n{text.rstrip()}"
