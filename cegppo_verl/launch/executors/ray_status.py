"""A Ray job's state, in the runner's words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cegppo_verl.launch.executors.base import JobState, JobStatus

FORGOTTEN = JobStatus(JobState.ENDED, reason="the cluster does not know the job (head restarted?)")

_ALIVE = {"PENDING": JobState.QUEUED, "RUNNING": JobState.RUNNING}
_NODE_WORDS = ("node has died", "node died", "node was terminated", "node is dead")
_MEMORY_WORDS = ("out of memory", "low on memory", "memory pressure", "OutOfMemory", "OOM")


def read(job: Mapping[str, Any]) -> JobStatus:
    """The status of one entry of ``GET /api/jobs/``."""
    status = str(job.get("status"))
    if status in _ALIVE:
        return JobStatus(_ALIVE[status])
    code = job.get("driver_exit_code")
    return JobStatus(JobState.ENDED, reason=_reason(status, job), exit_code=code)


def _reason(status: str, job: Mapping[str, Any]) -> str | None:
    if status == "SUCCEEDED":
        return None
    if status == "STOPPED":
        return "STOPPED: the Ray job was stopped"
    return _failure(str(job.get("error_type")), str(job.get("message") or "Job failed."))


def _failure(error_type: str, message: str) -> str:
    """Ray's account in one line; first the word that the runner takes the kind of cause from."""
    lines = [line.strip() for line in message.splitlines() if line.strip()]
    if error_type == "JOB_ENTRYPOINT_COMMAND_ERROR":  # after this line comes the end of the job's log
        return lines[0].partition(", last available logs")[0]
    if error_type == "JOB_SUPERVISOR_ACTOR_START_TIMEOUT":
        return "the job found no place on the cluster in time (by default 900 s)"
    if any(word in message for word in _NODE_WORDS):
        return f"NODE_FAIL: {lines[-1]}"[:300]
    if any(word in message for word in _MEMORY_WORDS):
        return f"OUT_OF_MEMORY: {lines[-1]}"[:300]
    return f"{lines[0]} {lines[-1] if len(lines) > 1 else ''}".strip()[:300]
