"""Faults at random moments of a grid; then the same command must finish it, and every promise must hold.

``python tests/faults/campaign.py --faults 200 --seed 1`` prints a line per fault and a table; the seed makes
it repeatable up to the machine's timing. The trainer is the stand-in of tests/launch/fake_trainer.py, which
writes verl's files; runner, node side, records and status are the real ones, each in processes of its own.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import psutil

sys.path.insert(0, str(Path(__file__).parents[1]))

from faults.promises import BrokenError, Witness, words
from launch import fake_trainer

import cegppo_verl
from cegppo_verl.experiment.expand import expand
from cegppo_verl.experiment.grid import load_grid
from cegppo_verl.launch import processes

STEPS = 6
PACE = 0.12
STALL = 2.0
PATIENCE = 90.0
MOST_RUNS = 6
MISSED = ("nobody was there", "it had just ended")  # the fault came too early or too late to hit anything


class Episode:
    """One grid of two cells, one fault, and what must hold afterwards.

    Args:
        cluster: jobs outlive the runner; else it is the local executor.
    """

    def __init__(self, folder: Path, rng: random.Random, cluster: bool) -> None:
        self.folder, self.rng, self.cluster = folder, rng, cluster
        self.results, self.claims = folder / "results", folder / "claims"
        self.claims.mkdir()
        self.grid = folder / "grid.yaml"
        settings = {**fake_trainer.GRID["settings"], "total_steps": STEPS}
        self.grid.write_text(fake_trainer.grid_text(arms=("grpo", "dapo"), settings=settings))
        self.cells = expand(load_grid(self.grid))
        self.misdeeds: dict[str, dict[str, str]] = {}
        self.clock_jump = 0.0
        self.witness = Witness(self.cells, self.results, samples=8)
        self.runners: list[subprocess.Popen[str]] = []
        self.bystander = subprocess.Popen(
            [sys.executable, "-c", "import time; time.sleep(600)", "cegppo", "verl"]
        )

    # --- the grid's runner

    def start(self) -> subprocess.Popen[str]:
        """``cegppo run`` in a process of its own."""
        spec = {
            "arguments": [
                str(self.grid),
                "--results",
                str(self.results),
                "--retries",
                "3",
                "--startup-limit",
                "10",
            ],
            "pace": PACE,
            "misdeeds": self.misdeeds,
            "claims": str(self.claims),
            "clock_jump": self.clock_jump,
            "stall": STALL,
            **({"cluster": str(self.folder / "cluster")} if self.cluster else {}),
        }
        package = str(Path(cegppo_verl.__file__).parents[1])
        log = (self.folder / "runner.log").open("a")
        process = subprocess.Popen(
            [sys.executable, fake_trainer.__file__, "run", json.dumps(spec)],
            stdout=log,
            stderr=log,
            text=True,
            env={**os.environ, "PYTHONPATH": package, "COLUMNS": "200"},
        )
        log.close()
        self.runners.append(process)
        return process

    def finish(self) -> int:
        """Run the same command until it succeeds; how often that took."""
        for count in range(1, MOST_RUNS + 1):
            process = self.start()
            self.watch(lambda p=process: p.poll() is not None)  # type: ignore[misc]
            if process.returncode == 0:
                return count
        raise BrokenError(f"not finished after {MOST_RUNS} runs: {self.log()[-600:]}")

    def log(self) -> str:
        """What the runners said."""
        return (self.folder / "runner.log").read_text()

    # --- looking on

    def watch(self, until: Callable[[], bool], patience: float = PATIENCE) -> None:
        """Look on until the condition holds, and check at each look what must hold at every moment."""
        deadline = time.monotonic() + patience
        while not until():
            self.look()
            if time.monotonic() > deadline:
                raise BrokenError(f"nothing happened within {patience:.0f} s: {self.log()[-600:]}")
            time.sleep(0.05)
        self.look()

    def look(self) -> None:
        """What must hold at every moment; besides, no cell may run twice and nobody else be ended."""
        self.witness.look()
        if (self.claims / "DOUBLE").exists():
            raise BrokenError(f"two drivers at once: {(self.claims / 'DOUBLE').read_text()}")
        if self.bystander.poll() is not None:
            raise BrokenError("a foreign process was ended")

    # --- when it is over

    def verify(self) -> None:
        """The records are complete, and step by step those of an undisturbed run."""
        for slug, values in self.witness.verify().items():
            if values != [1.0 + step for step in range(1, STEPS + 1)]:
                raise BrokenError(f"{slug}: stitched entropies {values}")

    def close(self) -> None:
        """End everything that is left of the episode."""
        self.bystander.kill()
        self.bystander.wait()
        for process in self.runners:
            if process.poll() is None:
                process.kill()
            process.wait()
        left = [*self.witness.nodes(), *self.witness.processes()]
        processes.end(processes.with_descendants(left), grace=0.1)

    # --- for the faults

    def any_progress(self) -> None:
        """Wait for a random moment: some time after the start, or some step."""
        process = self.start()
        wanted = self.rng.randint(0, STEPS)
        moment = time.monotonic() + self.rng.uniform(0.0, 0.3)

        def reached() -> bool:
            logged = self.witness.logged()
            return process.poll() is not None or (logged >= wanted and time.monotonic() >= moment)

        self.watch(reached)

    def nodes(self) -> list[psutil.Process]:
        """Node sides at work."""
        return [p for p in self.witness.nodes() if words(p)[2:3] == ["node"]]

    def drivers(self) -> list[psutil.Process]:
        """Drivers at work."""
        return [p for p in self.witness.processes() if "train" in words(p)]

    def strike(self, victims: list[psutil.Process], number: signal.Signals) -> str:
        """A signal to one of them."""
        if not victims:
            return MISSED[0]
        victim = self.rng.choice(victims)
        try:
            victim.send_signal(number)
        except psutil.Error:
            return MISSED[1]
        return ""


# --- the faults: each acts once, at a random moment; what it returns is a remark


def kill_driver(e: Episode) -> str:
    """SIGKILL to verl's driver."""
    e.any_progress()
    return e.strike(e.drivers(), signal.SIGKILL)


