"""Every name in the map of the paper exists; every grid of the paper and both its tables are in it."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MAP = (ROOT / "reports" / "PAPER_MAP.md").read_text(encoding="utf-8")
NAMES = sorted(set(re.findall(r"`((?:cegppo_verl\.|tests/|ablations/|reports/|results/)[^`\s]*)`", MAP)))


def exists(name: str) -> bool:
    """A path, a module, or a function or class defined in one; nothing is imported, some need torch."""
    if "/" in name:
        return (ROOT / name).exists()
    module = ROOT / (name.replace(".", "/") + ".py")
    if module.is_file() or module.with_suffix("").is_dir():
        return True
    parent, _, last = name.rpartition(".")
    file = ROOT / (parent.replace(".", "/") + ".py")
    return file.is_file() and last in {
        node.name
        for node in ast.parse(file.read_text()).body
        if isinstance(node, ast.FunctionDef | ast.ClassDef)
    }


@pytest.mark.parametrize("name", NAMES)
def test_the_name_exists(name: str) -> None:
    assert exists(name)


def test_names_that_do_not_exist_are_told() -> None:
    for name in ("cegppo_verl.losses.cegppo.wait", "cegppo_verl.no", "tests/none.py"):
        assert not exists(name)


@pytest.mark.parametrize("part", ["Table 1", "Table 2", *(f"Fig. {n}" for n in range(2, 7)), "Eq. 8"])
def test_the_part_has_a_row(part: str) -> None:
    assert re.search(rf"^\| {part}\b", MAP, re.M)


def test_only_code_spans_that_are_checked() -> None:
    spans = set(re.findall(r"`([^`]+)`", MAP)) - {"cegppo report", "cegppo eval"}
    assert spans <= set(NAMES)
