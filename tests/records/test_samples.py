from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from synthetic import validation_row, write_validation

from cegppo_verl.records.derived import keep
from cegppo_verl.records.samples import completeness, load_samples, read_texts
from cegppo_verl.records.schema import SCHEMA

PLAN = [{"name": "pick", "samples": 2, "problems": 3}]


def rows(problems: int, samples: int, step: int = 8) -> list[dict]:
    return [
        validation_row("pick", p, (p + s) % 2 == 0, step) for p in range(problems) for s in range(samples)
    ]


def test_one_row_per_sample_with_what_the_dump_says(tmp_path: Path) -> None:
    write_validation(tmp_path, 8, rows(3, 2))
    frame = load_samples(tmp_path, cell_id="abc", seed=7).frame
    first = frame.iloc[1].to_dict()
    np.testing.assert_equal([first.pop("tokens"), first.pop("truncated")], [np.nan] * 2)  # not in this dump
    assert first == {
        "cell": "abc",
        "seed": 7,
        "step": 8,
        "benchmark": "pick",
        "problem": "pick/0",
        "sample": 1,
        "correct": 0.0,
        "outcome": "wrong",
        "extracted": "0",
        "length": len("answer 0"),
        "grader": "math-verify-0.9.0+1",
        "decoding": "",
    }
    assert frame.groupby("problem", observed=True)["correct"].mean().to_dict() == {
        f"pick/{p}": 0.5 for p in range(3)
    }


def test_without_problem_ids_rows_are_grouped_by_prompt(tmp_path: Path) -> None:
    dump = [
        {"input": f"question {n % 2}", "output": "x", "acc": n < 2, "data_source": "aime"} for n in range(6)
    ]
    write_validation(tmp_path, 1, dump)
    frame = load_samples(tmp_path).frame
    assert frame.groupby("problem", observed=True).size().tolist() == [3, 3]
    assert sorted(frame["sample"]) == [0, 0, 1, 1, 2, 2]
    assert set(frame["benchmark"]) == {"aime"}


def test_same_prompt_under_two_ids_stays_two_problems(tmp_path: Path) -> None:
    dump = [validation_row("pick", p, True, 1) | {"input": "the same"} for p in range(2)]
    write_validation(tmp_path, 1, dump)
    assert load_samples(tmp_path).frame["sample"].tolist() == [0, 0]


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"acc": True}, 1.0),
        ({"acc": 0.0}, 0.0),
        ({"acc": None, "outcome": "correct"}, 1.0),
        ({"acc": None, "outcome": "timeout"}, 0.0),
        ({"acc": None, "outcome": "grader_error"}, np.nan),
        ({"acc": None, "outcome": None}, np.nan),
        ({"acc": "yes", "outcome": None}, np.nan),
    ],
)
def test_no_verdict_is_no_number(tmp_path: Path, fields: dict, expected: float) -> None:
    write_validation(tmp_path, 1, [validation_row("pick", 0, False, 1) | fields])
    samples = load_samples(tmp_path)
    np.testing.assert_equal(samples.frame["correct"].tolist(), [expected])
    assert samples.notes == (("1 samples carry no verdict",) if np.isnan(expected) else ())


def test_unreadable_lines_are_counted(tmp_path: Path) -> None:
    path = write_validation(tmp_path, 8, rows(3, 2))
    path.write_bytes(b'\xff\n[]\n{"nothing": 1}\n' + path.read_bytes() + b'{"input": "cut o')
    samples = load_samples(tmp_path)
    assert len(samples.frame) == 6
    assert samples.notes == ("validation/8.jsonl: 4 unreadable lines ignored",)
    assert len(read_texts(tmp_path, 8)) == 6


def test_lone_surrogates_can_be_stored(tmp_path: Path) -> None:
    write_validation(
        tmp_path, 1, [validation_row("pick", 0, True, 1) | {"extracted": "\ud800", "input": "\udfff"}]
    )
    load_samples(tmp_path)
    assert load_samples(tmp_path).frame["extracted"].tolist() == ["?"]