def kill_node(e: Episode) -> str:
    """SIGKILL to the node side: as when a node is lost, its driver left behind."""
    e.any_progress()
    return e.strike(e.nodes(), signal.SIGKILL)


def preempt(e: Episode) -> str:
    """SIGTERM to the node side, as a scheduler does."""
    e.any_progress()
    return e.strike(e.nodes(), signal.SIGTERM)


def kill_runner(e: Episode) -> str:
    """SIGKILL to ``cegppo run``."""
    e.any_progress()
    e.runners[-1].kill()
    e.runners[-1].wait()
    return ""


def interrupt_runner(e: Episode) -> str:
    """Ctrl-C, several times."""
    e.any_progress()
    for _ in range(3):
        e.runners[-1].send_signal(signal.SIGINT)
        time.sleep(e.rng.uniform(0, 0.1))
    return ""


def kill_everything(e: Episode) -> str:
    """The machine goes down: runner, node sides, drivers."""
    e.any_progress()
    e.runners[-1].kill()
    for process in [*e.nodes(), *e.drivers()]:
        e.strike([process], signal.SIGKILL)
    e.runners[-1].wait()
    return ""


def two_runners(e: Episode) -> str:
    """The same command twice at once."""
    e.any_progress()
    second = e.start()
    e.watch(lambda: second.poll() is not None)
    return ""


def garble(e: Episode) -> str:
    """Everything killed, and the last lines of the metric logs cut or filled with rubbish."""
    kill_everything(e)
    for run in e.witness.dirs():
        for attempt in run.attempts()[-1:]:
            if attempt.metrics_file.exists():
                with attempt.metrics_file.open("ab") as file:
                    file.write(
                        e.rng.choice([b'{"step": 5, "da', b"\x00" * 512, b"\xff\xfe{]\n", b'{"step": "x"}\n'])
                    )
    return ""


def torn_records(e: Episode) -> str:
    """Everything killed, and the attempt's record empty, as after a power cut."""
    kill_everything(e)
    for run in e.witness.dirs():
        for attempt in run.attempts()[-1:]:
            attempt.record_file.write_bytes(e.rng.choice([b"", b"{", b"\x00" * 64]))
    return ""


