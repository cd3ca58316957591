"""From a local copy of each source to verl's format; what is wrong is refused, and nothing is written."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from data import samples
from rich.console import Console

from cegppo_verl.data import catalog, fetch_command, lengths, outcome
from cegppo_verl.data.fetch import Request, fetch
from cegppo_verl.errors import UserError
from cegppo_verl.toy import assets
from cegppo_verl.verl_plugin.reward import compute_score

REAL_DATA = Path(__file__).resolve().parents[2] / ".." / "shared" / "data"
QUIET = Console(quiet=True)
N = 5


def request(name, root, folder, **other):
    other.setdefault("count", N if catalog.dataset(name).problems else None)
    if catalog.dataset(name).sha256:
        other.setdefault("revision", "samples")  # not the one whose checksum the catalogue knows
    return Request(catalog.dataset(name), root, folder, **other)


def got(name, tmp_path, rows=None, **other):
    """Fetch a set from a local copy, of these rows if given."""
    folder = tmp_path / "copy"
    if rows is None:
        samples.repository(name, folder, N)
    else:
        samples.write(folder / catalog.dataset(name).files[0], rows)
    return fetch(request(name, tmp_path / "assets", folder, **other), QUIET)


def table(done):
    return pq.read_table(done.file).to_pylist()


def refused(name, tmp_path, *told, rows=None, **other):
    with pytest.raises(UserError) as error:
        got(name, tmp_path, rows, **other)
    for word in told:
        assert word in str(error.value)
    assert error.value.hint
    assert not (tmp_path / "assets").exists(), "nothing is written"


FIRST_ANSWERS = {
    "KlearReasoner-MathSub-30K": "3",
    "DAPO-Math-17k": "3",
    "DeepScaleR": "3",
    "GSM8K": "1100",
    "MATH": "\\frac{3}{2}",
    "AIME24": "000",
    "AIME25": "3",
    "HMMT25": "\\frac{0}{7}",
    "MATH500": "\\sqrt{0}",
    "AMC23": "0.0",
    "Minerva": "0e-3",
    "OlympiadBench": "3, -1",
}
SOURCE_IDS = {"AIME24": "60", "HMMT25": "1", "MATH500": "test/algebra/0.json", "OlympiadBench": "1600"}
SOURCE_IDS |= {"KlearReasoner-MathSub-30K": "0", "DAPO-Math-17k": "row-0", "AIME25": "0", "AMC23": "0"}


@pytest.mark.parametrize("name", catalog.datasets())
def test_every_source_becomes_verls_format(name, tmp_path):
    done = got(name, tmp_path)
    item = catalog.dataset(name)
    rows = table(done)
    assert done.file == tmp_path / "assets" / item.file
    assert len(rows) == N * len(item.files)
    assert [row["prompt"] for row in rows[:2]] == [
        [{"role": "user", "content": samples.text(i)}] for i in range(2)
    ]
    first = rows[0]
    assert first["data_source"] == item.key
    assert first["ability"] == "math"
    assert first["reward_model"] == {"style": "rule", "ground_truth": FIRST_ANSWERS[name]}
    info = first["extra_info"]
    assert (info["index"], info["extract"]) == (0, "boxed")
    assert info["source_id"] == SOURCE_IDS.get(name, "")
    ids = [row["extra_info"]["problem_id"] for row in rows]
    assert len(set(ids)) == len(ids)
    assert all(one.startswith(item.key + "/") for one in ids)
    assert outcome.verified(done.file) == json.loads(json.dumps(done.sidecar))


def test_a_right_answer_in_a_box_is_rewarded(tmp_path):
    row = table(got("AMC23", tmp_path))[3]
    truth = row["reward_model"]["ground_truth"]
    scores = [
        compute_score(row["data_source"], f"So \\boxed{{{said}}}.", truth, row["extra_info"])
        for said in ("3", "4")
    ]
    assert [score["acc"] for score in scores] == [1.0, 0.0]
    assert scores[0]["problem_id"] == row["extra_info"]["problem_id"]


def test_the_run_reads_the_file_and_keeps_its_ids(tmp_path, monkeypatch):
    monkeypatch.setenv("CEGPPO_ASSETS", str(tmp_path / "assets"))
    done = got("AIME24", tmp_path)
    again = assets.benchmark_from_file(done.file, "aime24", report=lambda line: None)
    ids = [
        [row["extra_info"]["problem_id"] for row in pq.read_table(f).to_pylist()] for f in (done.file, again)
    ]
    assert ids[0] == ids[1]


def test_the_sidecar_says_where_everything_came_from(tmp_path):
    said = got("AIME25", tmp_path).sidecar
    (source,) = said["sources"]
    assert (source["path"], len(source["sha256"]), source["bytes"]) == ("test.jsonl", 64, source["bytes"])
    assert (said["rows"], said["problems"], said["repeats"]) == (N, N, {"least": 1, "most": 1})
    assert said["template"]["name"] == "bare"
    assert str(tmp_path) not in json.dumps(said), "no path of this machine"


def test_the_rows_checksum_is_the_same_from_another_container(tmp_path):
    one = got("AIME25", tmp_path / "a").sidecar
    rows = samples.ROWS["AIME25"](N)
    path = samples.write(tmp_path / "b" / "aime25.parquet", rows)
    other = fetch(request("AIME25", tmp_path / "b" / "assets", path), QUIET).sidecar
    assert one["sources"][0]["sha256"] != other["sources"][0]["sha256"]
    assert one["outcome"]["rows_sha256"] == other["outcome"]["rows_sha256"]


def test_a_second_fetch_finds_the_file(tmp_path):
    first = got("GSM8K", tmp_path)
    before = first.file.stat().st_mtime_ns
    again = got("GSM8K", tmp_path)
    assert (first.fresh, again.fresh) == (True, False)
    assert again.file.stat().st_mtime_ns == before
    assert "there already" in fetch_command.line(again)


def test_another_template_changes_the_prompt_and_not_the_id(tmp_path):
    bare = table(got("GSM8K", tmp_path / "a"))[0]
    boxed = table(got("GSM8K", tmp_path / "b", template="boxed"))[0]
    assert boxed["prompt"][0]["content"].endswith("put your final answer within \\boxed{}.")
    assert boxed["prompt"][0]["content"].startswith(bare["prompt"][0]["content"])
    assert boxed["extra_info"]["problem_id"] == bare["extra_info"]["problem_id"]


def test_rows_that_repeat_a_problem_are_one_problem(tmp_path):
    done = got("AIME24", tmp_path, samples.aime24(N) * 32)
    assert len(table(done)) == N
    assert (done.sidecar["rows"], done.sidecar["repeats"]) == (N * 32, {"least": 32, "most": 32})
    assert "each 32 times" in fetch_command.line(done)


def authors_file(folder, name="aime24_x32.jsonl", times=32):
    row = {"data_source": "math_longcot_math_verify", "ability": "MATH", "__index_level_0__": 7.0}
    rows = [
        {
            **row,
            "prompt": samples.chat(samples.text(i)),
            "reward_model": {"ground_truth": str(i), "style": "rule"},
        }
        for i in range(N)
    ]
    return samples.write(folder / name, rows * times)


def test_the_authors_repeated_row_file_is_recognised_in_a_folder(tmp_path):
    authors_file(tmp_path / "theirs")
    authors_file(tmp_path / "theirs", "aime25_x32.jsonl")
    done = fetch(request("AIME24", tmp_path / "assets", tmp_path / "theirs"), QUIET)
    assert (len(table(done)), done.sidecar["rows"]) == (N, N * 32)
    assert done.sidecar["sources"][0]["path"] == "aime24_x32.jsonl"
    assert done.sidecar["revision"] == "local files"


@pytest.mark.skipif(not REAL_DATA.is_dir(), reason="the published benchmark files are not on this machine")
@pytest.mark.parametrize("name", ["AIME24", "AIME25"])
def test_the_published_files_are_thirty_problems(name, tmp_path):
    done = fetch(request(name, tmp_path, REAL_DATA, count=None), QUIET)
    assert (done.sidecar["problems"], done.sidecar["repeats"]) == (30, {"least": 32, "most": 32})
    assert all(0 <= int(row["reward_model"]["ground_truth"]) <= 999 for row in table(done))


@pytest.mark.parametrize("place", ["repo", "tail", "name", "bare"])
def test_a_local_copy_may_lie_in_several_ways(place, tmp_path):
    below = {"repo": "openai/gsm8k", "tail": "gsm8k", "name": "GSM8K", "bare": "."}[place]
    samples.repository("GSM8K", tmp_path / "copy" / below, N)
    assert fetch(request("GSM8K", tmp_path / "assets", tmp_path / "copy"), QUIET).sidecar["problems"] == N


def test_a_missing_column_names_the_nearest(tmp_path):
    rows = [{"problems": row["problem"], "answer": row["answer"]} for row in samples.deepscaler(N)]
    refused("DeepScaleR", tmp_path, "column 'problem' is missing", "did you mean 'problems'", rows=rows)


def test_a_missing_parquet_column_names_the_nearest(tmp_path):
    rows = [{"question": row["question"], "anser": row["answer"]} for row in samples.gsm8k(N)]
    refused("GSM8K", tmp_path, "column 'answer' is missing", "did you mean 'anser'", rows=rows)


def test_an_empty_split_is_refused(tmp_path):
    import pyarrow as pa

    path = tmp_path / "copy" / "main" / "train-00000-of-00001.parquet"
    path.parent.mkdir(parents=True)
    pq.write_table(
        pa.table({"question": pa.array([], pa.string()), "answer": pa.array([], pa.string())}), path
    )
    with pytest.raises(UserError, match="the split is empty"):
        fetch(request("GSM8K", tmp_path / "assets", tmp_path / "copy"), QUIET)
    assert not (tmp_path / "assets").exists()
    refused("DeepScaleR", tmp_path / "array", "no rows", rows=[])


@pytest.mark.parametrize(
    "content", ["{", '{"problem": "x", "answer": 1}\n{broken', "[1, 2]", "7\n", "\x00\xff"]
)
def test_a_damaged_source_says_so(content, tmp_path):
    path = tmp_path / "aime25.jsonl"
    path.write_bytes(content.encode("latin-1"))
    with pytest.raises(UserError) as error:
        fetch(request("AIME25", tmp_path / "assets", path), QUIET)
    assert "aime25.jsonl" in str(error.value)
    assert not (tmp_path / "assets").exists()


def test_a_damaged_parquet_source_says_so(tmp_path):
    path = samples.write(tmp_path / "gsm8k.parquet", samples.gsm8k(200))
    data = bytearray(path.read_bytes())
    data[10:400] = b"x" * 390
    path.write_bytes(bytes(data))
    with pytest.raises(UserError, match="damaged"):
        fetch(request("GSM8K", tmp_path / "assets", path), QUIET)


def test_another_number_of_problems_than_the_benchmark_has_is_refused(tmp_path):
    refused("AMC23", tmp_path, "AMC23 has 40 problems; here are 5", "--problems", count=None)
    refused("AMC23", tmp_path, "here are 5 in 10 rows", rows=samples.amc23(N) * 2, count=7)


def test_a_benchmark_with_a_hole_is_refused_and_a_training_set_counts_it(tmp_path):
    holes = [*samples.aime25(N - 1), {"problem": "And?", "answer": "", "id": "9"}]
    refused("AIME25", tmp_path, "test.jsonl, row 5: no answer", "--drop", rows=holes, count=N)
    rows = [*samples.deepscaler(N), {"problem": "And?", "answer": "", "solution": ""}]
    done = got("DeepScaleR", tmp_path, rows)
    assert done.sidecar["dropped"] == {"no answer": {"count": 1, "first": "deepscaler.json, row 6"}}
    assert "left out: 1 no answer" in fetch_command.line(done)


def test_a_problem_with_two_answers_is_refused_in_a_benchmark_and_left_out_of_a_training_set(tmp_path):
    twice = [*samples.aime25(N), {"problem": samples.text(2), "answer": "999", "id": "x"}]
    refused("AIME25", tmp_path, "row 3 (7) and test.jsonl, row 6 (999): two answers", rows=twice)
    more = {"problem": samples.text(2), "answer": "8", "solution": ""}
    done = got("DeepScaleR", tmp_path, [*samples.deepscaler(N), more, more])
    assert done.sidecar["problems"] == N - 1
    assert done.sidecar["dropped"]["two answers"]["count"] == 1


def test_an_answer_written_twice_in_two_ways_is_one_answer(tmp_path):
    rows = [{"problem": "Half?", "answer": a, "solution": ""} for a in ("$50\\%$", "50", " 50. ")]
    assert got("DeepScaleR", tmp_path, rows).sidecar["problems"] == 1


def test_a_prompt_that_is_too_long_is_refused_or_dropped(tmp_path):
    rows = [*samples.deepscaler(N), {"problem": "very " * 100 + "long?", "answer": "1", "solution": ""}]
    limit = lengths.Limit(200)
    refused("DeepScaleR", tmp_path, "deepscaler.json, row 6", "1 prompts are longer than 200 characters",
            "the longest has 505", "--drop", rows=rows, limit=limit)  # fmt: skip
    done = got("DeepScaleR", tmp_path, rows, limit=limit, drop=True)
    assert (done.sidecar["problems"], done.sidecar["dropped"]["prompt too long"]["count"]) == (N, 1)
    assert done.sidecar["limit"] == {"most": 200, "unit": "characters"}


def test_the_template_counts_towards_the_length(tmp_path):
    longest = max(len(samples.text(i)) for i in range(N))
    got("GSM8K", tmp_path / "a", limit=lengths.Limit(longest))
    refused("GSM8K", tmp_path / "b", "longer than", limit=lengths.Limit(longest), template="boxed")


def test_a_changed_outcome_is_refused(tmp_path):
    done = got("GSM8K", tmp_path)
    done.file.write_bytes(done.file.read_bytes() + b"\0")
    with pytest.raises(UserError, match="changed since it was fetched") as error:
        got("GSM8K", tmp_path)
    assert "remove train.parquet" in str(error.value)


def test_a_file_without_provenance_is_left_alone(tmp_path):
    mine = tmp_path / "assets" / "GSM8K" / "train.parquet"
    mine.parent.mkdir(parents=True)
    mine.write_text("mine")
    with pytest.raises(UserError, match="without provenance"):
        got("GSM8K", tmp_path)
    assert mine.read_text() == "mine"


def test_a_changed_source_is_refused(tmp_path):
    done = got("GSM8K", tmp_path)
    done.file.unlink()
    samples.write(tmp_path / "copy" / catalog.dataset("GSM8K").files[0], samples.gsm8k(N + 1))
    with pytest.raises(UserError, match="its checksum changed"):
        fetch(request("GSM8K", tmp_path / "assets", tmp_path / "copy"), QUIET)
    assert not done.file.exists()


def test_a_source_with_another_checksum_than_the_catalogue_says_is_refused(tmp_path):
    folder = samples.repository("AIME25", tmp_path / "copy", N)
    pinned = catalog.dataset("AIME25")
    assert pinned.sha256, "a set with a known checksum"
    with pytest.raises(UserError, match="its checksum changed"):
        fetch(Request(pinned, tmp_path / "assets", folder, count=N, revision=pinned.revision), QUIET)


def test_files_that_are_there_are_not_taken_for_others(tmp_path):
    done = got("GSM8K", tmp_path)
    for other, told in [({"template": "boxed"}, "--template"), ({}, "--from")]:
        if not other:
            samples.write(tmp_path / "copy" / catalog.dataset("GSM8K").files[0], samples.gsm8k(2))
        with pytest.raises(UserError, match=f"{told}: there already"):
            fetch(request("GSM8K", tmp_path / "assets", tmp_path / "copy", **other), QUIET)
    with pytest.raises(UserError, match="--revision: there already"):
        fetch(request("GSM8K", tmp_path / "assets", None, revision="f" * 40), QUIET)
    assert outcome.verified(done.file)


def test_a_fetch_that_was_killed_before_the_data_is_taken_up(tmp_path):
    done = got("GSM8K", tmp_path)
    before = done.file.read_bytes()
    done.file.unlink()  # the sidecar is written first
    assert got("GSM8K", tmp_path).file.read_bytes() == before


def test_a_folder_that_cannot_be_written_says_so(tmp_path):
    blocker = tmp_path / "assets"
    blocker.write_text("a file")
    samples.repository("GSM8K", tmp_path / "copy", N)
    with pytest.raises(UserError, match="cannot write"):
        fetch(request("GSM8K", blocker, tmp_path / "copy"), QUIET)


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        (("tok", None, None), "belong together"),
        ((None, 5, None), "belong together"),
        (("tok", 5, 5), "not both"),
    ],
)
def test_limits_that_do_not_fit_together(asked, told):
    with pytest.raises(UserError, match=told):
        lengths.limit(*asked, offline=True)


def test_tokens_are_counted_with_the_chat_template(tmp_path):
    tokenizers = pytest.importorskip("tokenizers")
    transformers = pytest.importorskip("transformers")
    model = tokenizers.models.WordLevel({"[UNK]": 0, "user": 1, ":": 2}, unk_token="[UNK]")
    plain = tokenizers.Tokenizer(model)
    plain.pre_tokenizer = tokenizers.pre_tokenizers.WhitespaceSplit()
    fast = transformers.PreTrainedTokenizerFast(tokenizer_object=plain, unk_token="[UNK]")
    fast.chat_template = "{% for m in messages %}{{ m['role'] }} : {{ m['content'] }}{% endfor %}"
    fast.save_pretrained(tmp_path / "tokenizer")
    count = lengths.Limit(4, str(tmp_path / "tokenizer"), offline=True).counter()
    assert count("three words here") == 5
    with pytest.raises(UserError, match="no tokenizer"):
        lengths.Limit(4, str(tmp_path / "nothing"), offline=True).counter()
