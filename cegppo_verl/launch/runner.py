"""Runs a grid: admits cells, submits them, watches, retries; resumable at any moment, from any runner."""

from __future__ import annotations

import contextlib
import errno
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from cegppo_verl.errors import UserError
from cegppo_verl.experiment.cell import Cell
from cegppo_verl.launch import attempt, handover, ledger, tasks
from cegppo_verl.launch.admission import Admission
from cegppo_verl.launch.attempt import cell_json
from cegppo_verl.launch.causes import Cause, Kind
from cegppo_verl.launch.cells import making_folders, require_writable, run_dir, statuses
from cegppo_verl.launch.conclude import conclude
from cegppo_verl.launch.executors.base import Executor, JobState, JobStatus, SubmitError
from cegppo_verl.launch.executors.local import LocalExecutor
from cegppo_verl.launch.handover import Claim
from cegppo_verl.launch.machine_lock import machine_to_itself
from cegppo_verl.launch.options import Options
from cegppo_verl.launch.readiness import check, needs_verl
from cegppo_verl.launch.terminal_text import counted
from cegppo_verl.launch.view import View
from cegppo_verl.launch.watch import Watch
from cegppo_verl.records import marks, progress, submission
from cegppo_verl.records.rundir import RunDir
from cegppo_verl.records.status import DONE, Status, status_of
from cegppo_verl.records.submission import Submission

POLL_SECONDS = 0.25
ASK_SECONDS = 5.0  # between questions to a cluster's scheduler
IDLE_FACTOR = 150  # sleep this many times longer than a look took: below 1 % of a core, however many cells
LONGEST_SLEEP = 30.0  # reached with a thousand cells at work
FILES_AWAY = (errno.EIO, errno.ESTALE, errno.ETIMEDOUT, errno.EHOSTDOWN, errno.EHOSTUNREACH, errno.ENOTCONN)


@dataclass
class Work:
    """A cell at work: its job and who watches it."""

    cell: Cell
    run: RunDir
    job: Submission
    watch: Watch
    since: float = field(default_factory=time.monotonic)
    taken_back: bool = False  # cancelled by this runner