def partial_checkpoint(e: Episode) -> str:
    """Everything killed while a checkpoint was being written."""
    kill_everything(e)
    for run in e.witness.dirs():
        folders = sorted(run.checkpoints.glob("global_step_*"))
        if folders:
            (folders[-1] / "data.pt").unlink(missing_ok=True)
    return ""


def empty_tracker(e: Episode) -> str:
    """Everything killed between emptying and writing verl's tracker file."""
    kill_everything(e)
    for run in e.witness.dirs():
        file = run.checkpoints / "latest_checkpointed_iteration.txt"
        if file.exists():
            file.write_text("")
    return ""


def hang(e: Episode) -> str:
    """The driver says nothing more."""
    e.misdeeds = {e.rng.choice(["grpo", "dapo"]): {"1": f"hang@{e.rng.randint(1, STEPS)}"}}
    return ""


def lose_actor(e: Episode) -> str:
    """A worker, a raylet or the vLLM server dies: the driver's log says so."""
    e.misdeeds = {e.rng.choice(["grpo", "dapo"]): {"1": f"lose-actor@{e.rng.randint(1, STEPS)}"}}
    return ""


def lose_memory(e: Episode) -> str:
    """Out of memory."""
    e.misdeeds = {e.rng.choice(["grpo", "dapo"]): {"1": f"lose-memory@{e.rng.randint(1, STEPS)}"}}
    return ""


def half_a_line(e: Episode) -> str:
    """The driver dies in the middle of a line."""
    e.misdeeds = {e.rng.choice(["grpo", "dapo"]): {"1": f"truncate@{e.rng.randint(1, STEPS)}"}}
    return ""


def exit_zero(e: Episode) -> str:
    """The driver leaves early and says all is well."""
    e.misdeeds = {e.rng.choice(["grpo", "dapo"]): {"1": f"leave@{e.rng.randint(1, STEPS)}"}}
    return ""


def half_an_evaluation(e: Episode) -> str:
    """The final evaluation is cut short and the driver says all is well."""
    e.misdeeds = {e.rng.choice(["grpo", "dapo"]): {"1": f"half-evaluated@{STEPS}"}}
    return ""


def clock(e: Episode) -> str:
    """The clock jumps by hours, forwards or back; and everything is killed."""
    e.clock_jump = e.rng.choice([-1, 1]) * e.rng.uniform(3600, 86400)
    kill_everything(e)
    moment = time.time() + e.clock_jump
    for run in e.witness.dirs():
        for file in run.path.rglob("*"):
            os.utime(file, (moment, moment))
    return f"{e.clock_jump / 3600:+.0f} h"


def full_disk(e: Episode) -> str:
    """No more room where the records are (a small tmpfs), then room again."""
    return _on_small_disk(
        e, lambda: _fill(e.results), lambda: _mount("-o", "remount,size=64m", str(e.results))
    )


def read_only(e: Episode) -> str:
    """The records' folder turns read-only, then writable again."""
    return _on_small_disk(e, lambda: _forbid_writing(e.results), lambda: _unmount(e.results))


def _on_small_disk(e: Episode, spoil: Callable[[], bool], mend: Callable[[], object]) -> str:
    e.results.mkdir()
    if _mount("-t", "tmpfs", "-o", "size=2m", "tmpfs", str(e.results)):
        return "not run: no right to mount"
    e.any_progress()
    if not spoil():
        return "not run: the folder can still be written"
    e.watch(_after(e.rng.uniform(0.2, 1.5)))
    mend()
    return ""


def _fill(folder: Path) -> bool:
    """Whether nothing can be written any more."""
    try:
        (folder / "ballast").write_bytes(b"x" * 2**22)
    except OSError:
        return _refuses(folder)
    return False


def _forbid_writing(folder: Path) -> bool:
    """A read-only mount of the folder over itself: a remount fails while a file is open for writing."""
    place = str(folder)
    return (
        not _mount("--bind", place, place) and not _mount("-o", "remount,bind,ro", place) and _refuses(folder)
    )


