"""What is evaluated: a cell's checkpoint, the model it began with, any checkpoint or Hugging Face model.

CELL[@STEP]      a cell (id, slug, run directory, GRID#arm); its newest checkpoint unless told otherwise
CELL@base        the model before training; the same for all cells of a scale
SCALE            likewise, e.g. smollm2-135m
…/global_step_N  a checkpoint as verl saves it; of a cell when it lies in its run directory
FOLDER, ORG/NAME a Hugging Face model; --scale says with which lengths and number format
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from cegppo_verl.errors import UserError
from cegppo_verl.evaluation.answers import Who
from cegppo_verl.evaluation.fingerprint import fingerprint
from cegppo_verl.experiment import catalog
from cegppo_verl.experiment.identity import digest
from cegppo_verl.experiment.settings import Settings
from cegppo_verl.experiment.validation import validate
from cegppo_verl.launch.evaluate.merging import ensure_merged, shards
from cegppo_verl.launch.verbs.targets import Finder, Target
from cegppo_verl.records.progress import complete_checkpoints
from cegppo_verl.records.rundir import RunDir
from cegppo_verl.toy import assets
from cegppo_verl.toy.recipes import MODELS

BASE, LAST = "base", "last"
_HUB = re.compile(r"[\w.-]+/[\w.-]+")
_STEP = re.compile(r"global_step_(\d+)")
_WEIGHTS = ("*.safetensors", "*.bin")


@dataclass(frozen=True)
class Subject:
    """What is evaluated.

    Attributes:
        name: folder of its records; ends in the identity.
        shown: for people.
        source: folder or name of the model; with kind "checkpoint" the ``actor`` folder.
        settings: of the cell; None for a model that was not trained here.
        role: as what it stands in reports (``records/evaluations.py``): cell, base, checkpoint or model.
    """

    name: str
    shown: str
    who: Who
    kind: Literal["checkpoint", "ours", "model"]
    source: str
    scale: catalog.Scale
    settings: Settings | None = None
    role: Literal["cell", "base", "checkpoint", "model"] = "model"

    def model(self) -> str:
        """What vLLM loads; built or merged when it is not there.

        Raises:
            UserError: it cannot be built, or the checkpoint is not whole.
        """
        if self.kind == "ours":
            return str(assets.ensure_model(self.source))
        if self.kind == "checkpoint":
            return str(ensure_merged(Path(self.source), self.scale.precision.rollout))
        return self.source


def find(word: str, results: Path, scale: str | None = None, seeds: Sequence[int] | None = None) -> Subject:
    """What ``word`` names; builds nothing.

    Raises:
        UserError: it names nothing, several cells, or a model of which the scale is not known.
    """
    word, at = _split(word)
    path = Path(word)
    if path.exists() and not (path / "cell.json").is_file() and path.suffix not in (".yaml", ".yml"):
        return _path(path, scale)
    if word in catalog.scales():
        return _base(catalog.scale(word))
    named = [s for s in catalog.scales().values() if s.model.name == word]
    if named:
        return _base(catalog.scale(scale) if scale else named[0])
    if _HUB.fullmatch(word) and scale and not _is_cell(word, results):
        return _model(word, digest({"model": word}), _required(scale, word))
    return _cell(Finder(results, scale, seeds).one(word), at)


def _split(word: str) -> tuple[str, str]:
    """Before and after the last "@", where a step, "base" or "last" stands after it."""
    before, mark, after = word.rpartition("@")
    return (before, after) if mark and (after in (BASE, LAST) or after.isdecimal()) else (word, LAST)


def _is_cell(word: str, results: Path) -> bool:
    return bool((results / word).is_dir())


def _required(scale: str | None, word: str) -> catalog.Scale:
    if scale is None:
        hint = f"add --scale, one of {', '.join(catalog.scales())}"
        raise UserError(f"'{word}' is a model: with which lengths and number format?", hint=hint)
    return catalog.scale(scale)


def _base(scale: catalog.Scale) -> Subject:
    identity = digest({"base": scale.identity()})
    kind: Literal["ours", "model"] = "ours" if scale.model.name in MODELS else "model"
    name = f"{BASE}__{scale.name}-{identity}"
    shown, who = f"{scale.name}, before training", Who(identity, 0, 0)
    return Subject(name, shown, who, kind, scale.model.name, scale, role="base")


def _cell(target: Target, at: str) -> Subject:
    scale = catalog.scale(str(target.cell["scale"]))
    if at == BASE:
        return _base(scale)
    run, total = target.run, int(target.cell["settings"]["total_steps"])
    saved = complete_checkpoints(run)
    if not saved:
        hint = f"checkpoints are not part of committed records; `{target.slug}@base` is the untrained model"
        raise UserError(f"{target.slug} has no checkpoint", file=run.checkpoints, hint=hint)
    step = saved[-1] if at == LAST else int(at)
    if step not in saved:
        known = ", ".join(map(str, saved))
        raise UserError(f"{target.slug} has no checkpoint of step {step}", hint=f"choose one of {known}")
    actor = run.checkpoints / f"global_step_{step}" / "actor"
    shown = f"{target.slug}, step {step} of {total}"
    settings = validate(Settings, target.cell["settings"])
    who = Who(target.id, int(target.cell["seed"]), step)
    name, source = f"{target.slug}-{target.id}", str(actor.resolve())
    return Subject(name, shown, who, "checkpoint", source, scale, settings, "cell")


def _path(path: Path, scale: str | None) -> Subject:
    checkpoint = path.parent if path.name == "actor" else path
    step = _STEP.fullmatch(checkpoint.resolve().name)
    if step:
        return _checkpoint(checkpoint.resolve(), int(step[1]), scale)
    if not (path / "config.json").is_file():
        hint = "name a run directory, a global_step_N folder, or a folder with config.json and weights"
        raise UserError("neither a cell, nor a checkpoint, nor a Hugging Face model", file=path, hint=hint)
    weights = [file for pattern in _WEIGHTS for file in path.glob(pattern)]
    if not weights:
        raise UserError("the model has no weights", file=path, hint="put *.safetensors there")
    identity = digest({"weights": fingerprint([path / "config.json", *weights])})
    return _model(str(path.resolve()), identity, _required(scale, str(path)))


def _checkpoint(folder: Path, step: int, scale: str | None) -> Subject:
    run = RunDir(folder.parents[1])
    cell = run.cell()
    if cell is not None:
        return _cell(Target(run, cell), str(step))
    found = _required(scale, str(folder))
    actor = folder / "actor"
    identity = digest({"shards": fingerprint(shards(actor))})
    name = f"{folder.parents[1].name}-{identity}"
    shown = f"{folder.parents[1].name}, step {step}"
    who = Who(identity, 0, step)
    return Subject(name, shown, who, "checkpoint", str(actor), found, role="checkpoint")


def _model(source: str, identity: str, scale: catalog.Scale) -> Subject:
    short = Path(source).name.lower()
    return Subject(f"{short}-{identity}", short, Who(identity, 0, 0), "model", source, scale)
