"""A Ray cluster of several nodes on this machine: its own ports, token and folder, ended by process id."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import filelock
import psutil

from cegppo_verl.launch import processes
from cegppo_verl.launch.executors.base import SubmitError
from cegppo_verl.launch.executors.ray_http import Dashboard

MARK = "CEGPPO_TEST_RAY"
RAY = [sys.executable, "-c", "from ray.scripts.scripts import main; main()"]
START = ["start", "--block", "--disable-usage-stats", "--min-worker-port=0", "--max-worker-port=0"]
START += ["--include-log-monitor=false"]


def wait_for(what: Callable[[], Any], seconds: float = 120.0) -> Any:
    """What ``what`` returns once it is true."""
    until = time.monotonic() + seconds
    while not (found := what()):
        assert time.monotonic() < until, f"in vain for {seconds:g} s: {found}"
        time.sleep(0.25)
    return found


@contextmanager
def two_nodes() -> Iterator[RayCluster]:
    """A head and two nodes with a logical GPU and room for a real cell each; this process has its token."""
    cluster = RayCluster(impatient=False)
    try:
        with patch.dict(os.environ, {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": cluster.token}):
            cluster.start_head(cpus=8)  # TransferQueue puts storage on every node, whether it has CPUs or not
            for number in (1, 2):
                cluster.start_node(1, name=number, cpus=40, memory=300_000_000)
            yield cluster
    finally:
        cluster.close()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class RayCluster:
    """A head without CPUs, and nodes with logical GPUs. One at a time on a machine: it takes gigabytes.

    Args:
        impatient: a node that is silent for seconds is dead, so that tests of lost nodes are short; a busy
            machine may silence one for as long.
    """

    def __init__(self, impatient: bool = True) -> None:
        self.impatient = impatient
        self.lock = filelock.FileLock(Path(tempfile.gettempdir()) / "cegppo-test-ray.lock")
        self.lock.acquire()
        self.folder = Path(tempfile.mkdtemp(prefix="cegray-", dir="/tmp"))  # Ray's sockets want a short path
        self.port, self.dashboard_port, self.client_port = free_port(), free_port(), free_port()
        self.token, self.mark = uuid.uuid4().hex * 2, uuid.uuid4().hex
        self.head: subprocess.Popen[bytes] | None = None
        self.nodes: dict[int, subprocess.Popen[bytes]] = {}  # by their number of GPUs

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.dashboard_port}"

    def dashboard(self) -> Dashboard:
        return Dashboard(self.address)

    def start_head(self, cpus: int = 0) -> None:
        ports = [f"--port={self.port}", f"--dashboard-port={self.dashboard_port}"]
        ports += [f"--ray-client-server-port={self.client_port}", f"--temp-dir={self.folder}"]
        ports += ["--object-store-memory=80000000"]
        self.head = self._start("--head", f"--num-cpus={cpus}", "--num-gpus=0", *ports)
        wait_for(lambda: len(self.alive()) == 1)

    def start_node(self, gpus: int, name: int | None = None, cpus: int = 2, memory: int = 80_000_000) -> None:
        """Add a node, and wait for it. ``name``: in ``nodes``; its number of GPUs unless it is given."""
        before = len(self.alive())
        words = [f"--address=127.0.0.1:{self.port}", f"--num-cpus={cpus}", f"--num-gpus={gpus}"]
        self.nodes[gpus if name is None else name] = self._start(*words, f"--object-store-memory={memory}")
        wait_for(lambda: len(self.alive()) > before)

    def alive(self) -> list[dict[str, Any]]:
        """The living nodes, as the State API has them; none while nothing answers."""
        if self.head is not None and self.head.poll() is not None:
            raise RuntimeError((self.folder / "start.log").read_text()[-2000:])
        try:
            rows = self.dashboard().ask("GET", "/api/v0/nodes?detail=1", timeout=5).json()
        except SubmitError as error:
            if not error.passing:
                raise
            return []
        return [row for row in rows["data"]["result"]["result"] if row["state"] == "ALIVE"]

    def kill_raylet(self, gpus: int) -> None:
        """As if the node had lost its power: the rest of it goes with its raylet."""
        for process in psutil.Process(self.nodes[gpus].pid).children():
            if process.name() == "raylet":
                process.kill()

    def stop(self) -> None:
        """End all nodes and whatever they left."""
        started = [*self.nodes.values(), *([self.head] if self.head else [])]
        for process in started:
            process.send_signal(signal.SIGTERM)
        running = [psutil.Process(process.pid) for process in started if process.poll() is None]
        processes.still_alive(running, 8)
        processes.end(processes.marked(self.mark, MARK), grace=1.0)
        for process in started:
            process.wait(10)
        self.head, self.nodes = None, {}

    def close(self) -> None:
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)
        self.lock.release()

    def _start(self, *options: str) -> subprocess.Popen[bytes]:
        agent = f"--dashboard-agent-listen-port={free_port()}"
        with (self.folder / "start.log").open("ab") as log:
            return subprocess.Popen(
                [*RAY, *START, agent, *options],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                env={**os.environ, **self._environment()},
            )

    def _environment(self) -> dict[str, str]:
        settings = {"enable_worker_prestart": "0", "prestart_worker_first_driver": "0"}
        if self.impatient:
            settings |= {"health_check_initial_delay_ms": "1000", "health_check_period_ms": "1000"}
            settings |= {"health_check_timeout_ms": "2000", "health_check_failure_threshold": "3"}
        else:
            settings |= {"health_check_timeout_ms": "60000", "health_check_failure_threshold": "10"}
        return {
            MARK: self.mark,
            "RAY_AUTH_MODE": "token",  # `ray start --head` turns it on by itself, `--address` does not
            "RAY_AUTH_TOKEN": self.token,
            **{f"RAY_{name}": value for name, value in settings.items()},
        }