def _refuses(folder: Path) -> bool:
    try:
        (folder / "probe").write_bytes(b"x" * 2**16)
    except OSError:
        return True
    return False


def _mount(*words: str) -> int:
    return subprocess.run(["mount", *words], capture_output=True, check=False).returncode


def _after(seconds: float) -> Callable[[], bool]:
    until = time.monotonic() + seconds
    return lambda: time.monotonic() > until


FAULTS: tuple[Callable[[Episode], str], ...] = (
    *(kill_driver, kill_node, preempt, kill_runner, interrupt_runner, kill_everything, two_runners),
    *(garble, torn_records, partial_checkpoint, empty_tracker, hang, lose_actor, lose_memory, half_a_line),
    *(exit_zero, half_an_evaluation, clock, full_disk, read_only),
)


@dataclass
class Outcome:
    """What came of one fault."""

    fault: str
    seed: int
    cluster: bool
    seconds: float
    runs: int = 0
    remark: str = ""
    broken: str | None = None
    causes: list[str] = field(default_factory=list)

    @property
    def injected(self) -> bool:
        """Whether the fault hit something."""
        return self.remark not in MISSED and not self.remark.startswith("not run")


def strike(fault: Callable[[Episode], str], seed: int, cluster: bool) -> Outcome:
    """One episode from beginning to end."""
    folder = Path(tempfile.mkdtemp(prefix="cegppo-fault-"))
    episode = Episode(folder, random.Random(seed), cluster)
    made = Outcome(fault.__name__, seed, cluster, 0.0)
    started = time.monotonic()
    try:
        made.remark = fault(episode)
        episode.watch(lambda: all(p.poll() is not None for p in episode.runners))
        made.runs = episode.finish() + len(episode.runners) - 1
        episode.verify()
        made.causes = [
            str(a.record().get("cause")) for r in episode.witness.dirs() for a in r.attempts()[:-1]
        ]
    except BrokenError as error:
        made.broken = str(error)
    finally:
        made.seconds = round(time.monotonic() - started, 1)
        episode.close()
        _mount_away(episode.results)
        shutil.rmtree(folder, ignore_errors=True)
    return made


def _mount_away(folder: Path) -> None:
    while folder.is_mount() and not _unmount(folder):
        pass


def _unmount(folder: Path) -> int:
    return subprocess.run(["umount", "-l", str(folder)], capture_output=True, check=False).returncode


def plan(count: int, seed: int) -> Iterator[tuple[Callable[[Episode], str], int, bool]]:
    """Every fault in turn, with both kinds of executor."""
    for index in range(count):
        yield FAULTS[index % len(FAULTS)], seed * 100_000 + index, bool(index // len(FAULTS) % 2)


def table(outcomes: list[Outcome]) -> str:
    """Markdown: one row per fault."""
    lines = ["| fault | what it is | injected | promises broken |", "| --- | --- | --- | --- |"]
    for fault in FAULTS:
        mine = [o for o in outcomes if o.fault == fault.__name__ and o.injected]
        words = (fault.__doc__ or "").strip().rstrip(".")
        lines.append(
            f"| {fault.__name__} | {words} | {len(mine)} | {sum(o.broken is not None for o in mine)} |"
        )
    return "\n".join(lines)


def main() -> int:
    """The campaign; exit code 1 when a promise broke."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--faults", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    names = [fault.__name__ for fault in FAULTS]
    parser.add_argument("--only", choices=names, help="of the --faults, those of this kind only")
    parser.add_argument("--out", type=Path, help="write the outcomes there as JSON lines")
    arguments = parser.parse_args()
    outcomes = []
    for fault, seed, cluster in plan(arguments.faults, arguments.seed):
        if arguments.only not in (None, fault.__name__):
            continue
        outcomes.append(strike(fault, seed, cluster))
        print(json.dumps(outcomes[-1].__dict__), flush=True)
    if arguments.out:
        arguments.out.write_text("".join(json.dumps(o.__dict__) + "\n" for o in outcomes))
    print(table(outcomes))
    print(Counter("broken" if o.broken else "held" for o in outcomes))
    return int(not outcomes or any(o.broken for o in outcomes))


if __name__ == "__main__":
    sys.exit(main())
