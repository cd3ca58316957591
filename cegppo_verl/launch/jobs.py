"""From a cell to a command: assets, paths, overrides, environment."""

from __future__ import annotations

import hashlib
import shlex
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import cegppo_verl
from cegppo_verl.experiment import catalog, trainers
from cegppo_verl.experiment.cell import Cell
from cegppo_verl.experiment.hydra_text import override
from cegppo_verl.experiment.overrides import RunPaths, compose_overrides
from cegppo_verl.experiment.platforms import environment
from cegppo_verl.launch import driver, tracking
from cegppo_verl.launch.driver import Job
from cegppo_verl.losses import external
from cegppo_verl.records.rundir import Attempt, RunDir
from cegppo_verl.toy import assets
from cegppo_verl.toy.recipes import MODELS, SMOLLM2
from cegppo_verl.toy.smollm2 import gguf_file
from cegppo_verl.toy.store import assets_root

MODULE = "cegppo_verl.verl_plugin.train"
REFERENCE_MODULE = "cegppo_verl.reference.train"
PACKAGE = Path(cegppo_verl.__file__).parent
# Read by verl_plugin/isolation.py: what two runs on one cluster or machine would share gets this in its name.
ISOLATION = "CEGPPO_ISOLATION"
DATA_SEED = 0  # all cells share their problems; a cell's seed decides order and sampling
LOGICAL_CPUS = 32  # Ray's unit of admission for verl's small actors, not cores


@dataclass(frozen=True)
class Inputs:
    """Model and data files of a cell."""

    model: str
    train: tuple[str, ...]
    val: tuple[str, ...]

    def files(self) -> list[Path]:
        """All that must exist before a run."""
        local = [Path(self.model)] if self.model.startswith("/") else []
        return local + [Path(f) for f in (*self.train, *self.val)]


def require_inputs(cell: Cell) -> None:
    """Refuse a cell whose user-provided files are missing; builds nothing.

    Raises:
        UserError: a data file, or the package that a model is made from, is not there.
    """
    names = [b.name for b in cell.settings.eval.benchmarks]
    catalog.train_file(cell.settings.task, assets_root())
    catalog.benchmark_files(cell.settings.task, names, assets_root())
    if catalog.scale(cell.scale).model.name == SMOLLM2 and not assets.has_model(SMOLLM2):
        gguf_file()


def build_inputs(cell: Cell) -> Inputs:
    """Make what is missing (models and data we build) and say where everything is.

    Raises:
        UserError: a file that the user must provide is missing, or building failed.
    """
    task, name = catalog.task(cell.settings.task), catalog.scale(cell.scale).model.name
    model = str(assets.ensure_model(name)) if name in MODELS else name
    names = [b.name for b in cell.settings.eval.benchmarks]
    if task.train_file is not None:
        train = catalog.train_file(task.name, assets_root())
        files = catalog.benchmark_files(task.name, names, assets_root())
        return Inputs(model, (str(train),), _texts(map(assets.benchmark_from_file, files, names)))
    train = assets.ensure_data(task.name, "train", n=cell.settings.train_prompts, seed=DATA_SEED)
    return Inputs(model, (str(train),), _texts(_validation_files(cell, task.name)))


def _validation_files(cell: Cell, task: str) -> list[Path]:
    counts = {b.name: catalog.problem_count(task, b) for b in cell.settings.eval.benchmarks}
    return [assets.ensure_data(task, name, n=n, seed=DATA_SEED) for name, n in counts.items()]


def _texts(files: Iterable[Path]) -> tuple[str, ...]:
    return tuple(str(file) for file in files)


def expected_inputs(cell: Cell) -> Inputs:
    """Where the inputs are or will be, without building anything: for ``--dry-run`` and validation.

    Real benchmark files are named as the user provides them; a run groups them into a table of its own first.
    """
    name = catalog.scale(cell.scale).model.name
    model = str(assets.model_place(name)) if name in MODELS else name
    task = catalog.task(cell.settings.task)
    if task.train_file is not None:
        files = [task.train_file, *(task.benchmarks[b.name].file for b in cell.settings.eval.benchmarks)]
        train, *val = (str(assets_root() / str(file)) for file in files)
        return Inputs(model, (train,), tuple(val))
    prompts = cell.settings.train_prompts or 0
    benchmarks = cell.settings.eval.benchmarks
    sizes = {b.name: catalog.problem_count(task.name, b) for b in benchmarks}
    val_places = [assets.data_place(task.name, split, n, DATA_SEED) for split, n in sizes.items()]
    return Inputs(
        model, (str(assets.data_place(task.name, "train", prompts, DATA_SEED)),), _texts(val_places)
    )


def run_paths(run: RunDir, inputs: Inputs) -> RunPaths:
    """verl's paths for a run directory, all absolute."""
    base = run.path.resolve()
    return RunPaths(
        model=inputs.model,
        train_files=inputs.train,
        val_files=inputs.val,
        reward_file=PACKAGE / "verl_plugin" / "reward.py",
        checkpoints=base / "checkpoints",
        validation_dir=base / "validation",
        sampler_file=PACKAGE / "verl_plugin" / "replay.py",
    )


def arguments(
    cell: Cell, run: RunDir, inputs: Inputs, resume_from: int, joined: Mapping[str, str] | None = None
) -> list[str]:
    """Arguments after the interpreter for one attempt.

    Args:
        resume_from: step of the checkpoint to go on from; 0 starts from the base model.
        joined: environment of the workers when the attempt joins a running Ray cluster, which inherits
            nothing from the driver; None gives the attempt a private cluster.
    """
    scale = catalog.scale(cell.scale)
    if scale.trainer == trainers.REFERENCE:
        return _reference_arguments(cell, run, inputs)
    plain = compose_overrides(cell, scale, run_paths(run, inputs), resuming=resume_from > 0)
    overrides = tracking.overridden(plain)
    ray = _private_ray(scale) if joined is None else _joined_ray(joined)
    return ["-m", MODULE, *overrides, *_resume(run, resume_from), *ray, *_HYDRA]


