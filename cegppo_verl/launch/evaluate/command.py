"""``cegppo eval``: sample what is missing, grade it, record it, and give the numbers of all that is there.

Records: ``<out>/<subject>/step-<N>-<decoding>/`` has ``manifest.json``, ``samples.jsonl``,
``samples.parquet``, ``complete.json`` and, before they are joined, ``shards/``; ``records/evaluations.py``
reads them. The same call again samples what is missing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from rich.console import Console

from cegppo_verl.errors import UserError
from cegppo_verl.evaluation import complete, session, shards
from cegppo_verl.evaluation.fingerprint import fingerprint
from cegppo_verl.evaluation.plan import Item, Task
from cegppo_verl.evaluation.results import Result, result
from cegppo_verl.evaluation.session import Folders
from cegppo_verl.launch.cells import require_writable
from cegppo_verl.launch.evaluate import merging
from cegppo_verl.launch.evaluate.engine import VLLM
from cegppo_verl.launch.evaluate.engines import Setting, answers, engine_name, start_engines
from cegppo_verl.launch.evaluate.progress import Shown
from cegppo_verl.launch.evaluate.subject import Subject, find
from cegppo_verl.launch.evaluate.tasks import Changes, tasks
from cegppo_verl.launch.terminal_text import say
from cegppo_verl.records import provenance
from cegppo_verl.records.rundir import RunDir


@dataclass(frozen=True)
class Call:
    """What a person asked for.

    Attributes:
        word: what to evaluate, see ``subject.py``.
        results: folder of the run directories. out: folder of the evaluations.
        scale, seeds: of a grid file, or the scale of a model. gpus: None takes all.
        limit: sample at most so many answers now. command: what runs an engine.
    """

    word: str
    results: Path = Path("results/runs")
    out: Path = Path("results/evaluations")
    scale: str | None = None
    seeds: Sequence[int] | None = None
    changes: Changes = field(default_factory=Changes)
    gpus: int | None = None
    limit: int | None = None
    command: Sequence[str] = VLLM


@dataclass(frozen=True)
class Evaluation:
    """A call that was understood. ``folders``: decoding hash → folder."""

    call: Call
    subject: Subject
    tasks: list[Task]
    folders: Folders

    @property
    def wanted(self) -> int:
        """Answers in all."""
        return sum(task.size for task in self.tasks)

    def results(self) -> list[Result]:
        """The numbers of what is recorded."""
        loaded = {decoding: shards.load(folder) for decoding, folder in self.folders.items()}
        return [result(task, loaded[task.decoding.hash]) for task in self.tasks]


def understand(call: Call) -> Evaluation:
    """Find what is meant; samples nothing, merges nothing.

    Raises:
        UserError: whatever of the call is not usable.
    """
    subject = find(call.word, call.results, call.scale, call.seeds)
    planned = tasks(subject, call.changes, engine_name())
    base = call.out / subject.name
    hashes = dict.fromkeys(task.decoding.hash for task in planned)
    return Evaluation(call, subject, planned, {h: base / f"step-{subject.who.step}-{h}" for h in hashes})


def evaluate(evaluation: Evaluation, console: Console) -> list[Result]:
    """Sample, grade and record what is missing, then give the numbers.

    Raises:
        UserError: somebody else is at it, the weights are not those of the records, or the engine fails; what
            is recorded stays.
        KeyboardInterrupt: likewise.
    """
    require_writable(evaluation.call.out)
    base = RunDir(evaluation.call.out / evaluation.subject.name)
    base.path.mkdir(parents=True, exist_ok=True)
    with base.lock() as held:
        if not held:
            raise UserError("another process evaluates this", file=base.path, hint="wait for it, or stop it")
        _require_same_weights(evaluation)
        complete.take_back(evaluation.tasks, evaluation.folders)
        _regrade(evaluation, console)
        items = session.still_missing(evaluation.tasks, evaluation.folders)
        if items:
            _sample(evaluation, items, console)
        for folder in evaluation.folders.values():
            if folder.is_dir():
                shards.compact(folder)
        complete.state(evaluation.tasks, evaluation.folders)
    return evaluation.results()


def _regrade(evaluation: Evaluation, console: Console) -> None:
    pairs = session.to_regrade(evaluation.tasks, evaluation.folders)
    if pairs:
        say(console, f"{len(pairs)} recorded answers were graded by another version: grading them again")
        session.regrade(pairs, evaluation.folders)


def _sample(evaluation: Evaluation, items: list[Item], console: Console) -> None:
    now = items[: evaluation.call.limit]
    subject, known = evaluation.subject, evaluation.wanted - len(items)
    say(console, f"{subject.shown}: {len(now)} answers to sample, {known} of {evaluation.wanted} recorded")
    setting = Setting(
        model=subject.model(),
        scale=subject.scale,
        max_prompt=longest_prompt(evaluation),
        logs=evaluation.call.out / subject.name / "logs",
        gpus=evaluation.call.gpus,
        command=evaluation.call.command,
    )
    _write_manifests(evaluation)
    engine = start_engines(setting, now)
    try:
        with Shown(console, known + len(now), known) as shown:
            session.record_all(answers(engine, now), subject.who, evaluation.folders, shown.add)
    finally:
        engine.close()


def longest_prompt(evaluation: Evaluation) -> int:
    """Tokens: what the call says, else as in training."""
    subject, asked = evaluation.subject, evaluation.call.changes.max_prompt_length
    trained = subject.settings.max_prompt_length if subject.settings else subject.scale.max_prompt_length
    return asked or trained


def _weights(subject: Subject) -> str:
    """Of a checkpoint: a cell that was trained again has other weights under the same name and step."""
    return fingerprint(merging.shards(Path(subject.source)))[:12] if subject.kind == "checkpoint" else ""


def _require_same_weights(evaluation: Evaluation) -> None:
    weights = _weights(evaluation.subject)
    for folder in evaluation.folders.values():
        known = RunDir(folder).manifest().get("weights", weights)
        if known != weights:
            hint = f"remove {folder.name} to evaluate the new ones"
            raise UserError("the recorded answers are of other weights", file=folder, hint=hint)


def _write_manifests(evaluation: Evaluation) -> None:
    subject, collected = evaluation.subject, provenance.collect()
    for decoding, folder in evaluation.folders.items():
        folder.mkdir(parents=True, exist_ok=True)
        task = next(t for t in evaluation.tasks if t.decoding.hash == decoding)
        RunDir(folder).update_manifest(
            schema=1,
            kind="evaluation",
            subject={"name": subject.shown, "kind": subject.role, **asdict(subject.who)},
            scale=subject.scale.name,
            decoding=task.decoding.as_json(),
            weights=_weights(subject),
            max_prompt_length=longest_prompt(evaluation),
            **collected,
        )


def farewell(evaluation: Evaluation) -> str:
    """After Ctrl-C: what is safe, and how to go on."""
    left = len(session.still_missing(evaluation.tasks, evaluation.folders))
    recorded = evaluation.wanted - left
    return f"{recorded} of {evaluation.wanted} answers are recorded; the same command goes on"


def plan_lines(evaluation: Evaluation) -> list[str]:
    """For ``--dry-run``: what would be sampled, how, and where it would go."""
    lines = [f"{evaluation.subject.shown}: {evaluation.subject.source}"]
    missing = session.still_missing(evaluation.tasks, evaluation.folders)
    for task in evaluation.tasks:
        left = sum(item.task is task for item in missing)
        d = task.decoding
        lines.append(
            f"  {task.benchmark}: {len(task.problems)} problems × {task.samples}, {left} of {task.size} "
            f"missing; temperature {d.temperature:g}, top-p {d.top_p:g}, up to {d.max_length} tokens, "
            f"{d.engine}; {evaluation.folders[d.hash]}"
        )
    return lines
