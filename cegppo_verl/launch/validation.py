"""One validation pass of a base model over a benchmark file, through verl (``trainer.val_only``).

The records are those of a run: a directory with cell, manifest, attempt, and ``validation/0.jsonl``.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from cegppo_verl.errors import UserError
from cegppo_verl.experiment import catalog, trainers
from cegppo_verl.experiment.cell import Cell, slug
from cegppo_verl.experiment.hydra_text import override
from cegppo_verl.experiment.identity import GRADER_VERSION
from cegppo_verl.experiment.settings import Settings
from cegppo_verl.launch import driver, jobs, preflight
from cegppo_verl.launch.causes import cause_of
from cegppo_verl.launch.driver import Interpreter
from cegppo_verl.launch.machine_lock import machine_to_itself
from cegppo_verl.records import provenance
from cegppo_verl.records.rundir import RunDir
from cegppo_verl.records.samples import Samples, load_samples
from cegppo_verl.toy import assets
from cegppo_verl.toy.benchmarks import benchmark_name

NOTHING = 1  # verl wants a training plan even when it only validates


@dataclass(frozen=True)
class Request:
    """What to evaluate and how.

    Attributes:
        file: JSONL or parquet with verl's columns ``prompt`` and ``reward_model``; repeats are grouped.
        samples: answers per problem (k of avg@k).
        response_length: longest answer in tokens.
        problems: only the first so many; None takes all.
    """

    file: Path
    scale: str
    samples: int
    temperature: float
    response_length: int
    problems: int | None = None

    @property
    def benchmark(self) -> str:
        """Name of the benchmark."""
        return benchmark_name(self.file)


def validate(request: Request, results: Path, console: Console) -> Samples:
    """Run the pass, unless its records are complete already, and return the samples.

    Raises:
        UserError: the file, the scale or a number is not usable, or the pass failed.
    """
    scale = catalog.scale(request.scale)
    if scale.trainer != trainers.VERL:
        hint = f"use the scale it is like: {scale.name.removesuffix('-reference')}"
        raise UserError(
            f"'{scale.name}' does not run verl, whose validation pass this is", key="--scale", hint=hint
        )
    data = assets.benchmark_from_file(request.file, request.benchmark, n=request.problems)
    cell = _cell(request, scale, data)
    run = RunDir(results / request.benchmark / cell.run_name)
    if not _complete(run, data, request.samples):
        _run(cell, run, scale, data, console)
    if not _complete(run, data, request.samples):
        log = run.attempts()[-1].log_file
        raise UserError(
            f"the validation pass failed: {cause_of(log, None).text}", file=log, hint="see the log"
        )
    return load_samples(run.path, cell_id=cell.id, seed=cell.seed)


def _cell(request: Request, scale: catalog.Scale, data: Path) -> Cell:
    """A cell that trains nothing, so that the records look like those of any run."""
    changes = {
        "total_steps": NOTHING,
        "max_prompt_length": scale.max_prompt_length,
        "max_response_length": request.response_length,
        "eval": {
            "every": NOTHING,
            "benchmarks": [{"name": request.benchmark, "samples": request.samples, "problems": _count(data)}],
            "temperature": request.temperature,
            "top_p": 1.0,
            "at_start": True,
        },
    }
    settings = Settings.model_validate({**catalog.preset(scale.preset).settings, **changes})
    content = {
        "grader": GRADER_VERSION,
        "engine": trainers.VERSIONS[scale.trainer],
        "scale": scale.identity(),
        "data": data.parent.name,
        "settings": settings.model_dump(mode="json"),
    }
    digest = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:12]
    return Cell(
        grid=request.benchmark,
        arm="base",
        algorithm="grpo",
        params={"epsilon": 0.2, "dual_clip": 3.0},
        scale=scale.name,
        seed=1,
        settings=settings,
        id=digest,
        slug=slug("base", scale.name, 1),
    )


def _count(data: Path) -> int:
    import pyarrow.parquet as pq

    return int(pq.read_metadata(data).num_rows)


def _complete(run: RunDir, data: Path, samples: int) -> bool:
    dump = run.validation / "0.jsonl"
    return dump.is_file() and dump.read_bytes().count(b"\n") >= _count(data) * samples


def _run(cell: Cell, run: RunDir, scale: catalog.Scale, data: Path, console: Console) -> None:
    task = catalog.task(catalog.preset(scale.preset).settings["task"]).name
    train = assets.ensure_data(task, "train", n=cell.settings.train_prompts, seed=jobs.DATA_SEED)
    inputs = jobs.Inputs(str(assets.ensure_model(scale.model.name)), (str(train),), (str(data),))
    run.create({"schema": 1, **cell.model_dump(mode="json")})
    with run.lock() as held:
        if not held:
            raise UserError("another process is at this pass", file=run.path, hint="wait for it")
        preflight.require_locked_versions()
        preflight.require_shared_memory()
        with machine_to_itself():
            _attempt(cell, run, inputs, console)


def _attempt(cell: Cell, run: RunDir, inputs: jobs.Inputs, console: Console) -> None:
    attempt = run.new_attempt()
    job = jobs.job(cell, run, inputs, attempt, resume_from=0)
    job.arguments.append(override("trainer.val_only", True))
    run.update_manifest(schema=1, cell=cell.id, engine="verl", **provenance.collect())
    problems = cell.settings.eval.benchmarks[0].problems
    console.print(f"{cell.slug}: {problems} problems × {cell.settings.eval.samples}, log {attempt.log_file}")
    handle = driver.start(job, jobs.platform_environment(cell), Interpreter())
    try:
        handle.process.wait()
    finally:
        handle.cancel()
        attempt.update(number=attempt.number, exit_code=handle.poll())