class GridRunner:
    """Brings the cells of a grid to their end through one executor."""

    def __init__(self, cells: Sequence[Cell], options: Options, view: View) -> None:
        self.cells, self.options, self.view = list(cells), options, view
        warm_log = options.results / "warm.log" if options.warm else None
        self.executor: Executor = options.executor or LocalExecutor(warm_log=warm_log)
        self.budget = ledger.Budget(options.max_gpu_hours)
        self.admission = Admission(self.executor, self.budget, self._hours_left, options.priority)
        self._waiting: dict[str, Cell] = {}
        self._working: dict[str, Work] = {}
        self._given_up: dict[str, Cell] = {}
        self._tries: dict[str, int] = {}
        self._kept: dict[str, float] = {}  # the share of a cell that need not be repeated
        self._told: dict[str, str] = {}  # what was said last of a cell, or of the scheduler
        self._asked = -ASK_SECONDS
        self._measure_all = 0.0

    def run(self) -> bool:
        """Run everything that is not done; true when every cell is done, or was stopped by a rule.

        Raises:
            UserError: something the user must mend; no attempt was started.
            KeyboardInterrupt: passed on, after local attempts were ended and recorded; detached jobs go on.
        """
        state = statuses(self.cells, self.options.results)
        open_cells = [c for c in self.cells if state[c.id].state != DONE]
        with contextlib.ExitStack() as held:
            if open_cells:
                self._require(open_cells)
                require_writable(self.options.results)
                if not self.executor.detached and any(map(needs_verl, open_cells)):
                    held.enter_context(machine_to_itself())
            return self._run_shown(open_cells, state)

    def farewell(self) -> str:
        """What Ctrl-C leaves behind, for the person."""
        if self.executor.detached and self._working:
            jobs_ = f"{len(self._working)} jobs go on at {self.executor.name}"
            return f"{jobs_}; the same command watches them again, `cegppo stop` ends them"
        return "everything recorded is kept, the same command goes on"

    def _require(self, cells: Sequence[Cell]) -> None:
        results = self.options.results
        self.executor.check([tasks.task(c, run_dir(c, results), "check", self.options) for c in cells])
        if not self.executor.detached:
            check(cells)

    def _run_shown(self, open_cells: Sequence[Cell], state: Mapping[str, Status]) -> bool:
        self.view.begin(self.cells, state)
        try:
            if open_cells:
                self._run_all(open_cells)
        finally:  # an error and Ctrl-C, too, must leave a terminal that works
            final = statuses(self.cells, self.options.results)
            self.view.end(final)
        return all(s.state == DONE or self._stopped_by_rule(i) for i, s in final.items())

    def _stopped_by_rule(self, cell_id: str) -> bool:
        cell = next(c for c in self.cells if c.id == cell_id)
        attempts = run_dir(cell, self.options.results).attempts()
        return bool(attempts and attempts[-1].record().get("stopped_by_rule"))

    def _run_all(self, cells: Sequence[Cell]) -> None:
        try:
            self._prepare(cells)
            self._waiting = {c.id: c for c in cells}
            self._begin(cells)
            while self._waiting or self._working:
                started = time.monotonic()
                self._turn()
                if self._is_stuck():
                    break
                self._rest(time.monotonic() - started)
        finally:
            self.executor.close()

    def _prepare(self, cells: Sequence[Cell]) -> None:
        """Build what is missing before any cell has a directory, while warm servers import."""
        if isinstance(self.executor, LocalExecutor):
            self.executor.interpreter(cells[0])
            for cell in cells:
                attempt.build_inputs(cell)

    def _begin(self, cells: Sequence[Cell]) -> None:
        """Make the directories, and find out who has which cell."""
        for cell, run in self._make_folders(cells):
            try:
                with handover.guard(run) as held:  # not while another runner is submitting it
                    who = handover.claim(run, self.executor) if held else Claim.BUSY
            except OSError as error:
                self._leave_folder(cell, error)
                continue
            self._note_kept(cell, run)
            self._take_up(cell, run, who)

    def _make_folders(self, cells: Sequence[Cell]) -> list[tuple[Cell, RunDir]]:
        made = []
        with making_folders(self.options.results):
            for cell in cells:
                run = run_dir(cell, self.options.results)
                try:
                    run.create(cell_json(cell))
                    made.append((cell, run))
                except OSError as error:
                    self._leave_folder(cell, error)
        return made

    def _leave_folder(self, cell: Cell, error: OSError) -> None:
        """Another person's, or damaged: the other cells go on."""
        self._leave(cell, f"its folder cannot be used: {error}")

    def _take_up(self, cell: Cell, run: RunDir, who: Claim) -> None:
        if who is Claim.BUSY:
            self._leave(cell, "another runner is at it, left alone")
        elif who is Claim.OURS:
            self._adopt(cell, run)
        elif (why := self._set_aside(run)) is not None:
            self._leave(cell, why)

    def _adopt(self, cell: Cell, run: RunDir) -> None:
        job = submission.read(run)
        assert job is not None
        attempts = [a for a in run.attempts() if a.record().get("submission") == job.name]
        since = attempts[0].number - 1 if attempts else max((a.number for a in run.attempts()), default=0)
        self.view.note(f"{cell.slug}: found at {job.executor} as {job.name}, watching it again")
        self._work_on(cell, run, job, since)

    def _set_aside(self, run: RunDir) -> str | None:
        """Why a cell that nobody has is not to be started; None when it may be."""
        if marks.take_retry(run):
            return None
        if (why := _stopped(run)) is not None:
            return why
        attempts = run.attempts()
        if attempts and attempts[-1].record().get("stopped_by_rule"):
            return f"{attempts[-1].record().get('cause')}; `cegppo retry` goes on"
        return None

    def _note_kept(self, cell: Cell, run: RunDir) -> None:
        if (run.path / "attempts").is_dir():
            self._kept[cell.id] = progress.resume_point(run, cell_json(cell)) / cell.settings.total_steps

    def _hours_left(self, cell: Cell) -> float | None:
        hours = self.options.hours(cell)
        return None if hours is None else hours * (1.0 - self._kept.get(cell.id, 0.0))

    def _say_once(self, key: str, text: str) -> None:
        """A note, unless it is what was said before: a turn may come every second for days."""
        if self._told.get(key) != text:
            self._told[key] = text
            self.view.note(text)

    def _leave(self, cell: Cell, why: str) -> None:
        self._waiting.pop(cell.id, None)
        self._given_up[cell.id] = cell
        self.view.note(f"{cell.slug}: {why}")

    # --- one turn

    def _turn(self) -> None:
        try:
            self._look_and_act()
        except OSError as error:  # of a file server that is away: nothing is concluded, jobs go on
            if error.errno not in FILES_AWAY:
                raise
            self._say_once("files", f"the records cannot be reached: {error}; looked at again")
        self.view.tick()

    def _look_and_act(self) -> None:
        for work in self._working.values():
            work.watch.look()
        if not self.executor.detached or time.monotonic() - self._asked >= ASK_SECONDS:
            self._asked = time.monotonic()
            try:
                self._settle()
                self._take_back()
                self._obey_budget()
                self._admit()
            except SubmitError as error:  # e.g. a token that has run out: nothing is concluded, jobs go on
                self._say_once("scheduler", f"{self.executor.name}: {error}; asked again")

    def _rest(self, took: float) -> None:
        time.sleep(min(LONGEST_SLEEP, max(POLL_SECONDS, IDLE_FACTOR * took)))

    def _is_stuck(self) -> bool:
        """Whether what waits can never start: nothing runs, and the budget holds it back."""
        if self._working or not self._waiting or self.admission.held_back is None:
            return False
        self.view.note(f"{counted(len(self._waiting), 'cell')} not started: {self.admission.held_back}")
        return True

    def _settle(self) -> None:
        """Ask for the jobs at work, and conclude those that are over."""
        if not self._working:
            return
        names = {work.job.name: work for work in self._working.values()}
        for name, status in self.executor.statuses(list(names)).items():
            work = names[name]
            if status.state is JobState.ENDED and not handover.is_executed(work.run):
                self._conclude(work, status)
            elif status.state is JobState.QUEUED and marks.stop_request(work.run) is not None:
                self.executor.cancel(name)  # no node side is there to see the mark

    def _obey_budget(self) -> None:
        self._measure_budget()
        if self.budget.is_used_up() and self._working:
            self._say_once("budget", f"all {self.budget.limit:g} GPU-hours used, the limit: ending what runs")
            for work in self._working.values():
                work.taken_back = True
                self.executor.cancel(work.job.name)

    def _measure_budget(self) -> None:
        """The cells at work each turn, all of them (others may run them, too) now and then."""
        if self.budget.limit is None:
            return
        started = time.monotonic()
        whole = started >= self._measure_all
        cells = self.cells if whole else [work.cell for work in self._working.values()]
        self.budget.measure(cells, [run_dir(c, self.options.results) for c in cells])
        if whole:
            self._measure_all = time.monotonic() + IDLE_FACTOR * (time.monotonic() - started)

    def _conclude(self, work: Work, status: JobStatus) -> None:
        work.watch.look()
        del self._working[work.cell.id]
        try:
            with handover.guard(work.run) as held:
                if not held or not handover.is_newest(work.run, work.job):
                    self._was_concluded(work)
                    return
                cause = conclude(work.cell, work.run, work.job, status, taken_back=work.taken_back)
        except OSError as error:  # a disk that is full or read-only; the cell itself has lost nothing
            self._leave(work.cell, f"its end cannot be recorded: {error}; the next run does it")
            return
        self._tell_end(work, cause.text if cause else None)
        self.budget.measure([work.cell], [work.run])
        self._note_kept(work.cell, work.run)
        again = cause is not None and self._tries_again(work, cause)
        (self._waiting if again else self._given_up)[work.cell.id] = work.cell

    def _take_back(self) -> None:
        """Cells that were given up and that somebody has asked to try again meanwhile."""
        for cell in list(self._given_up.values()):
            if marks.take_retry(run_dir(cell, self.options.results)):
                self.view.note(f"{cell.slug}: asked to try again")
                self._tries.pop(cell.id, None)
                self._waiting[cell.id] = self._given_up.pop(cell.id)

    def _was_concluded(self, work: Work) -> None:
        """Another runner was faster: if it tries again, that is its job, which we watch, too."""
        self._tell_end(work, None)
        if handover.claim(work.run, self.executor) is Claim.OURS:
            self._adopt(work.cell, work.run)
        else:  # a retry that somebody asks for is still seen
            self._given_up[work.cell.id] = work.cell

    def _tell_end(self, work: Work, cause: str | None) -> None:
        state = status_of(work.run, cell_json(work.cell), own_lock=True)
        self.view.cell_ended(work.cell, state, cause)

    def _tries_again(self, work: Work, cause: Cause) -> bool:
        if marks.take_retry(work.run):
            self._tries.pop(work.cell.id, None)
            return True
        if marks.stop_request(work.run) is not None or self.budget.is_used_up() or not cause.retry:
            return False
        used = self._tries.get(work.cell.id, 0) + (cause.kind is not Kind.PREEMPTED)
        self._tries[work.cell.id] = used
        left = self.options.retries - used
        if left >= 0:
            counted = f" ({left + 1} left)" if cause.kind is not Kind.PREEMPTED else ""
            self.view.note(f"{work.cell.slug}: {cause.text}; trying again{counted}")
        return left >= 0

    # --- starting

    def _admit(self) -> None:
        working = [(w.cell, w.since) for w in self._working.values()]
        for cell in self.admission.choose(list(self._waiting.values()), working):
            self._start(cell)

    def _start(self, cell: Cell) -> None:
        try:
            self._start_guarded(cell, run_dir(cell, self.options.results))
        except OSError as error:  # a disk that is full, a process that cannot be made: the others go on
            self._leave(cell, f"cannot be started: {error}; `cegppo retry` tries again")

    def _start_guarded(self, cell: Cell, run: RunDir) -> None:
        with handover.guard(run) as held:
            if not held or handover.claim(run, self.executor) is not Claim.FREE:
                self._leave(cell, "another runner is at it, left alone")
                return
            if status_of(run, cell_json(cell), own_lock=True).state == DONE:  # by another runner meanwhile
                self._waiting.pop(cell.id)
                return
            if (why := _stopped(run)) is not None:  # while it waited
                self._leave(cell, why)
                return
            self._submit(cell, run)

    def _submit(self, cell: Cell, run: RunDir) -> None:
        name, number = handover.next_name(run, cell.id)
        since = max((a.number for a in run.attempts()), default=0)
        made = tasks.task(cell, run, name, self.options)
        told = tasks.request(cell, self.options, self.executor)
        try:
            job = handover.hand_over(self.executor, made, number, told)
        except SubmitError as error:
            self._refused(cell, error)
            return
        self._work_on(cell, run, job, since)

    def _refused(self, cell: Cell, error: SubmitError) -> None:
        if error.passing:
            self._say_once(cell.id, f"{cell.slug}: not taken yet: {error.message}")
        else:
            self._leave(cell, f"refused: {error}")

    def _work_on(self, cell: Cell, run: RunDir, job: Submission, since: int) -> None:
        self._waiting.pop(cell.id, None)
        self._working[cell.id] = Work(cell, run, job, Watch(cell, run, self.view, since))


def _stopped(run: RunDir) -> str | None:
    """Who asked for the cell's end, for people; None when nobody did."""
    asked = marks.stop_request(run)
    by = None if asked is None else asked.get("by") or "a person"
    return None if by is None else f"stopped by {by}; `cegppo retry` takes it up again"


__all__ = ["GridRunner", "Options", "UserError", "cell_json", "run_dir", "statuses"]
