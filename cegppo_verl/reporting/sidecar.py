"""Beside each artefact a JSON file: which cells, code, versions and record files it was made from.

A report has dozens of artefacts made from the same cells. What they share is written once, to
provenance.json, and the file beside each artefact names it by its hash.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from cegppo_verl.records.derived import sha256
from cegppo_verl.reporting import comparable, numbers
from cegppo_verl.reporting.definitions import CHECKPOINT_POLICY, METRICS
from cegppo_verl.reporting.runs import RunView

SCHEMA = 2
PROVENANCE = "provenance.json"
_MAKERS = ("cegppo-verl", "jinja2", "matplotlib", "numpy", "pandas", "scipy")
_PROVENANCE = ("git", "versions", "hardware", "platform", "engine", "assets")


def provenance(
    grid: str, runs: Sequence[RunView], command: str, published: Mapping[str, str]
) -> dict[str, Any]:
    """What all artefacts of a report share.

    Args:
        published: SHA-256 of the files of others' numbers, by name.
    """
    return {
        "schema": SCHEMA,
        "grid": grid,
        "command": command,
        "checkpoint_policy": CHECKPOINT_POLICY,
        "metric_definitions": METRICS,
        "resamples": {"curves": numbers.CURVE_RESAMPLES, "tables": numbers.TABLE_RESAMPLES},
        "published": dict(published),
        "made_with": {name: _version(name) for name in _MAKERS},
        "cells": [_cell(run) for run in runs],
    }


def sidecar(artefact: str, content: bytes, shared: Mapping[str, Any], drawn: str | None = None) -> bytes:
    """The JSON to put beside ``artefact``, with the hash of its content and, for a figure, what it draws."""
    whole = {"artefact": artefact, "sha256": sha256(content), **({"drawn": drawn} if drawn else {}), **shared}
    return (json.dumps(whole, indent=1, sort_keys=True, ensure_ascii=True) + "\n").encode()


def linked(
    artefact: str,
    content: bytes,
    shared: Mapping[str, Any],
    digest: str,
    drawn: str | None = None,
    *,
    with_cells: bool = True,
) -> bytes:
    """As ``sidecar``, with what all artefacts share named by the hash of its file instead of repeated.

    Args:
        with_cells: list the cells; a study has hundreds, and every artefact is made from all of them.
    """
    up = "../" * artefact.count("/")
    own = {key: shared[key] for key in ("schema", "grid", "command", "checkpoint_policy", "made_with")}
    own |= {"provenance": {"file": f"{up}{PROVENANCE}", "sha256": digest}}
    if with_cells:
        own["cells"] = [{"run": cell["run"], "state": cell["state"]} for cell in shared["cells"]]
    return sidecar(artefact, content, own, drawn)


def provenance_file(shared: Mapping[str, Any]) -> bytes:
    """provenance.json: the shared part, without what depends on the versions at hand."""
    stable = {key: value for key, value in shared.items() if key != "made_with"}
    return (json.dumps(stable, indent=1, sort_keys=True, ensure_ascii=True) + "\n").encode()


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "unknown"


def _cell(run: RunView) -> dict[str, Any]:
    return {
        "id": run.cell.get("id"),
        "run": run.name,
        "arm": run.arm,
        "algorithm": run.cell.get("algorithm"),
        "params": run.cell.get("params"),
        "scale": run.scale,
        "seed": run.seed,
        "settings": run.cell.get("settings"),
        "state": "done" if run.done else run.progress(),
        "provenance": {key: _compact(run.manifest[key]) for key in _PROVENANCE if key in run.manifest},
        "entropy_is": comparable.entropy_definition(run),
        "records": run.records,
        **({"imports": run.manifest["imports"]} if "imports" in run.manifest else {}),
        "notes": list(run.notes),
    }


def _compact(value: Any) -> Any:
    """Provenance without long texts: a diff is kept as its hash, its text lies in the run's manifest."""
    if isinstance(value, dict):
        return {key: _compact(inner) for key, inner in value.items()}
    if isinstance(value, str) and len(value) > 400:
        return f"sha256:{sha256(value.encode('utf-8', 'replace'))}"
    return value
