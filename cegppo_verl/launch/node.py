"""What executors start on the head of a cell's allocation: ``python -m cegppo_verl.launch.node RUN_DIR``.

It needs the run directory and nothing else, so a scheduler may start it again (Slurm's requeue) and it goes
on where the files say. It holds the cell's lock while it works, so no cell runs twice, whoever submitted it.
"""

from __future__ import annotations

import errno
import signal
import sys
from pathlib import Path

from cegppo_verl.errors import EXIT_USER_ERROR, UserError
from cegppo_verl.experiment.cell import Cell, read_cell
from cegppo_verl.launch import attempt
from cegppo_verl.launch.attempt import Interrupted, cell_json
from cegppo_verl.launch.causes import OUT_OF_TIME
from cegppo_verl.records import marks, progress, submission
from cegppo_verl.records.rundir import RunDir

EXIT_DONE, EXIT_FAILED, EXIT_BUSY, EXIT_INTERRUPTED = 0, 1, 75, 143  # 75: sysexits' EX_TEMPFAIL
EXIT_STORAGE = 74  # sysexits' EX_IOERR: the only way left to say it when nothing can be written
STORAGE_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.ESTALE)
LOCK_PATIENCE = 30.0  # seconds: a killed predecessor may take a moment to go
SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1)  # SIGUSR1: the time is nearly up


class OutOfTime(Interrupted):
    """The scheduler's time limit is near; the batch script queues the job again if that can help."""


def main(arguments: list[str] | None = None) -> int:
    """Make one attempt of the cell in ``RUN_DIR``; the exit code says how it went."""
    words = sys.argv[1:] if arguments is None else arguments
    if len(words) != 1:
        print("usage: python -m cegppo_verl.launch.node RUN_DIR", file=sys.stderr)
        return EXIT_USER_ERROR
    for number in SIGNALS:
        signal.signal(number, _end)
    run = RunDir(Path(words[0]))
    try:
        return serve(run)
    except OutOfTime as error:
        print(f"ended: {error}", file=sys.stderr)
        return _out_of_time(run)
    except Interrupted as error:
        print(f"ended: {error}", file=sys.stderr)
        return EXIT_INTERRUPTED
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return EXIT_USER_ERROR
    except OSError as error:
        if error.errno not in STORAGE_ERRORS:
            raise
        print(f"error: the records cannot be written: {error}", file=sys.stderr)
        return EXIT_STORAGE


def serve(run: RunDir) -> int:
    """One attempt, unless the cell is done, stopped, or in other hands."""
    cell = read_cell(run.cell_file)
    with run.lock(patience=LOCK_PATIENCE) as held:
        if not held:
            print(f"{cell.slug}: another process executes this cell, left alone", file=sys.stderr)
            return EXIT_BUSY
        if progress.missing(run, cell_json(cell)) is None:
            return EXIT_DONE
        if marks.stop_request(run) is not None:
            print(f"{cell.slug}: stopped, see {marks.stop_file(run)}", file=sys.stderr)
            return EXIT_FAILED
        return _execute(cell, run)


def _execute(cell: Cell, run: RunDir) -> int:
    outcome = attempt.execute(cell, run, submission.read(run))
    return EXIT_DONE if outcome == attempt.COMPLETED else EXIT_FAILED


def _out_of_time(run: RunDir) -> int:
    """Interrupted, to be resumed, unless this attempt added no checkpoint: the next one would not, either."""
    cell, last = read_cell(run.cell_file), run.attempts()[-1:]
    reached = progress.resume_point(run, cell_json(cell))
    if not last or reached > (last[0].record().get("resumed_from") or 0):
        return EXIT_INTERRUPTED
    last[0].update(outcome=attempt.FAILED, cause=OUT_OF_TIME.text, cause_kind=OUT_OF_TIME.kind.value)
    return EXIT_FAILED


def _end(number: int, frame: object) -> None:
    """The first signal ends the attempt; an impatient second one must not cut the tidying short."""
    for known in SIGNALS:
        signal.signal(known, signal.SIG_IGN)
    kind = OutOfTime if number == signal.SIGUSR1 else Interrupted
    raise kind(f"ended by {signal.Signals(number).name}")


if __name__ == "__main__":
    sys.exit(main())
