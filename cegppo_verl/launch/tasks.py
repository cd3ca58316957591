"""What is handed to an executor for a cell, and what its node side is told; also before anything is there."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from cegppo_verl.experiment import catalog
from cegppo_verl.experiment.cell import Cell
from cegppo_verl.launch import handover, jobs, tracking
from cegppo_verl.launch.attempt import cell_json
from cegppo_verl.launch.cells import run_dir
from cegppo_verl.launch.driver import Interpreter
from cegppo_verl.launch.executors.base import NODE, Executor, Need, Task
from cegppo_verl.launch.executors.local import LocalExecutor
from cegppo_verl.launch.options import Options
from cegppo_verl.launch.request import INHERIT, PRIVATE, Request
from cegppo_verl.records import progress, provenance
from cegppo_verl.records.rundir import RunDir


def node_command(run: RunDir) -> tuple[str, ...]:
    """Arguments after the interpreter that make an attempt of the cell in ``run``."""
    return (*NODE, str(run.path.resolve()))


def task(cell: Cell, run: RunDir, name: str, options: Options) -> Task:
    """A submission of a cell under a name of its own."""
    scale = catalog.scale(cell.scale)
    hardware = scale.hardware
    return Task(
        name=name,
        cell=cell,
        run=run,
        need=Need(hardware.nodes, hardware.gpus_per_node, scale.platform, options.hours(cell)),
        command=node_command(run),
        environment={**jobs.platform_environment(cell), **tracking.passed_on()},
        priority=options.priority(cell),
    )


def request(cell: Cell, options: Options, executor: Executor) -> Request:
    """What the node side is told."""
    local = isinstance(executor, LocalExecutor)
    return Request(
        limits=options.limits,
        early_stop=options.early_stop,
        ray=PRIVATE if local else INHERIT,
        interpreter=executor.interpreter(cell) if isinstance(executor, LocalExecutor) else Interpreter(),
        command=tuple(provenance.command()),
    )


def next_task(cell: Cell, options: Options) -> Task:
    """What would be submitted now."""
    run = run_dir(cell, options.results)
    name, _ = handover.next_name(run, cell.id)
    return task(cell, run, name, options)


def dry_run(cells: Sequence[Cell], results: Path) -> list[str]:
    """The exact commands of the next attempts, as text; builds and writes nothing."""
    return [_dry_command(cell, run_dir(cell, results)) for cell in cells]


def _dry_command(cell: Cell, run: RunDir) -> str:
    resume_from = progress.resume_point(run, cell_json(cell))
    job = jobs.job(cell, run, jobs.expected_inputs(cell), run.next_attempt(), resume_from)
    return jobs.command_text(cell, job.arguments, {**jobs.platform_environment(cell), **job.environment})
