"""9-gram overlap: what counts as shared, how much of a problem, and the files around it."""

from __future__ import annotations

import json
import random

import pytest
from data import samples
from rich.console import Console

from cegppo_verl.data import catalog, overlap, overlap_report
from cegppo_verl.data.fetch import Request, fetch
from cegppo_verl.errors import UserError

NINE = "one two three four five six seven eight nine"
PARTS = "problems", "shorter than 9 words", "a shared 9-gram", "half its 9-grams", "the same words"


def match(train, problem):
    (found,) = overlap.compare([(str(i), text) for i, text in enumerate(train)], [("b", problem)])
    return found


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Find $\\frac{1}{2}$ of x_1!", ["find", "frac", "1", "2", "of", "x", "1"]),
        ("ﬁve Straße ２", ["five", "strasse", "2"]),
        ("", []),
    ],
)
def test_words(text, words):
    assert overlap.words(text) == words


@pytest.mark.parametrize(
    ("train", "shared"),
    [
        (NINE.upper() + "!", 1),
        (f"before {NINE}, after", 1),
        (NINE.removesuffix(" nine"), 0),
        (NINE.replace("five", "5"), 0),
        ("nine " + NINE.removesuffix(" nine"), 0),
    ],
)
def test_nine_words_in_their_order_are_shared(train, shared):
    found = match([train], NINE)
    assert (found.shared, found.train, found.grams) == (shared, shared, 1)
    assert found.best == ("0" if shared else "")
    assert found.example == (NINE if shared else "")


def test_no_gram_spans_two_training_problems():
    four, five = NINE.split(maxsplit=4)[:4], NINE.split(maxsplit=4)[4]
    assert match([" ".join(four), five], NINE).shared == 0


def test_the_share_is_that_of_the_best_training_problem():
    problem = f"{NINE} ten eleven twelve"
    found = match([f"{NINE} x", f"y {NINE} ten eleven", "nothing"], problem)
    assert (found.train, found.best, found.shared, found.grams) == (2, "1", 3, 4)
    assert found.share == 0.75
    assert match([f"{NINE} x", f"y {NINE}"], NINE).best == "0", "the first of equals"


def test_a_short_problem_is_found_only_by_the_same_words():
    assert match(["What is $1+1$?", "What is 1+1 then?"], "what is 1 + 1").same == "0"
    found = match(["What is 1+1 then?"], "What is 1+1?")
    assert (found.grams, found.share, found.same) == (0, 0.0, "")


def test_nothing_to_compare():
    assert overlap.compare([], [("b", NINE)])[0].shared == 0
    assert overlap.compare([("t", NINE)], []) == []
    assert match(["", "?!"], NINE).shared == 0


def literal(train, problem):
    """The definition, word for word: (how many training problems, the most 9-grams that one has)."""

    def grams(text):
        found = overlap.words(text)
        return {tuple(found[i : i + overlap.N]) for i in range(len(found) - overlap.N + 1)}

    shared = [len(grams(text) & grams(problem)) for text in train]
    return sum(count > 0 for count in shared), max(shared, default=0)


def test_the_fast_way_agrees_with_the_definition(monkeypatch):
    monkeypatch.setattr(overlap, "_CHUNK", 500)  # several chunks
    rng = random.Random(1)

    def text():
        return " ".join(rng.choices("abc", weights=(6, 2, 1), k=rng.randint(0, 40)))

    train, bench = [text() for _ in range(200)], [text() for _ in range(40)]
    found = overlap.compare(
        [(str(i), t) for i, t in enumerate(train)], [(str(i), t) for i, t in enumerate(bench)]
    )
    expected = [literal(train, problem) for problem in bench]
    assert [(m.train, m.shared) for m in found] == expected
    assert sum(count > 0 for count, _ in expected) > 5


@pytest.fixture
def fetched(tmp_path):
    """A training set and a benchmark with the same five problems, the latter with another prompt."""
    for name, template in (("GSM8K", "bare"), ("AMC23", "boxed")):
        item = catalog.dataset(name)
        folder = samples.repository(name, tmp_path / "copies" / name)
        fetch(Request(item, tmp_path, folder, template=template, count=5), Console(quiet=True))
    return tmp_path


def test_fetched_sets_are_compared_without_their_prompts(fetched):
    train, bench = (overlap_report.located(name, fetched) for name in ("GSM8K", "amc23"))
    (one,) = overlap_report.compare(train, [bench])
    assert one.counts() == dict(zip(PARTS, (5, 0, 5, 5, 5), strict=True))
    assert one.matches[0].best.startswith("gsm8k/")
    said = overlap_report.as_json(train, [one])
    assert json.loads(json.dumps(said)) == said
    assert [m["share"] for m in said["benchmarks"][0]["matches"]] == [1.0] * 5
    assert len(said["train"]["sha256"]) == 64


def test_repeated_rows_of_a_benchmark_file_are_one_problem(tmp_path):
    rows = [{"prompt": samples.chat(NINE), "reward_model": {"ground_truth": "1"}}] * 32
    file = samples.write(tmp_path / "mine_x32.jsonl", rows)
    named = overlap_report.located(str(file), tmp_path)
    (one,) = overlap_report.compare(named, [named])
    assert one.counts()["problems"] == 1


def test_what_cannot_be_compared_says_so(tmp_path):
    with pytest.raises(UserError, match="cegppo data fetch AIME24"):
        overlap_report.located("aime24", tmp_path)
    with pytest.raises(UserError, match="no such file"):
        overlap_report.located("nothing.parquet", tmp_path)
    file = samples.write(tmp_path / "raw.jsonl", samples.deepscaler(2))
    with pytest.raises(UserError, match="column 'prompt' is missing"):
        overlap_report.texts(file)
