"""The runner's side of the fork server: start it, know its stand-in for ``python``, end it."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import IO

# What the processes of one verl run import, in the order in which they need it. Nothing below ray.dashboard:
# its modules read, while they are imported, variables that raylet sets for its agents only.
PRELOAD = (
    "ray",
    "torch",
    "transformers",
    "transformers.models.qwen2.modeling_qwen2",
    "transformers.models.llama.modeling_llama",
    "datasets",
    "hydra",
    "verl.trainer.main_ppo",
    "verl.trainer.ppo.v1",
    "verl.workers.engine_workers",
    "verl.experimental.reward_loop",
    "verl.workers.rollout.vllm_rollout.vllm_async_server",
    "vllm.v1.engine.core",
    "vllm.v1.worker.cpu_worker",
    "vllm.v1.worker.cpu_model_runner",
    "vllm.v1.executor.uniproc_executor",
    "vllm.model_executor.models.qwen2",
    "vllm.model_executor.models.llama",
    "vllm.v1.core.sched.scheduler",
    "vllm.v1.attention.backends.cpu_attn",
    "vllm.entrypoints.openai.chat_completion.api_router",
    "torch._dynamo",
    "torch.distributed.checkpoint",
    "pydantic.v1",
    "ray.dag",
    "cegppo_verl.verl_plugin.rollout",
    "cegppo_verl.verl_plugin.reward",
)


class WarmInterpreter:
    """A running fork server. Call :meth:`close` in the end.

    Args:
        environment: environment of the server; it decides what the plugin patches while importing.
        log: file for the server's messages.
        modules: modules to import before the first fork.
    """

    def __init__(self, environment: Mapping[str, str], log: Path, modules: tuple[str, ...] = PRELOAD) -> None:
        # Short, because a Unix socket's path must fit into 107 bytes.
        self.directory = Path(tempfile.mkdtemp(prefix="cegppo-warm-"))
        self._log: IO[bytes] = log.open("ab")
        command = [sys.executable, "-m", "cegppo_verl.launch.warm.server", "--directory", str(self.directory)]
        self.process = subprocess.Popen(
            [*command, "--preload", ",".join(modules)],
            stdin=subprocess.PIPE,
            stdout=self._log,
            stderr=self._log,
            env=dict(environment),
            cwd=self.directory,
            start_new_session=True,
        )

    @property
    def executable(self) -> Path:
        """The stand-in for ``python``. It exists once :meth:`wait` returned true."""
        return self.directory / "python"

    def wait(self, timeout: float = 300.0) -> bool:
        """Wait until the server accepts requests; false if it died or took over ``timeout`` seconds."""
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            if (self.directory / "socket").exists():
                return True
            if self.process.poll() is not None:
                return False
            time.sleep(0.05)
        return False

    def close(self) -> None:
        """End the server and everything it forked."""
        if self.process.stdin:
            self.process.stdin.close()
        try:
            self.process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self._log.close()
        shutil.rmtree(self.directory, ignore_errors=True)
