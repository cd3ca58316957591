"""Is this project's loss known to verl? Asked in fresh processes, because verl hides a plugin that fails."""

from __future__ import annotations

import os
import subprocess
import sys
import uuid
from dataclasses import dataclass

from cegppo_verl.launch import processes
from cegppo_verl.launch.environment_checks.finding import Context, Finding

LOSS = "cegppo"
MARKER = "CEGPPO-DOCTOR:"
IN_DRIVER = f"""
import verl
from verl.trainer.ppo.core_algos import POLICY_LOSS_REGISTRY as registry
print("{MARKER}", registry["{LOSS}"].__module__ if "{LOSS}" in registry else "missing", flush=True)
"""
# address="local" never joins a running cluster; the function is the one that proves the loss before each run.
IN_RAY_WORKER = f"""
import ray
from cegppo_verl.verl_plugin.train import loss_in_this_process
ray.init(address="local", num_cpus=1, num_gpus=0, include_dashboard=False, object_store_memory=100 * 2**20)
print("{MARKER}", ray.get(ray.remote(num_cpus=0)(loss_in_this_process).remote("{LOSS}")), flush=True)
ray.shutdown()
"""


@dataclass(frozen=True)
class Answer:
    """What a probe process said: the loss's place, or None and the end of its output."""

    place: str | None
    output: str


def in_driver(context: Context) -> list[Finding]:
    """Import verl as the driver does (about ten seconds)."""
    return _ask(context, "plugin, driver", IN_DRIVER, timeout=180)


def in_ray_worker(context: Context) -> list[Finding]:
    """Start a small private Ray and look inside a worker process (about half a minute)."""
    return _ask(context, "plugin, Ray worker", IN_RAY_WORKER, timeout=300)


def _ask(context: Context, name: str, code: str, timeout: float) -> list[Finding]:
    if "verl" not in context.installed:
        return [Finding("warn", name, "verl is not installed", "run `make setup`")]
    answer = probe(code, environment(context), timeout)
    if answer.place and answer.place != "missing":
        return [Finding("ok", name, f"{LOSS} is registered ({answer.place})")]
    reason = answer.output.strip().splitlines()[-1:] or ["no output"]
    fix = "run `make setup` (it installs the entry point), then read the message above"
    return [Finding("fail", name, f"{LOSS} is not registered: {reason[0][:300]}", fix)]


def environment(context: Context) -> dict[str, str]:
    """The probe's environment: loud plugin, quiet Ray, CPU platform where the CPU stack is installed."""
    extra = {"CEGPPO_RUN": "1", "RAY_USAGE_STATS_ENABLED": "0", "HF_HUB_OFFLINE": "1"}
    if context.stack == "cpu":
        extra["VERL_PLATFORM"] = "cpu"
    kept = {key: value for key, value in os.environ.items() if key != "RAY_ADDRESS"}
    return kept | extra


def probe(code: str, variables: dict[str, str], timeout: float) -> Answer:
    """Run ``code`` in a fresh interpreter; whatever it started is ended with it, and nothing else."""
    mark = f"doctor-{uuid.uuid4().hex}"
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        env={**variables, processes.MARK: mark},
        start_new_session=True,
    )
    try:
        output, _ = process.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        output = f"no answer within {timeout:g} s"
    finally:
        processes.end(processes.with_descendants(processes.marked(mark)), grace=2.0)
        process.wait()
    places = [line.removeprefix(MARKER).strip() for line in output.splitlines() if line.startswith(MARKER)]
    return Answer(places[-1] if places else None, output)
