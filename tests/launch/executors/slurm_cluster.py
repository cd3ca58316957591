"""A real Slurm on this machine, for tests: munged, slurmctld and one slurmd per pretended node.

Everything lives in one folder and runs in the foreground as our children, so that it ends with the test. It
needs root, as slurmd does, and Debian's packages slurm-wlm and munge. GPUs are logical: Slurm counts them and
sets CUDA_VISIBLE_DEVICES, no device is behind them. There is no accounting.
"""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from unittest.mock import patch

PROGRAMS = ("munged", "slurmctld", "slurmd")
DEVICES = (
    "/dev/null",
    "/dev/zero",
    "/dev/full",
    "/dev/random",
    "/dev/urandom",
    "/dev/tty",
    "/dev/ptmx",
    "/dev/mem",
)


def missing() -> str | None:
    """Why no Slurm can be started here; None when it can."""
    absent = [name for name in PROGRAMS if _program(name) is None]
    if absent:
        return f"no {', '.join(absent)} here: install slurm-wlm and munge (Debian's names)"
    return None if os.geteuid() == 0 else "slurmd needs root"


def _program(name: str) -> str | None:
    return shutil.which(name) or shutil.which(name, path="/usr/sbin")


@dataclass
class SlurmCluster:
    """A running cluster.

    Attributes:
        nodes: names n1, n2, …; all are this machine.
        environment: what Slurm's programs need to find it.
    """

    folder: Path
    nodes: tuple[str, ...]
    environment: dict[str, str]
    _children: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def ask(self, *command: str) -> str:
        """Standard output of one of Slurm's programs."""
        environment = {**os.environ, **self.environment}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def start(self, name: str, program: str, *arguments: str) -> None:
        """Start a daemon in the foreground."""
        log = (self.folder / f"{name}.out").open("ab")
        environment = {**os.environ, **self.environment}
        command = [str(_program(program)), *arguments]
        with log:
            self._children[name] = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment
            )

    def start_controller(self) -> None:
        """Start slurmctld; what it knew is restored."""
        self.start("slurmctld", "slurmctld", "-D")
        wait_for(lambda: self._answers(), 30, f"slurmctld does not answer, see {self.folder}")

    def stop_controller(self) -> None:
        """End slurmctld in order."""
        self._end("slurmctld")

    def _answers(self) -> bool:
        try:
            return "UP" in self.ask("scontrol", "ping")
        except AssertionError:
            return False

    def idle(self) -> bool:
        """Whether every node waits for work."""
        return self.ask("sinfo", "-h", "-N", "-p", "main", "-o", "%T").split() == ["idle"] * len(self.nodes)

    def down(self) -> None:
        """Declare every node dead."""
        for name in self.nodes:
            self.ask("scontrol", "update", f"nodename={name}", "state=down", "reason=test")

    def drain(self) -> None:
        """Let every node finish what it has, and take nothing new."""
        for name in self.nodes:
            self.ask("scontrol", "update", f"nodename={name}", "state=drain", "reason=test")

    def resume(self) -> None:
        """Take every node back that has not come back by itself."""
        for name in self.nodes:
            if re.search("down|dr", self.ask("sinfo", "-h", "-n", name, "-p", "main", "-o", "%T")):
                self.ask("scontrol", "update", f"nodename={name}", "state=resume")
        wait_for(self.idle, 30, "the nodes did not come back")

    def stop(self) -> None:
        """Cancel all jobs, end the daemons."""
        if self._children["slurmctld"].poll() is None and self._answers():
            self.ask("scancel", f"--user={os.getuid()}")
            wait_for(lambda: not self.ask("squeue", "-h").strip(), 20)
        for name in reversed(tuple(self._children)):
            self._end(name)

    def _end(self, name: str) -> None:
        child = self._children[name]
        child.terminate()
        try:
            child.wait(10)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()


