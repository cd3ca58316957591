from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from synthetic import validation_row, write_validation

from cegppo_verl import records
from cegppo_verl.errors import UserError
from cegppo_verl.records import samples, table
from cegppo_verl.records.decoding import decoding_hash, of_cell
from cegppo_verl.records.schema import COLUMNS, FRAME, SCHEMA
from cegppo_verl.records.votes import votes


def run(folder: Path, cell: str, problems: int = 3) -> Path:
    dump = [validation_row("pick", p, s == 0, 8) for p in range(problems) for s in range(2)]
    write_validation(folder, 8, dump)
    samples.load_samples(folder, cell_id=cell, seed=1)
    return folder / table.NAME


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    for cell in ("aa", "bb"):
        run(tmp_path / "runs" / cell, cell)
    return tmp_path / "runs"


def test_every_column_is_described_and_typed() -> None:
    assert set(FRAME) == {name for name, _, _ in COLUMNS} == set(SCHEMA.names)
    assert all(text for _, _, text in COLUMNS)
    assert SCHEMA.field("tokens").metadata[b"description"].startswith(b"length of the response, tokens")


def test_a_folder_a_glob_and_a_list_give_the_same_rows(runs: Path) -> None:
    one = records.load_samples(runs)
    assert one["cell"].value_counts().to_dict() == {"aa": 6, "bb": 6}
    assert {name: str(kind) for name, kind in one.dtypes.items()} == FRAME
    for source in (f"{runs}/*/samples.parquet", [runs / "aa", runs / "bb" / table.NAME]):
        pd.testing.assert_frame_equal(records.load_samples(source), one)


def test_compaction_keeps_every_row_and_makes_few_groups(runs: Path, tmp_path: Path) -> None:
    assert table.compact(runs, tmp_path / "all.parquet") == 12
    pd.testing.assert_frame_equal(records.load_samples(tmp_path / "all.parquet"), records.load_samples(runs))
    assert pq.read_metadata(tmp_path / "all.parquet").num_row_groups == 1
    assert pq.read_schema(tmp_path / "all.parquet").equals(SCHEMA)


def test_compaction_into_one_of_its_sources_is_refused(runs: Path) -> None:
    before = (runs / "aa" / table.NAME).read_bytes()
    with pytest.raises(UserError, match="one of the sources"):
        table.compact(runs, runs / "aa" / table.NAME)
    assert (runs / "aa" / table.NAME).read_bytes() == before


@pytest.mark.parametrize("damage", [b"", b"PAR1 but no more", b"PAR1" + b"\0" * 200 + b"PAR1"])
def test_a_damaged_source_is_named_and_nothing_is_written(runs: Path, tmp_path: Path, damage: bytes) -> None:
    (runs / "bb" / table.NAME).write_bytes(damage)
    before = sorted(os.listdir(tmp_path))
    with pytest.raises(UserError, match="bb"):
        table.compact(runs, tmp_path / "all.parquet")
    assert sorted(os.listdir(tmp_path)) == before


def test_a_foreign_parquet_file_is_no_table_of_samples(tmp_path: Path) -> None:
    pq.write_table(pa.table({"cell": ["a"], "x": [1]}), tmp_path / "x.parquet")
    with pytest.raises(UserError, match="no column seed, step, benchmark, problem, sample, correct"):
        records.load_samples(tmp_path / "x.parquet")


def test_nothing_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no samples at"):
        records.load_samples(tmp_path / "*.parquet")


def test_a_table_without_the_newer_columns_is_read_with_nulls(runs: Path, tmp_path: Path) -> None:
    old = pq.read_table(runs / "aa" / table.NAME).drop_columns(["tokens", "truncated", "decoding"])
    pq.write_table(old, tmp_path / "old.parquet")
    frame = records.load_samples(tmp_path / "old.parquet")
    assert frame["tokens"].isna().all()
    assert frame["correct"].tolist() == records.load_samples(runs / "aa")["correct"].tolist()


def test_an_interrupted_write_leaves_the_old_file(runs: Path, tmp_path: Path) -> None:
    target = tmp_path / "all.parquet"
    table.compact(runs, target)
    before = target.read_bytes()

    def stopping():
        yield next(table.batches(runs))
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        table.write(target, stopping(), rows=1)
    assert target.read_bytes() == before
    assert sorted(p.name for p in tmp_path.iterdir()) == ["all.parquet", "runs"]


def test_a_table_read_with_its_compacted_copy_is_refused(runs: Path, tmp_path: Path) -> None:
    table.compact(runs, tmp_path / "all.parquet")
    with pytest.raises(UserError, match="there twice: cell aa, step 8, pick, problem pick/0 has 4 rows"):
        votes([runs, tmp_path / "all.parquet"])


def test_votes_do_not_depend_on_how_rows_are_spread(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    key = ["cell", "problem", "extracted"]
    whole = votes(runs).to_pandas().sort_values(key).reset_index(drop=True)
    monkeypatch.setattr("cegppo_verl.records.votes.MERGE_ROWS", 1)
    monkeypatch.setattr(
        "cegppo_verl.records.votes.batches", lambda source, columns: table.batches(source, columns, rows=1)
    )
    pieces = votes(runs).to_pandas().sort_values(key).reset_index(drop=True)
    pd.testing.assert_frame_equal(pieces, whole)
    assert whole["rows"].sum() == 12


def test_duckdb_reads_the_file_in_one_line(runs: Path) -> None:
    duckdb = pytest.importorskip("duckdb")
    rows = duckdb.sql(f"select cell, avg(correct) from '{runs}/*/*.parquet' group by cell order by cell")
    np.testing.assert_equal(rows.fetchall(), [("aa", 0.5), ("bb", 0.5)])


def test_decoding_hash_follows_what_changes_the_samples() -> None:
    settings = {"temperature": 0.6, "top_p": 0.95, "response_length": 32768}
    known = decoding_hash(settings)
    assert len(known) == 12
    assert decoding_hash({**settings, "executor": "ray", "top_k": None}) == known
    assert decoding_hash({**settings, "temperature": 1}) == decoding_hash({**settings, "temperature": 1.0})
    assert decoding_hash({**settings, "temperature": 1}) != known
    assert decoding_hash({}) == of_cell({}) == of_cell({"settings": {"eval": 3}}) == ""
    cell = {"settings": {"max_response_length": 32768, "eval": {"temperature": 0.6, "top_p": 0.95}}}
    assert of_cell(cell) == known
