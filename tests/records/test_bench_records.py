"""``cegppo bench records`` on few rows: both sides find the same scores; no time is looked at."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from cegppo_verl.bench import records as bench
from cegppo_verl.records.schema import SCHEMA


def test_the_rows_are_of_the_schema_and_as_many_as_asked_for() -> None:
    pieces = list(bench.evaluations(bench.EVALUATION_ROWS + 10))
    assert [len(piece) for _, piece in pieces] == [bench.EVALUATION_ROWS, 10]
    assert all(piece.schema.equals(SCHEMA) for _, piece in pieces)
    correct = pieces[0][1]["correct"].to_numpy()
    assert 0.45 < np.mean(correct) < 0.55


def test_both_sides_find_the_same(tmp_path: Path) -> None:
    found = []
    for side in (bench.ours, bench.pandas):
        folder = tmp_path / side.__name__
        folder.mkdir()
        found.append(side(folder, 2 * bench.EVALUATION_ROWS))
    assert found[0]["evaluations"] == found[1]["evaluations"] == 10
    assert found[0]["check"] == pytest.approx(found[1]["check"])
