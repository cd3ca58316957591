"""Kill an evaluation again and again: ``python evaluate_kills.py MODEL OUT KILLS SEED``, prints the deaths.

A process of its own, because it forks: what is killed has then imported everything already.
"""

from __future__ import annotations

import os
import random
import signal
import sys
import time
from pathlib import Path

from rich.console import Console

from cegppo_verl.launch.evaluate import command
from cegppo_verl.launch.evaluate.tasks import Changes

FAKE = (sys.executable, "-S", str(Path(__file__).with_name("evaluate_fake_engine.py")), "--slow", "0.001")


def call(model: str, out: Path) -> command.Call:
    changes = Changes(samples=4, problems=60)
    return command.Call(model, out=out, scale="toy-xs", changes=changes, command=FAKE)


def run(model: str, out: Path) -> None:
    command.evaluate(command.understand(call(model, out)), Console(quiet=True))


def recorded(out: Path) -> int:
    return sum(path.read_bytes().count(b"\n") for path in out.glob("*/step-*/**/*.jsonl"))


def killed(model: str, out: Path, rng: random.Random) -> bool:
    """Kill it after a random number of new answers; false when it was done before that."""
    child = os.fork()
    if child == 0:
        run(model, out)
        os._exit(0)
    enough = recorded(out) + rng.randint(0, 14)
    while recorded(out) < enough and os.waitpid(child, os.WNOHANG) == (0, 0):
        time.sleep(0.002)
    try:
        os.kill(child, signal.SIGKILL)
    except ProcessLookupError:
        return False
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL


def tear(out: Path, rng: random.Random) -> None:
    """As after a power cut: the newest shard ends in the middle of a line."""
    shards = sorted(out.glob("*/step-*/shards/*.jsonl"))
    if shards and rng.random() < 0.5:
        line = shards[-1].read_bytes().splitlines(keepends=True)[-1:]
        with shards[-1].open("ab") as file:
            file.write(b"".join(line)[: rng.randrange(1, 400)])


def main() -> None:
    model, out, kills, seed = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
    rng = random.Random(seed)
    deaths = 0
    for _ in range(kills):
        deaths += killed(model, out, rng)
        tear(out, rng)
    run(model, out)
    print(deaths)


if __name__ == "__main__":
    main()
