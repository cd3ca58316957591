"""Asking Slurm: bounded calls of its programs, and what their answers mean."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from cegppo_verl.launch.executors.base import JobState, JobStatus

TIMEOUT = 20.0  # seconds; Slurm's programs themselves wait for a minute and more
# Variables that would change what its programs ask or print. SLURM_CONF says where the cluster is.
_FILTERING = re.compile(r"(SLURM|SQUEUE|SACCT|SCANCEL|SINFO)_(?!CONF$|CONF_SERVER$)")

_QUEUED = "PENDING CONFIGURING REQUEUED REQUEUE_HOLD REQUEUE_FED RESV_DEL_HOLD SPECIAL_EXIT SUSPENDED STOPPED"
_RUNNING = "RUNNING COMPLETING SIGNALING STAGE_OUT RESIZING"
_ENDED = (
    "COMPLETED FAILED CANCELLED TIMEOUT NODE_FAIL PREEMPTED OUT_OF_MEMORY BOOT_FAIL DEADLINE REVOKED"
    " LAUNCH_FAILED RECONFIG_FAIL"
)
STATES = {
    **dict.fromkeys(_QUEUED.split(), JobState.QUEUED),
    **dict.fromkeys(_RUNNING.split(), JobState.RUNNING),
    **dict.fromkeys(_ENDED.split(), JobState.ENDED),
}
_ALIVE = (JobState.RUNNING, JobState.QUEUED, JobState.UNKNOWN)

# Fields of fixed width, as `--json` differs between versions and a pending reason may hold any character.
_WIDTHS = {"JobID": 20, "State": 20, "exit_code": 12, "Name": 200, "Reason": 200}
SQUEUE = (
    "squeue",
    "--noheader",
    "--all",
    "--states=all",
    "--Format=" + ",".join(f"{field}:{width}" for field, width in _WIDTHS.items()),
)


@dataclass(frozen=True)
class Answer:
    """What a program said; ``code`` is None when it gave no answer in time, or is not installed."""

    code: int | None
    out: str
    err: str

    @property
    def ok(self) -> bool:
        """Whether it did what it was asked."""
        return self.code == 0

    def complaint(self) -> str:
        """Its last error on one line."""
        lines = [line for line in (self.err or self.out).splitlines() if line.strip()]
        return lines[-1].strip() if lines else f"exit code {self.code} without a word"


@dataclass(frozen=True)
class Job:
    """A job as Slurm knows it."""

    id: str
    name: str
    status: JobStatus


def run(*command: str, environment: Mapping[str, str] | None = None, stdin: str | None = None) -> Answer:
    """Call one of Slurm's programs."""
    try:
        done = subprocess.run(
            command,
            env={**(clean_environment() if environment is None else environment), "LC_ALL": "C"},
            input=stdin,
            stdin=subprocess.DEVNULL if stdin is None else None,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=TIMEOUT,
        )
    except subprocess.TimeoutExpired:
        return Answer(None, "", f"{command[0]}: no answer within {TIMEOUT:g} s")
    except OSError as error:
        return Answer(None, "", f"{command[0]}: {error.strerror or error}")
    return Answer(done.returncode, done.stdout, done.stderr)


def clean_environment() -> dict[str, str]:
    """This process's environment without what filters answers, or belongs to a job that we are part of."""
    return {key: value for key, value in os.environ.items() if not _FILTERING.match(key)}


def user() -> str:
    """``--user`` with our number: known to every version, unlike ``--me``."""
    return f"--user={os.getuid()}"


def queue() -> list[Job] | str:
    """Our jobs that the controller remembers, ended ones (MinJobAge, 5 minutes) too; or why it is silent.

    One call for all: thousands of names would not fit a command line.
    """
    answer = run(*SQUEUE, user())
    return parse_queue(answer.out) if answer.ok else answer.complaint()


def accounted(names: Sequence[str]) -> list[Job]:
    """Jobs that the controller has forgotten, from the accounting data base; [] where it cannot be asked."""
    found: list[Job] = []
    for start in range(0, len(names), 500):
        chosen = "--name=" + ",".join(names[start : start + 500])
        fields = "--format=JobID,JobName,State,ExitCode"
        since = "--starttime=now-90days"  # its default is midnight
        answer = run("sacct", "-X", "-P", "--noheader", user(), chosen, since, fields)
        if not answer.ok:
            return []
        found += parse_accounting(answer.out)
    return found


def parse_queue(text: str) -> list[Job]:
    """The answer of :data:`SQUEUE`."""
    return [_row(line) for line in text.splitlines() if line.strip()]


def _row(line: str) -> Job:
    values, at = {}, 0
    for field, width in _WIDTHS.items():
        values[field], at = line[at : at + width].strip(), at + width
    said = None if values["Reason"] in ("", "None", "(null)") else values["Reason"]
    return Job(values["JobID"], values["Name"], status(values["State"], values["exit_code"], said))


def parse_accounting(text: str) -> list[Job]:
    """The answer of ``sacct -P``: ``id|name|state|code:signal``."""
    rows = [line.split("|") for line in text.splitlines() if line.count("|") == 3]
    return [Job(row[0], row[1], status(row[2], row[3], None)) for row in rows]


def status(state: str, exit_code: str, why: str | None) -> JobStatus:
    """What Slurm's words mean.

    Args:
        state: ``RUNNING``, or ``CANCELLED by 1000``.
        exit_code: ``code:signal``, or the status of wait(2).
        why: what a job waits for.
    """
    word = state.split()[0].rstrip("+") if state.split() else ""
    known = STATES.get(word, JobState.UNKNOWN)
    if known is not JobState.ENDED:
        return JobStatus(known, (why or word) if known is JobState.QUEUED else word)
    return JobStatus(known, word, _exit_code(exit_code))


def _exit_code(text: str) -> int | None:
    """A shell's exit code: 128 + n for signal n."""
    parts = text.split(":")
    if not all(part.isdigit() for part in parts):
        return None
    code, number = (int(parts[0]) >> 8, int(parts[0]) & 127) if len(parts) == 1 else map(int, parts[:2])
    return 128 + number if number else code


def by_name(jobs: Sequence[Job]) -> dict[str, Job]:
    """One job per name: a living one before those that ended, then the newest."""
    chosen: dict[str, Job] = {}
    for job in sorted(jobs, key=lambda job: (job.status.state in _ALIVE, _number(job.id))):
        chosen[job.name] = job
    return chosen


def _number(job: str) -> int:
    digits = re.match(r"\d+", job)
    return int(digits[0]) if digits else 0
