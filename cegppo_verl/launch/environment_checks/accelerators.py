"""GPUs and the model hub."""

from __future__ import annotations

import os
import shutil
import subprocess

from cegppo_verl.launch.environment_checks.finding import Context, Finding

OFFLINE_VARIABLES = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "HF_DATASETS_OFFLINE")


def gpus(context: Context) -> list[Finding]:
    """The GPUs that the driver reports, against the installed stack."""
    found = gpu_names()
    if context.stack == "gpu" and not found:
        fix = "run on a machine with a GPU driver, or install requirements/cpu.lock"
        return [Finding("fail", "GPU", "the GPU stack is installed but nvidia-smi shows no GPU", fix)]
    if context.stack == "cpu" and found:
        fix = "run `make setup LOCK=requirements/gpu.lock VENV=.venv-gpu` to use them"
        return [Finding("warn", "GPU", f"{len(found)} found, but the CPU stack is installed", fix)]
    return [Finding("ok", "GPU", f"{len(found)}: {found[0]}" if found else "none, and none is needed")]


def gpu_names() -> list[str]:
    """One line per GPU (name, memory) as nvidia-smi prints it; empty when there is none or no driver."""
    if shutil.which("nvidia-smi") is None:
        return []
    command = ["nvidia-smi", "--query-gpu=name,memory.total", "--format=csv,noheader"]
    try:
        output = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return []
    return [line.strip() for line in output.splitlines() if line.strip()]


def model_hub(_: Context) -> list[Finding]:
    """The Hugging Face offline switches agree with each other."""
    on = [
        name for name in OFFLINE_VARIABLES if os.environ.get(name, "").upper() in {"1", "ON", "YES", "TRUE"}
    ]
    if on and "HF_HUB_OFFLINE" not in on:
        fix = f"set HF_HUB_OFFLINE=1 as well, or unset {', '.join(on)}"
        return [Finding("warn", "model hub", f"{', '.join(on)} set without HF_HUB_OFFLINE", fix)]
    return [Finding("ok", "model hub", "offline: models come from disk only" if on else "may be asked")]
