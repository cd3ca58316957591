"""A stand-in for verl in tests of the runner: the same files, at any pace, misbehaving on demand.

``python fake_trainer.py train SPEC`` is the driver (standard library only, so that it starts at once);
``python fake_trainer.py node BEHAVIOUR RUN_DIR`` is the real node side around it;
``python fake_trainer.py run SPEC`` is a whole runner around that, in a process of its own that can be killed.
"""

from __future__ import annotations

import contextlib
import fcntl
import functools
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cegppo_verl.experiment.cell import Cell

BENCHMARK = "pick-val"
# What the driver does wrong, and when: "<word>" or "<word>@<step>", by attempt number; see Trainer.
Misdeeds = dict[str, str]


@dataclass
class Spec:
    """What the driver is told on its command line."""

    checkpoints: str
    validation: str
    total: int
    eval_every: int
    at_start: bool
    checkpoint_every: int
    samples: int
    resume: int
    pace: float = 0.0
    misdeeds: Misdeeds = field(default_factory=dict)
    claims: str | None = None


class Trainer:
    """Steps in verl's order: train, checkpoint, validate, log. One misdeed per attempt."""

    def __init__(self, spec: Spec) -> None:
        self.spec = spec
        self.metrics = Path(os.environ["VERL_FILE_LOGGER_PATH"])
        self.attempt = int(self.metrics.parent.name)
        word, _, step = spec.misdeeds.get(str(self.attempt), "").partition("@")
        self.word, self.at = word, int(step or spec.total)

    def does(self, word: str, step: int | None = None) -> bool:
        """Whether the misdeed is due."""
        return word == self.word and (step is None or step == self.at)

    def run(self) -> None:
        """The whole attempt."""
        self.claim()
        self.prepare()
        self.metrics.write_bytes(b"")  # verl's file logger empties its file
        if self.spec.at_start:
            self.validate(self.spec.resume)
            self.log(self.spec.resume, {f"val-core/{BENCHMARK}/acc/mean@1": 0.5})
        for step in range(self.spec.resume + 1, self.spec.total + 1):
            self.step(step)
        self.finish()

    def claim(self) -> None:
        """Write down when two drivers train one cell at once: each holds a lock as long as it lives."""
        if self.spec.claims is None:
            return
        folder = Path(self.spec.claims)
        name = Path(self.spec.checkpoints).parent.name
        self.held = os.open(folder / f"{name}.lock", os.O_RDWR | os.O_CREAT)
        try:
            fcntl.flock(self.held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            (folder / "DOUBLE").write_text(f"{name}, attempt {self.attempt}\n")

    def prepare(self) -> None:
        """Misdeeds of the start."""
        if self.does("idle"):
            sys.exit(0)
        if self.does("mute"):
            time.sleep(600)
        if self.does("child"):  # Ray's processes are in sessions of their own
            subprocess.Popen(
                [sys.executable, "-S", "-c", "import time; time.sleep(600)"], start_new_session=True
            )

    def step(self, step: int) -> None:
        """One step."""
        time.sleep(self.spec.pace)
        for word, act in ACTS.items():
            if self.does(word, step):
                act()
        if step % self.spec.checkpoint_every == 0 or step == self.spec.total:
            self.save(step)
        if self.does("kill-after-checkpoint", step):
            os.kill(os.getpid(), signal.SIGKILL)
        data = {
            "actor/entropy": 1.0 + step,
            "training/global_step": float(step),
            "fake/attempt": self.attempt,
        }
        if step % self.spec.eval_every == 0 or step == self.spec.total:
            self.validate(step)
            data[f"val-core/{BENCHMARK}/acc/mean@1"] = 0.5
        self.log(step, {**data, "timing_s/step": self.spec.pace})

    def save(self, step: int) -> None:
        """A checkpoint; the tracker file last, as verl does."""
        folder = Path(self.spec.checkpoints) / f"global_step_{step}"
        (folder / "actor").mkdir(parents=True, exist_ok=True)
        for part in ("model", "optim", "extra_state"):
            (folder / "actor" / f"{part}_world_size_1_rank_0.pt").touch()
        (folder / "data.pt").write_text(str(self.attempt))
        (folder.parent / "latest_checkpointed_iteration.txt").write_text(str(step))

    def validate(self, step: int) -> None:
        """A dump of samples."""
        if self.does("unevaluated", step):
            return
        count = self.spec.samples // 2 if self.does("half-evaluated", step) else self.spec.samples
        rows = [{"step": step, "score": 1.0, "problem_id": f"{BENCHMARK}/{i}"} for i in range(count)]
        text = "".join(json.dumps(row) + "\n" for row in rows)
        (Path(self.spec.validation) / f"{step}.jsonl").write_text(text)
        if self.does("half-evaluated", step) or self.does("unlogged", step):
            sys.exit(0)

    def log(self, step: int, data: dict[str, float]) -> None:
        """A line of the metric log."""
        line = json.dumps({"step": step, "data": data}) + "\n"
        with self.metrics.open("a") as file:
            if self.does("truncate", step):
                file.write(line[: len(line) // 2])
                file.flush()
                os.kill(os.getpid(), signal.SIGKILL)
            file.write(line)

    def finish(self) -> None:
        """Misdeeds of the end."""
        if self.does("crash-at-exit"):
            raise RuntimeError("vLLM's engine died while shutting down")
        if self.does("leave-slowly"):
            time.sleep(1.0)
        if self.does("linger"):
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            time.sleep(600)


def say_and_exit(text: str, code: int = 1) -> Callable[[], None]:
    """Print what a real log would hold, then leave."""

    def act() -> None:
        print(text, flush=True)
        sys.exit(code)

    return act


def fail() -> None:
    """An exception of the code."""
    raise ValueError("a tensor of the wrong shape [3, 4]")


ACTS: dict[str, Callable[[], None]] = {
    "fail": fail,
    "leave": say_and_exit("bye", 0),
    "hang": lambda: time.sleep(600),
    "kill": lambda: os.kill(os.getpid(), signal.SIGKILL),
    "lose-actor": say_and_exit("ray.exceptions.ActorDiedError: The actor died unexpectedly [pid=7]"),
    "lose-memory": say_and_exit("torch.OutOfMemoryError: CUDA out of memory."),
    "bad-override": say_and_exit("Could not override 'actor.nonsense'."),
}


# --- the seam: what a runner needs so that it starts this instead of verl


@dataclass
class Behaviour:
    """What the drivers of a grid do, by arm and attempt."""

    pace: float = 0.0
    misdeeds: dict[str, Misdeeds] = field(default_factory=dict)
    shutdown: float = 0.3
    notebook: str | None = None
    claims: str | None = None
    clock_jump: float = 0.0

    @property
    def resumed(self) -> list[int]:
        """What the attempts were told to resume from, in order; needs a notebook."""
        file = Path(self.notebook or "")
        return [int(line) for line in file.read_text().split()] if file.is_file() else []

    def arguments(self, cell: Cell, run: Any, inputs: Any, resume_from: int, joined: Any = None) -> list[str]:
        """Takes the place of ``jobs.arguments``."""
        if self.notebook is not None:
            with Path(self.notebook).open("a") as file:
                file.write(f"{resume_from}\n")
        settings = cell.settings
        spec = Spec(
            checkpoints=str(run.checkpoints.resolve()),
            validation=str(run.validation.resolve()),
            total=settings.total_steps,
            eval_every=settings.eval.every,
            at_start=settings.eval.at_start,
            checkpoint_every=settings.checkpoint.every,
            samples=sum((b.problems or 0) * b.samples for b in settings.eval.benchmarks),
            resume=resume_from,
            pace=self.pace,
            misdeeds=self.misdeeds.get(cell.arm, {}),
            claims=self.claims,
        )
        return ["-S", __file__, "train", json.dumps(asdict(spec))]

    def install(self, patch: Callable[[Any, str, Any], None]) -> None:
        """Put the fake trainer into the runner; ``patch`` is ``setattr`` or a monkeypatch's."""
        from cegppo_verl.launch import jobs, runner, tasks

        patch(jobs, "arguments", self.arguments)
        patch(jobs, "build_inputs", lambda cell: jobs.Inputs("model", (), ()))
        patch(runner, "check", lambda cells: None)
        patch(runner, "machine_to_itself", contextlib.nullcontext)  # a real run may be going on here
        patch(tasks, "node_command", self.node_command)
        patch(runner, "POLL_SECONDS", 0.02)
        patch(runner, "IDLE_FACTOR", 1)

    def node_command(self, run: Any) -> tuple[str, ...]:
        """Takes the place of ``tasks.node_command``; what a test has changed meanwhile counts."""
        return (__file__, "node", json.dumps(asdict(self)), str(run.path.resolve()))

    def install_on_node(self) -> None:
        """Put the fake trainer into a node side."""
        from cegppo_verl.launch import driver, follow, jobs, preflight
        from cegppo_verl.records import provenance

        sweep = driver.Handle.sweep
        driver.Handle.sweep = lambda handle, grace=0: sweep(handle, 0.1)  # type: ignore[method-assign]
        jobs.arguments = self.arguments  # type: ignore[assignment]
        jobs.build_inputs = lambda cell: jobs.Inputs("model", (), ())
        preflight.require_locked_versions = lambda lock=None: None
        preflight.require_shared_memory = lambda: None  # type: ignore[misc, assignment]
        provenance.collect = lambda: {"git": None}
        follow.POLL_SECONDS, follow.SHUTDOWN_SECONDS = 0.02, self.shutdown
        if self.clock_jump:
            jump_clock(self.clock_jump)


GRID = {
    "question": "Does the runner do what it says?",
    "hypothesis": "It does, whatever the driver does.",
    "refuted_by": "A test of this folder that fails.",
    "scales": ["toy-xs"],
    "seeds": [1],
    "settings": {
        "total_steps": 4,
        "eval": {
            "every": 2,
            "at_start": True,
            "benchmarks": [{"name": BENCHMARK, "samples": 1, "problems": 8}],
        },
        "checkpoint": {"every": 2},
    },
}
ARMS = {
    "grpo": {"name": "grpo", "algorithm": "grpo", "params": {"epsilon": 0.2}},
    "dapo": {"name": "dapo", "algorithm": "dapo"},
}


def grid_text(name: str = "fake", arms: Sequence[str] = ("grpo",), **changes: Any) -> str:
    """A grid file (JSON is YAML)."""
    return json.dumps({"name": name, **GRID, "arms": [ARMS[a] for a in arms], **changes})


def make_cells(folder: Path, name: str = "fake", arms: Sequence[str] = ("grpo",)) -> list[Cell]:
    """The cells of a small grid."""
    from cegppo_verl.experiment.expand import expand
    from cegppo_verl.experiment.grid import load_grid

    file = folder / f"{name}.yaml"
    file.write_text(grid_text(name, arms))
    return expand(load_grid(file))


def use_cluster(folder: Path) -> None:
    """Jobs go to a stand-in for a cluster, and outlive the runner."""
    from launch.fake_cluster import FakeCluster

    from cegppo_verl.launch import run_command, runner

    run_command.executor_of = lambda call: FakeCluster(folder, gpus=(1, 1))  # type: ignore[assignment]
    runner.ASK_SECONDS = 0.1


def jump_clock(seconds: float) -> None:
    """The wall clock of this process is set once, half a second from now."""
    real, at = time.time, time.time() + 0.5
    time.time = lambda: real() + (seconds if real() > at else 0.0)


def use_limits(seconds: float) -> None:
    """Silence of so many seconds is a stall."""
    from cegppo_verl.launch import follow

    follow.Limits = functools.partial(follow.Limits, factor=1.0, least=seconds)  # type: ignore[assignment, misc]


def main() -> None:
    """The driver, or a runner around it through the real command line."""
    role, text = sys.argv[1], sys.argv[2]
    if role == "train":
        Trainer(Spec(**json.loads(text))).run()
        return
    sys.path.insert(0, str(Path(__file__).parents[1]))
    spec = json.loads(text)
    if role == "node":
        from cegppo_verl.launch import node

        Behaviour(**spec).install_on_node()
        sys.exit(node.main(sys.argv[3:]))
    from cegppo_verl import cli

    Behaviour(**{k: spec[k] for k in ("pace", "misdeeds", "claims", "clock_jump") if k in spec}).install(
        setattr
    )
    if "cluster" in spec:
        use_cluster(Path(spec["cluster"]))
    if "stall" in spec:
        use_limits(spec["stall"])
    sys.argv = ["cegppo", "run", "--no-warm", *spec["arguments"]]
    cli.main()


if __name__ == "__main__":
    main()
