"""The pure parts of an evaluation: what is missing, seeds, records on the disk, numbers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from cegppo_verl.errors import UserError
from cegppo_verl.evaluation import shards
from cegppo_verl.evaluation.answers import Answer, Who, parse, record, to_line
from cegppo_verl.evaluation.decoding import Decoding, sampling_seed
from cegppo_verl.evaluation.fingerprint import BLOCK, fingerprint
from cegppo_verl.evaluation.plan import Problem, Task, dealt, missing, require_distinct
from cegppo_verl.evaluation.results import result
from cegppo_verl.records import table

DECODING = Decoding(0.6, 0.95, 100, "vllm-0 float32")
WHO = Who("0123456789ab", 3, 24)


def problem(number: int, truth: str = "7") -> Problem:
    return Problem(f"b/{number}", ({"role": "user", "content": f"question {number}"},), truth)


def task(problems: int = 2, samples: int = 2, decoding: Decoding = DECODING) -> Task:
    return Task("b", tuple(map(problem, range(problems))), samples, decoding)


def records(of: Task, texts: list[str]) -> list[dict]:
    items = list(of.items())
    return [record(WHO, Answer(i, t, len(t), False)) for i, t in zip(items, texts, strict=True)]


def test_a_seed_depends_on_decoding_benchmark_problem_and_sample_alone() -> None:
    parts = ("h", "b", "b/0", 0)
    others = [("g", "b", "b/0", 0), ("h", "c", "b/0", 0), ("h", "b", "b/1", 0), ("h", "b", "b/0", 1)]
    seeds = [sampling_seed(*p) for p in (parts, *others)]
    assert len(set(seeds)) == 5
    # Written down: another value would silently make recorded and new answers two experiments.
    assert seeds[0] == 5446607157862189506
    assert all(0 <= seed < 2**63 for seed in seeds)


def test_every_part_of_the_decoding_is_in_its_hash() -> None:
    changed = [Decoding(0.7, 0.95, 100, "vllm-0 float32"), Decoding(0.6, 0.9, 100, "vllm-0 float32")]
    changed += [Decoding(0.6, 0.95, 99, "vllm-0 float32"), Decoding(0.6, 0.95, 100, "vllm-1 float32")]
    assert len({d.hash for d in (DECODING, *changed)}) == 5


def test_missing_is_what_is_wanted_and_not_known() -> None:
    wanted = task()
    items = list(wanted.items())
    known = {(DECODING.hash, items[1].key, items[1].problem.digest)}
    assert [i.key for i in missing([wanted], known)] == [("b", "b/0", 0), ("b", "b/1", 0), ("b", "b/1", 1)]
    elsewhere = {
        (DECODING.hash, items[1].key, "another wording"),
        ("other", items[1].key, items[1].problem.digest),
    }
    assert missing([wanted], elsewhere) == items


@pytest.mark.parametrize(("count", "engines"), [(0, 2), (1, 4), (100, 3), (64, 8)])
def test_every_item_goes_to_one_engine(count: int, engines: int) -> None:
    items = list(task(count, 1).items())
    shares = dealt(items, engines, block=4)
    assert sorted(i.key for share in shares for i in share) == sorted(i.key for i in items)
    assert all(shares)
    assert not shares or len(shares) < engines or max(map(len, shares)) - min(map(len, shares)) <= 4


def test_two_problems_with_one_id_are_refused() -> None:
    with pytest.raises(UserError, match="two problems 'b/0'"):
        require_distinct(Task("b", (problem(0), problem(0, "8")), 1, DECODING))


def test_a_line_is_whole_or_nothing() -> None:
    row = records(task(1, 1), ["\\boxed{7} \ud800"])[0]
    line = to_line(row)
    assert parse(line) == row
    assert all(parse(line[:cut]) is None for cut in range(len(line) - 1))
    assert parse(b"[1]") is parse(b'{"cell": "x"}') is None


def test_a_torn_line_hides_nothing_that_comes_later(tmp_path: Path) -> None:
    rows = records(task(), ["\\boxed{7}"] * 4)
    with shards.Shard(tmp_path) as shard:
        shard.append(rows[:2])
    (path,) = shards.shard_files(tmp_path)
    with path.open("ab") as file:
        file.write(to_line(rows[2])[:100])
    with shards.Shard(tmp_path) as shard:
        shard.append(rows[2:])
    assert len(shards.shard_files(tmp_path)) == 2
    assert list(shards.load(tmp_path).values()) == rows


def test_compaction_killed_before_the_shards_are_gone_counts_nothing_twice(tmp_path: Path) -> None:
    rows = records(task(), ["\\boxed{7}", "\\boxed{8}", "none", "\\boxed{7}"])
    with shards.Shard(tmp_path) as shard:
        shard.append(rows)
    (path,) = shards.shard_files(tmp_path)
    kept = path.read_bytes()
    shards.compact(tmp_path)
    once = (tmp_path / shards.SAMPLES).read_bytes()
    path.write_bytes(kept)
    shards.compact(tmp_path)
    assert (tmp_path / shards.SAMPLES).read_bytes() == once
    assert not shards.shard_files(tmp_path)
    assert len(table.load(tmp_path / table.NAME)) == 4


def test_nothing_recorded_makes_no_files(tmp_path: Path) -> None:
    with shards.Shard(tmp_path) as shard:
        assert shard is not None
    assert shards.compact(tmp_path) == {}
    assert not list(tmp_path.iterdir())


def test_the_numbers_of_a_small_case_by_hand() -> None:
    wanted = task(problems=3, samples=2)
    texts = ["\\boxed{7}", "\\boxed{8}", "\\boxed{7}", "\\boxed{7}", "none", "\\boxed{1}"]
    rows = records(wanted, texts)
    rows[4]["truncated"] = 1
    found = result(wanted, {(r["benchmark"], r["problem"], r["sample"]): r for r in rows})
    assert found.avg.point == pytest.approx((1 / 2 + 1 + 0) / 3)
    assert found.pass_k.point == pytest.approx(2 / 3)
    assert found.avg.low < found.avg.point < found.avg.high
    assert (found.truncated, found.no_answer) == (pytest.approx(1 / 6), pytest.approx(1 / 6))
    assert found.tokens == pytest.approx(np.mean([len(t) for t in texts]))
    assert dict(found.outcomes) == {"correct": 3, "no_answer": 1, "wrong": 2}


def test_a_problem_that_lacks_a_sample_does_not_count() -> None:
    wanted = task(problems=2, samples=2)
    rows = records(wanted, ["\\boxed{7}"] * 4)[:3]
    found = result(wanted, {(r["benchmark"], r["problem"], r["sample"]): r for r in rows})
    assert (found.problems, found.wanted) == (1, 2)
    nothing = result(wanted, {})
    assert (nothing.avg, nothing.pass_k, nothing.problems) == (None, None, 0)


def test_a_fingerprint_sees_size_and_content(tmp_path: Path) -> None:
    path = tmp_path / "w.bin"
    seen = set()
    for content in (b"a", b"b", b"aa", b"a" * 17 * BLOCK, b"a" * 17 * BLOCK + b"b"):
        path.write_bytes(content)
        seen.add(fingerprint([path]))
    assert len(seen) == 5