def wait_for(condition: Callable[[], object], seconds: float, what: str = "") -> bool:
    """Wait until ``condition`` holds; with ``what``, an AssertionError says that it did not."""
    deadline = time.monotonic() + seconds
    while not (holds := bool(condition())) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert holds or not what, what
    return holds


@contextmanager
def slurm_cluster(nodes: int = 2, gpus: int = 2, memory: int = 4000) -> Iterator[SlurmCluster]:
    """A Slurm of ``nodes`` nodes with ``gpus`` logical GPUs and ``memory`` MiB each.

    Puts SLURM_CONF into this process's environment while it is there.
    """
    with ExitStack() as stack:
        # A munge socket's path has 107 bytes, pytest's folders are long.
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="cegppo-slurm-", dir="/tmp")))
        folder.chmod(0o755)
        names = tuple(f"n{i + 1}" for i in range(nodes))
        _configure(folder, names, gpus, memory)
        cluster = SlurmCluster(folder, names, {"SLURM_CONF": str(folder / "slurm.conf")})
        stack.enter_context(patch.dict(os.environ, cluster.environment))
        stack.callback(cluster.stop)
        _start(cluster)
        yield cluster


def _start(cluster: SlurmCluster) -> None:
    key, socket_, folder = cluster.folder / "munge.key", cluster.folder / "munge.sock", cluster.folder
    cluster.start(
        "munged",
        "munged",
        "--foreground",
        "--force",
        f"--key-file={key}",
        f"--socket={socket_}",
        f"--pid-file={folder / 'munged.pid'}",
        f"--log-file={folder / 'munged.log'}",
        f"--seed-file={folder / 'munge.seed'}",
    )
    wait_for(socket_.exists, 10, "munged does not start")
    cluster.start_controller()
    for name in cluster.nodes:
        cluster.start(name, "slurmd", "-D", "-N", name)
    wait_for(cluster.idle, 60, f"the nodes do not become idle, see {folder}")


def _configure(folder: Path, names: tuple[str, ...], gpus: int, memory: int) -> None:
    key = folder / "munge.key"
    key.touch(mode=0o600)
    key.write_bytes(os.urandom(128))
    (folder / "state").mkdir()
    for name in names:
        (folder / "spool" / name).mkdir(parents=True)
    ports = _free_ports(1 + len(names))
    host = socket.gethostname().split(".")[0]
    per_node = "\n".join(
        f"NodeName={name} NodeHostname={host} NodeAddr=127.0.0.1 Port={port} CPUs=4 RealMemory={memory}"
        f" Gres=gpu:{gpus} State=UNKNOWN"
        for name, port in zip(names, ports[1:], strict=True)
    )
    (folder / "slurm.conf").write_text(
        CONFIGURATION.format(folder=folder, host=host, port=ports[0], nodes=per_node)
    )
    (folder / "gres.conf").write_text(
        "".join(f"NodeName={name} Name=gpu File={device}\n" for name in names for device in DEVICES[:gpus])
    )


def _free_ports(count: int) -> list[int]:
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [int(one.getsockname()[1]) for one in sockets]


# cred_expire: a requeued job waits as long before it starts again (default 120 s).
CONFIGURATION = """\
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={port}
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.sock,cred_expire=5
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool/%n
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd-%n.log
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
SlurmdParameters=config_overrides
DefMemPerNode=100
ReturnToService=2
MpiDefault=none
MessageTimeout=5
SchedulerParameters=sched_interval=2
GresTypes=gpu
MailProg=/bin/true
{nodes}
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
PartitionName=main Nodes=ALL Default=YES MaxTime=24:00:00 PriorityTier=2 PreemptMode=OFF State=UP
PartitionName=short Nodes=ALL MaxTime=1:00:00 PriorityTier=2 PreemptMode=OFF State=UP
PartitionName=spare Nodes=ALL MaxTime=24:00:00 PriorityTier=1 PreemptMode=REQUEUE State=UP
PartitionName=cheap Nodes=ALL MaxTime=24:00:00 PriorityTier=1 PreemptMode=CANCEL State=UP
"""
