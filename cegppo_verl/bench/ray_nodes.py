"""A Ray cluster of several nodes with logical GPUs on this machine, started and ended by its owner alone."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path

from cegppo_verl.errors import UserError
from cegppo_verl.launch import processes

STORE_BYTES = 80 * 2**20  # about the least that Ray takes
MARK = "CEGPPO_BENCH_CLUSTER"
RAY = Path(sys.executable).with_name("ray")


def environment(mark: str) -> dict[str, str]:
    """For the nodes and for every driver: no authentication, nothing sent, findable by ``mark``."""
    own = {"RAY_AUTH_MODE": "disabled", "RAY_USAGE_STATS_ENABLED": "0", MARK: mark}
    return {k: v for k, v in os.environ.items() if k != "RAY_ADDRESS"} | own


@contextlib.contextmanager
def cluster(nodes: int, gpus: int) -> Iterator[tuple[str, dict[str, str]]]:
    """The cluster's address, and the environment that a driver needs; all of it is gone afterwards.

    Raises:
        UserError: Ray is not installed, or a node did not come up; its last words are in the message.
    """
    if not RAY.exists():
        raise UserError("Ray is not installed", hint="install the cpu or gpu extra, or leave this part out")
    mark = uuid.uuid4().hex
    env, folder = environment(mark), Path(tempfile.mkdtemp(prefix="ray-", dir="/tmp"))  # sockets: short paths
    address = f"127.0.0.1:{free_port()}"
    try:
        for place in range(nodes):
            _start(address, gpus, place == 0, folder, env)
        yield address, env
    finally:
        # Ray's agents overwrite their environment with a title: found below the raylet, while it lives.
        processes.end(processes.with_descendants(processes.marked(mark, MARK)), grace=5.0)
        shutil.rmtree(folder, ignore_errors=True)


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _start(address: str, gpus: int, head: bool, folder: Path, env: dict[str, str]) -> None:
    log = folder / f"start-{free_port()}.log"
    with log.open("wb") as output:
        command = [
            str(Path(sys.executable).with_name("ray")),
            "start",
            *_arguments(address, gpus, head, folder),
        ]
        started = subprocess.run(command, stdout=output, stderr=subprocess.STDOUT, env=env, timeout=120)
    if started.returncode:
        raise UserError(f"ray start failed: {log.read_text(errors='replace')[-500:]}")


def _arguments(address: str, gpus: int, head: bool, folder: Path) -> list[str]:
    # As many CPUs as GPUs: Ray starts that many workers beforehand.
    common = {"node-ip-address": "127.0.0.1", "num-cpus": gpus, "num-gpus": gpus}
    common |= {"object-store-memory": STORE_BYTES, "min-worker-port": 0, "max-worker-port": 0}
    common |= {"dashboard-agent-listen-port": free_port()}
    own: dict[str, object] = {"address": address}
    if head:
        own = {"port": address.rsplit(":", 1)[1], "temp-dir": folder, "ray-client-server-port": free_port()}
        own |= {"include-dashboard": "false"}
    return ["--head"] * head + [f"--{name}={value}" for name, value in (common | own).items()]
