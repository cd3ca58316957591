"""Runs a grid: for each cell that is not done, lock, attempt, follow, retry; resumable at any moment."""

from __future__ import annotations

import contextlib
import datetime
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from cegppo_verl.errors import UserError
from cegppo_verl.experiment import catalog
from cegppo_verl.experiment.cell import Cell
from cegppo_verl.launch import jobs, preflight, processes
from cegppo_verl.launch.causes import Cause
from cegppo_verl.launch.environment_checks import machine
from cegppo_verl.launch.follow import Follower, Limits
from cegppo_verl.launch.local import Handle, LocalExecutor, machine_to_itself
from cegppo_verl.launch.view import View
from cegppo_verl.records import atomic, progress, provenance
from cegppo_verl.records.rundir import Attempt, Json, RunDir
from cegppo_verl.records.status import DONE, Status, status_of

RESULTS = Path("results/runs")


@dataclass(frozen=True)
class Options:
    """How to run.

    Attributes:
        results: folder of all run directories.
        warm: start interpreters as forks of one warm process (CPU platform only).
        retries: further attempts after a failure that may pass (stall, memory, a lost process).
    """

    results: Path = RESULTS
    warm: bool = True
    retries: int = 2
    limits: Limits = field(default_factory=Limits)


def run_dir(cell: Cell, results: Path) -> RunDir:
    """Where the cell's records are; the same cell in another grid is found there too."""
    own = results / cell.grid / cell.run_name
    if not own.exists():
        for other in sorted(results.glob(f"*/*-{cell.id}")):
            return RunDir(other)
    return RunDir(own)


def cell_json(cell: Cell) -> Json:
    """The content of ``cell.json``."""
    return {"schema": 1, **cell.model_dump(mode="json")}


def statuses(cells: Sequence[Cell], results: Path) -> dict[str, Status]:
    """Status by cell id, from the files."""
    return {c.id: status_of(run_dir(c, results), cell_json(c)) for c in cells}


def check(cells: Sequence[Cell]) -> None:
    """Cheap checks before anything is written.

    Raises:
        UserError: wrong packages, missing data, no room in shared memory, another run or Ray in the way.
    """
    preflight.require_locked_versions()
    for cell in cells:
        jobs.require_inputs(cell)
    preflight.require_shared_memory()
    preflight.require_no_private_run()
    gpus = max(catalog.scale(c.scale).hardware.gpus for c in cells)
    preflight.require_no_other_ray({"CPU": jobs.LOGICAL_CPUS, "GPU": gpus})


def require_writable(results: Path) -> None:
    """Refuse before anything starts when the records could not be written.

    Raises:
        UserError: a file is in the way, or the folder is read-only.
    """
    existing = next(p for p in (results.absolute(), *results.absolute().parents) if p.exists())
    problem = "not a folder" if not existing.is_dir() else machine.write_problem(existing)
    if problem:
        message, hint = f"the records cannot be written: {problem}", "choose another --results"
        raise UserError(message, file=existing, hint=hint)


