"""What ``cegppo study`` does: decide a study's claims from the records, or check its committed report."""

from __future__ import annotations

import shlex
from pathlib import Path

from rich.console import Console

from cegppo_verl.errors import UserError
from cegppo_verl.experiment import catalog, trainers
from cegppo_verl.experiment.claims import Evidence, StudyFile, load_study
from cegppo_verl.launch import planning
from cegppo_verl.records import atomic
from cegppo_verl.reporting.check import differences
from cegppo_verl.reporting.claims import MEASURES, Grid, build_study


def write(path: Path, results: Path, out: Path) -> Path:
    """Write ``out/<study>/``; finished or not, what has not run is said.

    Raises:
        UserError: the study or a grid file is wrong, a claim compares unlike numbers, ``out`` is read-only.
    """
    study, contents = _build(path, results)
    folder = out / study.name
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in contents.items():
            atomic.write_bytes(folder / name, content)
    except OSError as error:
        hint = "make the folder writable, or choose another one"
        raise UserError(f"cannot write the report: {error.strerror}", file=folder, hint=hint) from error
    return folder / "report.md"


def check(path: Path, results: Path, out: Path, console: Console) -> int:
    """Say what in ``out/<study>/`` no longer follows from the records; 0 when everything does, else 1."""
    study, contents = _build(path, results)
    found = differences(out / study.name, contents)
    for line in found:
        console.print(line, markup=False, highlight=False, soft_wrap=True)
    verdict = f"{len(found)} differences from its records" if found else "follows from its records"
    console.print(f"{out / study.name}: {verdict}", markup=False, highlight=False, soft_wrap=True)
    return int(bool(found))


def commands(path: Path) -> list[str]:
    """What has to be run for the study's evidence; done cells cost nothing there.

    Raises:
        UserError: the study file is wrong.
    """
    study = load_study(path, MEASURES)
    return [_command(_grid_file(path, evidence), evidence) for evidence in study.evidence.values()]


def _grid_file(study: Path, evidence: Evidence) -> Path:
    return Path(*(study.parent / evidence.grid).parts)


def _build(path: Path, results: Path) -> tuple[StudyFile, dict[str, bytes]]:
    study = load_study(path, MEASURES)
    grids = {name: _grid(name, path, evidence, results) for name, evidence in study.evidence.items()}
    return study, build_study(study, grids, f"cegppo study {shlex.quote(str(path))}")


def _grid(name: str, study: Path, evidence: Evidence, results: Path) -> Grid:
    file = _grid_file(study, evidence)
    _, runs = planning.run_views(file, evidence.scale, evidence.seeds, results)
    engines = sorted({trainers.VERSIONS[catalog.scale(run.cell["scale"]).trainer] for run in runs})
    if len(engines) > 1:
        raise UserError(
            f"runs of several engines in one piece of evidence: {', '.join(engines)}",
            file=study,
            key=f"evidence.{name}",
            hint="make one piece of evidence per engine; they are never averaged",
        )
    return Grid(name, tuple(runs), _command(file, evidence), engines[0] if engines else "")


def _command(file: Path, evidence: Evidence) -> str:
    words = ["cegppo", "run", _plain(file)]
    words += ["--scale", evidence.scale] if evidence.scale else []
    return " ".join([shlex.join(words), *_seeds(evidence.seeds or [])])


def _seeds(seeds: list[int]) -> list[str]:
    """Options for a shell (bash, zsh); a long run of seeds as one expression."""
    if len(seeds) > 3 and seeds == list(range(seeds[0], seeds[-1] + 1)):
        return [f"$(printf -- '--seed %d ' {{{seeds[0]}..{seeds[-1]}}})"]
    return [f"--seed {seed}" for seed in seeds]


def _plain(file: Path) -> str:
    """``ablations/studies/../x.yaml`` as ``ablations/x.yaml``."""
    parts: list[str] = []
    for part in file.parts:
        parts = parts[:-1] if part == ".." and parts and parts[-1] != ".." else [*parts, part]
    return str(Path(*parts))
