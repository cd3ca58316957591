"""The Slurm executor: a cell is a batch job, which is a Ray cluster of its own."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import ClassVar

from cegppo_verl.launch.executors import slurm_check, slurm_client
from cegppo_verl.launch.executors.base import (
    Capacity,
    JobState,
    JobStatus,
    NameTakenError,
    SubmitError,
    Task,
)
from cegppo_verl.launch.executors.profile import SlurmProfile
from cegppo_verl.launch.executors.slurm_script import render
from cegppo_verl.records import atomic

# Complaints after which the same call may work in a while; the limits are on how many jobs a user may have.
_PASSING = (
    "Unable to contact",
    "timed out",
    "no answer within",
    "temporarily",
    "Connection refused",
    "Communication connection failure",
    "MaxSubmit",
    "SubmitJob",
    "MaxJobCount",
    "job submit limit",
    "Socket",
    "I/O error",
)
# sbatch's variable for an option is its name in capitals, but for these.
_VARIABLES = {"time": "TIMELIMIT", "no-requeue": "NO_REQUEUE", "mem": "MEM_PER_NODE"}


class SlurmExecutor:
    """Carries attempts to Slurm, which does the queueing. Needs nothing but its command line programs.

    Args:
        profile: where and how, see ``examples/slurm.yaml``.
    """

    name: ClassVar[str] = "slurm"
    detached: ClassVar[bool] = True

    def __init__(self, profile: SlurmProfile) -> None:
        self.profile = profile

    def check(self, tasks: Sequence[Task]) -> None:
        """Slurm answers, and partition, GPUs, memory and time limit can be had."""
        slurm_check.check(tasks, self.profile)

    def files(self, task: Task) -> dict[str, str]:
        """The batch script."""
        return {f"{task.name}.sh": render(task, self.profile)}

    def submit(self, task: Task) -> str:
        """Write the batch script into the run directory and hand it over; the job's number.

        Raises:
            NameTakenError: the accounting, or the controller, has an ended job of a fresh task's name.
            SubmitError: refused, or Slurm cannot say whether it has the job already.
        """
        known = slurm_client.queue()
        if isinstance(known, str):
            raise _refusal(known)
        job = slurm_client.by_name(known).get(task.name)
        job = job or slurm_client.by_name(slurm_client.accounted([task.name])).get(task.name)
        if job is None:
            return self._sbatch(task)
        if task.fresh and job.status.state is JobState.ENDED:
            raise NameTakenError(task.name)
        return job.id

    def _sbatch(self, task: Task) -> str:
        [(file, text)] = self.files(task).items()
        path = task.run.path.absolute() / file
        atomic.write_text(path, text)
        # The name on the command line: a user's template without it must not make jobs that nobody finds.
        command = ("sbatch", "--parsable", f"--job-name={task.name}", str(path))
        answer = slurm_client.run(*command, environment=_environment(text))
        if not answer.ok:
            raise _refusal(answer.complaint())
        return answer.out.strip().splitlines()[-1].split(";")[0]

    def statuses(self, names: Sequence[str]) -> dict[str, JobStatus]:
        """One question to the controller; what it has forgotten is asked of the accounting, if there is any.

        ``scontrol show job`` would add nothing: it reads the same memory of the controller.
        """
        known = slurm_client.queue()
        if isinstance(known, str):
            return dict.fromkeys(names, JobStatus(JobState.UNKNOWN, known))
        jobs = slurm_client.by_name(known)
        gone = [name for name in names if name not in jobs]
        jobs |= slurm_client.by_name(slurm_client.accounted(gone)) if gone else {}
        forgotten = JobStatus(JobState.ENDED)
        return {name: jobs[name].status if name in jobs else forgotten for name in names}

    def cancel(self, name: str) -> None:
        """scancel: a waiting job is removed, a running one gets SIGTERM and, after KillWait, SIGKILL."""
        slurm_client.run("scancel", slurm_client.user(), f"--name={name}")

    def capacity(self) -> Capacity | None:
        """None: Slurm queues."""
        return None

    def close(self) -> None:
        """Nothing is held."""


def _environment(script: str) -> dict[str, str]:
    """Ours, without variables that would overrule what the script says: for sbatch they come first."""
    said = re.findall(r"^#SBATCH --([a-z-]+)", script, re.MULTILINE)
    overruling = {"SBATCH_" + _VARIABLES.get(key, key.upper().replace("-", "_")) for key in said}
    if overruling & {"SBATCH_REQUEUE", "SBATCH_NO_REQUEUE"}:
        overruling |= {"SBATCH_REQUEUE", "SBATCH_NO_REQUEUE"}
    return {key: value for key, value in slurm_client.clean_environment().items() if key not in overruling}


def _refusal(complaint: str) -> SubmitError:
    passing = any(word in complaint for word in _PASSING)
    hint = None if passing else "check the cluster profile; `cegppo run --dry-run` shows the batch script"
    return SubmitError(f"Slurm did not take the job: {complaint}", passing=passing, hint=hint)
