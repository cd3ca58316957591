"""Tasks and profiles for the Slurm executor's tests, and a stand-in for the node side."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from launch.executors.kuberay_cases import cell

from cegppo_verl.experiment.validation import validate
from cegppo_verl.launch.executors.base import NODE, Need, Task
from cegppo_verl.launch.executors.profile import SlurmProfile
from cegppo_verl.records.rundir import RunDir

# Executed where a job would execute `python -m cegppo_verl.launch.node RUN_DIR`; everything else it hands on.
STAND_IN = """#!{python}
import json, os, pathlib, signal, sys, time
if sys.argv[1:3] != ["-m", "cegppo_verl.launch.node"]:
    os.execv({python!r}, [{python!r}, *sys.argv[1:]])
run = pathlib.Path(sys.argv[3])
orders = json.loads((run / "orders.json").read_text())
def note(event, **more):
    with (run / "events.jsonl").open("a") as file:
        file.write(json.dumps(dict(event=event, time=time.time(), **more)) + "\\n")
def ended(number, frame):
    for known in (signal.SIGTERM, signal.SIGUSR1):
        signal.signal(known, signal.SIG_IGN)  # as the node side does
    note("signal", number=number)
    time.sleep(orders["tidying"])
    note("tidy")
    sys.exit(1 if orders["stuck"] and number == signal.SIGUSR1 else 143)
for known in (signal.SIGTERM, signal.SIGUSR1):
    signal.signal(known, ended)
note("started", environment=dict(os.environ), directory=os.getcwd(), arguments=sys.argv[1:])
if orders["program"]:
    exec(orders["program"])
time.sleep(orders["seconds"])
note("finished")
sys.exit(orders["code"])
"""


def profile(**changes: Any) -> SlurmProfile:
    """A profile with ``changes``."""
    return validate(SlurmProfile, {"executor": "slurm", **changes})


def task(run: Path | str, name: str = "cegppo-0123456789ab-1", **changes: Any) -> Task:
    """A task of one cell.

    Args:
        changes: nodes, gpus, platform, environment, priority.
    """
    need = Need(changes.pop("nodes", 1), changes.pop("gpus", 1), changes.pop("platform", "cuda"))
    return Task(name, cell(), RunDir(Path(run)), need, (*NODE, str(run)), **changes)


class NodeSide:
    """Runs of a stand-in below a folder, and what they have noted."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.python = folder / "stand in"  # a path that needs quoting
        self.python.write_text(STAND_IN.format(python=sys.executable))
        self.python.chmod(0o755)

    def run(
        self,
        name: str,
        *,
        seconds: float = 0,
        code: int = 0,
        tidying: float = 0,
        program: str = "",
        stuck: bool = False,
    ) -> Path:
        """A run directory with orders for the stand-in."""
        path = self.folder / "runs" / name
        path.mkdir(parents=True)
        orders = {"seconds": seconds, "code": code, "tidying": tidying, "program": program, "stuck": stuck}
        (path / "orders.json").write_text(json.dumps(orders))
        return path


def events(run: Path) -> list[dict[str, Any]]:
    """What the stand-in has noted, oldest first."""
    file = run / "events.jsonl"
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


def happened(run: Path) -> list[str]:
    """The kinds of :func:`events`."""
    return [event["event"] for event in events(run)]