def test_completeness_against_the_plan(tmp_path: Path) -> None:
    write_validation(tmp_path, 8, rows(3, 2))
    write_validation(tmp_path, 4, rows(2, 2))
    write_validation(tmp_path, 6, rows(3, 2)[:-1])
    samples = load_samples(tmp_path)
    assert completeness(samples, 8, PLAN) == []
    assert completeness(samples, 4, PLAN) == ["step 4: pick: 2 of 3 problems"]
    assert completeness(samples, 6, PLAN) == ["step 6: pick: 1 problem with fewer than 2 samples"]
    assert completeness(samples, 5, PLAN) == ["step 5: pick: no samples"]
    assert completeness(samples, 4, [{"name": "pick", "samples": 2, "problems": None}]) == []


def test_steps_and_the_kept_table(tmp_path: Path) -> None:
    for step in (0, 12, 4):
        write_validation(tmp_path, step, rows(3, 2))
    (tmp_path / "validation" / "readme.jsonl").write_text("{}")
    (tmp_path / "validation" / "99999999999.jsonl").write_text(json.dumps(rows(1, 1)[0]))
    assert load_samples(tmp_path).steps() == [0, 4, 12]
    assert (tmp_path / "samples.parquet").is_file()
    (tmp_path / "validation" / "4.jsonl").write_text(json.dumps(rows(1, 1)[0]) + "\n")
    assert len(load_samples(tmp_path).at(4, "pick")) == 1


def test_no_samples_give_an_empty_frame(tmp_path: Path) -> None:
    samples = load_samples(tmp_path)
    assert (len(samples.frame), samples.steps(), samples.notes) == (0, [], ())


def test_tokens_truncation_and_decoding_are_read_where_they_were_recorded(tmp_path: Path) -> None:
    known = {"response_tokens": 17, "truncated": True, "decoding": "d" * 12}
    odd = {"response_tokens": -1, "truncated": "yes"}
    dump = [validation_row("pick", p, True, 1) | fields for p, fields in enumerate((known, odd))]
    write_validation(tmp_path, 1, dump)
    for _ in range(2):  # built, then kept
        frame = load_samples(tmp_path).frame
        np.testing.assert_equal(frame["tokens"].tolist(), [17.0, np.nan])
        np.testing.assert_equal(frame["truncated"].tolist(), [1.0, np.nan])
        assert frame["decoding"].tolist() == ["d" * 12, ""]


def test_the_kept_table_names_the_cell_it_was_asked_for_last(tmp_path: Path) -> None:
    write_validation(tmp_path, 1, rows(1, 1))
    settings = {"max_response_length": 64, "eval": {"temperature": 0.6, "top_p": 0.95}}
    (tmp_path / "cell.json").write_text(json.dumps({"settings": settings}))
    load_samples(tmp_path)
    load_samples(tmp_path, cell_id="abc", seed=3)
    row = pd.read_parquet(tmp_path / "samples.parquet").iloc[0]
    assert (row["cell"], row["seed"]) == ("abc", 3)
    assert len(row["decoding"]) == 12


def test_the_file_has_the_schema(tmp_path: Path) -> None:
    write_validation(tmp_path, 1, rows(1, 1))
    load_samples(tmp_path)
    assert pq.read_schema(tmp_path / "samples.parquet").equals(SCHEMA)


def test_a_row_without_a_step_or_problem_is_left_out_and_said(tmp_path: Path) -> None:
    write_validation(tmp_path, 4, rows(3, 2))
    frame = load_samples(tmp_path).frame
    frame["step"] = frame["step"].astype("Int64")
    frame.loc[0, "step"] = None
    frame.loc[1, "problem"] = None
    other = tmp_path / "other"
    other.mkdir()
    keep(other / "samples.parquet", frame, SCHEMA)
    found = load_samples(other)
    assert found.steps() == [4]
    assert len(found.frame) == len(frame) - 2
    assert found.notes == ("2 rows without step or problem ignored",)


def test_a_name_that_is_not_known_is_none_of_the_names(tmp_path: Path) -> None:
    write_validation(tmp_path, 4, rows(3, 2))
    frame = load_samples(tmp_path).frame
    frame.loc[1, "outcome"] = None
    other = tmp_path / "other"
    other.mkdir()
    keep(other / "samples.parquet", frame, SCHEMA)
    places, names = load_samples(other).names("outcome")
    assert places[1] == -1
    assert [names[place] for place in np.delete(places, 1)] == frame["outcome"].drop(1).tolist()
