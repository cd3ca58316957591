"""From KubeRay's words for a RayJob to ours."""

from __future__ import annotations

from typing import Any

from cegppo_verl.launch.executors.base import JobState, JobStatus

# status.jobDeploymentStatus, from KubeRay's rayjob_types.go.
_STATES = {
    "": JobState.QUEUED,  # not seen by the operator yet
    "Initializing": JobState.QUEUED,  # pods wait for nodes or images
    "Waiting": JobState.QUEUED,
    "Suspended": JobState.QUEUED,  # Kueue has not admitted it, or has taken its place away
    "Suspending": JobState.RUNNING,  # its pods are going; then Suspended
    "Running": JobState.RUNNING,
    "Retrying": JobState.RUNNING,
    "Complete": JobState.ENDED,
    "Failed": JobState.ENDED,
    "ValidationFailed": JobState.ENDED,
}


def job_status(item: dict[str, Any]) -> JobStatus:
    """The state of one RayJob as ``kubectl get -o json`` shows it."""
    status = item.get("status") or {}
    word = status.get("jobDeploymentStatus") or ""
    if word not in _STATES:
        return JobStatus(JobState.UNKNOWN, reason=f"KubeRay says '{word}'")
    if (item.get("metadata") or {}).get("deletionTimestamp"):
        # Deleted in the foreground: it stays until its pods have gone, and the node side is still ending.
        return JobStatus(JobState.RUNNING, reason="being deleted")
    state = _STATES[word]
    code = 0 if state is JobState.ENDED and status.get("jobStatus") == "SUCCEEDED" else None
    return JobStatus(state, reason=_reason(word, status), exit_code=code)


def _reason(word: str, status: dict[str, Any]) -> str | None:
    if word in ("Running", "Complete"):
        return None
    words = [word, status.get("reason") or "", " ".join(str(status.get("message") or "").split())[:500]]
    return ": ".join(dict.fromkeys(part for part in words if part)) or None


def read_list(data: Any) -> dict[str, JobStatus] | None:
    """State by name from a list of RayJobs; None when ``data`` is not such a list."""
    items = data.get("items") if isinstance(data, dict) else None
    if not isinstance(items, list):
        return None
    try:
        return {item["metadata"]["name"]: job_status(item) for item in items}
    except (AttributeError, KeyError, TypeError):
        return None