def _reference_arguments(cell: Cell, run: RunDir, inputs: Inputs) -> list[str]:
    """It reads the cell itself and, like verl, VERL_FILE_LOGGER_PATH; it is started from the first step."""
    base = run.path.resolve()
    loss = external.resolved(cell.algorithm)  # it works in the attempt's folder, where no relative path leads
    files = [f"--cell={base / 'cell.json'}", f"--loss={loss}", f"--model={inputs.model}"]
    files.append(f"--train={inputs.train[0]}")
    tests = [f"--validation={file}" for file in inputs.val]
    return ["-m", REFERENCE_MODULE, *files, *tests, f"--samples={base / 'validation'}"]


def _resume(run: RunDir, step: int) -> list[str]:
    """Which checkpoint to load is decided here: verl's own "auto" may skip a step that was never logged."""
    if step == 0:
        return ["trainer.resume_mode=disable"]
    path = run.path.resolve() / "checkpoints" / f"global_step_{step}"
    return ["trainer.resume_mode=resume_path", override("trainer.resume_from_path", str(path))]


_RAY_INIT = "ray_kwargs.ray_init"


def _private_ray(scale: catalog.Scale) -> list[str]:
    """A Ray cluster of the attempt's own: it goes down with its driver and meets no leftovers of another."""
    options = [f"+{_RAY_INIT}.address=local", f"+{_RAY_INIT}.include_dashboard=False"]
    if scale.platform == "cpu":
        options += [f"{_RAY_INIT}.num_cpus={LOGICAL_CPUS}", f"+{_RAY_INIT}.num_gpus={scale.hardware.gpus}"]
    return options


def _joined_ray(environment_: Mapping[str, str]) -> list[str]:
    """The cluster at RAY_ADDRESS. Its workers get their environment from the job, name by name."""
    variables = [
        override(f"+{_RAY_INIT}.runtime_env.env_vars.{name}", value) for name, value in environment_.items()
    ]
    return [f"+{_RAY_INIT}.address=auto", *variables]


# Hydra would write folders of its own into the working directory; the record keeps the overrides already.
_HYDRA = ["hydra.run.dir=.", "hydra.output_subdir=null", "hydra/job_logging=stdout"]


def platform_environment(cell: Cell) -> dict[str, str]:
    """Environment that all attempts on the cell's platform share."""
    scale = catalog.scale(cell.scale)
    if scale.trainer == trainers.REFERENCE:
        return {"OMP_NUM_THREADS": "1", "CEGPPO_RUN": "1"}
    shared = environment(scale.platform, threads=scale.hardware.threads)
    if scale.platform == "cpu":
        # Ray would start idle workers ahead of need, each a process that imports torch and verl for nothing.
        shared |= {"RAY_enable_worker_prestart": "0", "RAY_prestart_worker_first_driver": "0"}
    return {**shared, "CEGPPO_RUN": "1"}


def mark(attempt: Attempt) -> str:
    """The name by which all processes of an attempt are found; the same cell elsewhere has other ones."""
    path = attempt.path.resolve()
    place = hashlib.sha256(str(path).encode()).hexdigest()[:8]
    return f"{path.parents[1].name}-{attempt.number}-{place}"


def job(
    cell: Cell, run: RunDir, inputs: Inputs, attempt: Attempt, resume_from: int, *, join: bool = False
) -> Job:
    """The job of one attempt.

    Args:
        join: use the Ray cluster at RAY_ADDRESS instead of a private one.
    """
    own = {"VERL_FILE_LOGGER_PATH": str(attempt.metrics_file.resolve()), ISOLATION: mark(attempt)}
    own |= tracking.environment(cell, run, attempt)
    joined = {**platform_environment(cell), **own, **driver.import_path()} if join else None
    # Ray refuses a variable that both the submitted job and its driver set, unless told whose counts.
    override_job = {"RAY_OVERRIDE_JOB_RUNTIME_ENV": "1"} if join else {}
    return Job(
        arguments=arguments(cell, run, inputs, resume_from, joined),
        environment={**own, **override_job},
        log=attempt.log_file,
        mark=mark(attempt),
        directory=attempt.path,
    )


def portable(text: str, run: RunDir) -> str:
    """``text`` with this machine's folders replaced by names, for a record that others read."""
    folders = {"$RUN": run.path.resolve(), "$CEGPPO_ASSETS": assets_root().resolve(), "$PACKAGE": PACKAGE}
    for name, folder in folders.items():
        text = text.replace(str(folder), name)
    head = "# A record, not a script. $RUN: this run's directory; $PACKAGE: the folder of cegppo_verl.\n"
    return head + text


def command_text(cell: Cell, arguments_: list[str], environment_: dict[str, str]) -> str:
    """The exact command as a person would type it, one override per line."""
    variables = [f"{key}={shlex.quote(value)}" for key, value in environment_.items()]
    words = ["python", *arguments_[:2]]
    lines = [*(f"{v} \\" for v in variables), " ".join(words) + " \\"]
    rest = [f"  {shlex.quote(a)}" for a in arguments_[2:]]
    return "\n".join([f"# {cell.slug}-{cell.id}", *lines, " \\\n".join(rest)])