class GridRunner:
    """Runs the cells of one grid, one after the other, on this machine."""

    def __init__(self, cells: Sequence[Cell], options: Options, view: View) -> None:
        self.cells, self.options, self.view = list(cells), options, view
        self._executors: dict[str, LocalExecutor] = {}

    def run(self) -> bool:
        """Run everything that is not done; true when all cells are done at the end.

        Raises:
            UserError: something the user must mend; no attempt was started.
            KeyboardInterrupt: passed on, after the running attempt was ended and recorded.
        """
        state = statuses(self.cells, self.options.results)
        open_cells = [c for c in self.cells if state[c.id].state != DONE]
        with contextlib.ExitStack() as held:
            if open_cells:
                check(open_cells)
                require_writable(self.options.results)
                held.enter_context(machine_to_itself())
            return self._run_shown(open_cells, state)

    def _run_shown(self, open_cells: Sequence[Cell], state: Mapping[str, Status]) -> bool:
        self.view.begin(self.cells, state)
        try:
            if open_cells:
                self._run_all(open_cells)
        finally:  # an error and Ctrl-C, too, must leave a terminal that works
            final = statuses(self.cells, self.options.results)
            self.view.end(final)
        return all(s.state == DONE for s in final.values())

    def _run_all(self, cells: Sequence[Cell]) -> None:
        self._warm_up(cells)
        try:
            inputs = {c.id: _inputs(c) for c in cells}
            for cell in cells:
                self._run_cell(cell, inputs[cell.id])
        finally:
            for executor in self._executors.values():
                executor.close()

    def _warm_up(self, cells: Sequence[Cell]) -> None:
        """Start importing while models and data are still being built."""
        self._executor(cells[0])

    def _executor(self, cell: Cell) -> LocalExecutor:
        """One executor per environment: the warm server imports under it."""
        environment = jobs.platform_environment(cell)
        key = repr(sorted(environment.items()))
        if key not in self._executors:
            warm = self.options.warm and catalog.scale(cell.scale).platform == "cpu"
            if warm:
                self.options.results.mkdir(parents=True, exist_ok=True)
            log = self.options.results / "warm.log" if warm else None
            self._executors[key] = LocalExecutor(environment, log)
        return self._executors[key]

    def _run_cell(self, cell: Cell, inputs: jobs.Inputs) -> None:
        run = run_dir(cell, self.options.results)
        run.create(cell_json(cell))
        with run.lock() as held:
            if not held:
                self.view.note(f"{cell.slug}: another runner is at it, left alone")
                return
            if progress.missing(run, cell_json(cell)) is None:  # finished by another runner meanwhile
                return
            self._attempt_until_done(cell, run, inputs)

    def _attempt_until_done(self, cell: Cell, run: RunDir, inputs: jobs.Inputs) -> None:
        for tries_left in range(self.options.retries, -1, -1):
            cause = self._attempt(cell, run, inputs)
            state = status_of(run, cell_json(cell), own_lock=True)
            self.view.cell_ended(cell, state, cause.text if cause else None)
            if cause is None or not cause.retry or tries_left == 0:
                return
            self.view.note(f"{cell.slug}: {cause.text}; trying again ({tries_left} left)")

    def _attempt(self, cell: Cell, run: RunDir, inputs: jobs.Inputs) -> Cause | None:
        """One attempt, recorded from beginning to end. None when the cell is done."""
        _end_leftovers(run)
        resume_from = progress.resume_point(run, cell_json(cell))
        attempt = run.new_attempt()
        job = jobs.job(cell, run, inputs, attempt, resume_from)
        executor = self._executor(cell)
        environment = {**jobs.platform_environment(cell), **job.environment}
        text = jobs.command_text(cell, job.arguments, environment)
        atomic.write_text(attempt.path / "command.txt", jobs.portable(text, run) + "\n")
        origin = provenance.collect()
        run.update_manifest(schema=1, cell=cell.id, engine="verl", **origin)
        # Kept with the attempt, too: the manifest tells of the newest one only.
        attempt.update(number=attempt.number, started=_now(), resumed_from=resume_from, provenance=origin)
        self.view.cell_started(cell, attempt.number, resume_from)
        try:
            return self._follow(cell, run, attempt, executor.submit(job))
        except BaseException as error:
            if "outcome" not in attempt.record():  # stopped before there was a process to follow
                attempt.update(ended=_now(), outcome="interrupted", cause=_reason(error))
            raise

    def _follow(self, cell: Cell, run: RunDir, attempt: Attempt, handle: Handle) -> Cause | None:
        follower = Follower(
            run=run,
            cell=cell_json(cell),
            attempt=attempt,
            handle=handle,
            limits=self.options.limits,
            on_step=lambda step: self.view.step(cell, step),
            on_tick=self.view.tick,
        )
        started = time.monotonic()
        try:
            cause = follower.follow()
        except BaseException as error:
            handle.cancel()
            _record(attempt, "interrupted", _reason(error), handle, follower, started)
            raise
        _record(
            attempt,
            "completed" if cause is None else "failed",
            cause.text if cause else None,
            handle,
            follower,
            started,
        )
        return cause


def _inputs(cell: Cell) -> jobs.Inputs:
    """Model and data, present; before any cell has a directory."""
    inputs = jobs.build_inputs(cell)
    preflight.require_paths({f"{cell.scale}.input[{i}]": p for i, p in enumerate(inputs.files())})
    return inputs


def _end_leftovers(run: RunDir) -> None:
    """End what a killed runner left behind: the lock is held here, so it is nobody's, and may still write."""
    for attempt in run.attempts():
        if "outcome" not in attempt.record():
            left = processes.marked(jobs.mark(attempt))
            processes.end(processes.with_descendants(left), grace=5.0)


def _reason(error: BaseException) -> str:
    if isinstance(error, KeyboardInterrupt):
        return "interrupted by the user"
    return f"the runner failed: {type(error).__name__}: {error}"


def _record(
    attempt: Attempt, outcome: str, cause: str | None, handle: Handle, follower: Follower, started: float
) -> None:
    attempt.update(
        ended=_now(),
        seconds=round(time.monotonic() - started, 1),
        outcome=outcome,
        cause=cause,
        exit_code=handle.poll(),
        peak_memory_bytes=follower.peak_memory,
    )


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


def dry_run(cells: Sequence[Cell], results: Path) -> list[str]:
    """The exact commands of the next attempts, as text; builds and writes nothing."""
    return [_dry_command(cell, run_dir(cell, results)) for cell in cells]


def _dry_command(cell: Cell, run: RunDir) -> str:
    resume_from = progress.resume_point(run, cell_json(cell))
    job = jobs.job(cell, run, jobs.expected_inputs(cell), run.next_attempt(), resume_from)
    return jobs.command_text(cell, job.arguments, {**jobs.platform_environment(cell), **job.environment})


__all__ = ["GridRunner", "Options", "UserError", "dry_run", "run_dir", "statuses"]
