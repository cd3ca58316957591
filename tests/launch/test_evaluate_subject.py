"""What ``cegppo eval`` is told to evaluate, on what, and how."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cegppo_verl.errors import UserError
from cegppo_verl.evaluation.decoding import Decoding
from cegppo_verl.evaluation.plan import Problem, Task
from cegppo_verl.experiment import catalog
from cegppo_verl.launch.evaluate import engines, vllm_main
from cegppo_verl.launch.evaluate.subject import find
from cegppo_verl.launch.evaluate.tasks import Changes, evaluation_of, tasks
from cegppo_verl.launch.planning import load
from cegppo_verl.launch.runner import run_dir
from cegppo_verl.records.rundir import RunDir

ROOT = Path(__file__).parents[2]
SMOKE = ROOT / "ablations" / "smoke.yaml"


@pytest.fixture
def cell(tmp_path: Path) -> RunDir:
    """A cell with checkpoints of steps 1 and 2, of which only the names matter."""
    planned = load(SMOKE, None, None)[1][0]
    run = run_dir(planned, tmp_path)
    run.create({"schema": 1, **planned.model_dump(mode="json")})
    for step in (1, 2):
        actor = run.checkpoints / f"global_step_{step}" / "actor"
        actor.mkdir(parents=True)
        for part in ("model", "optim"):
            (actor / f"{part}_world_size_1_rank_0.pt").write_bytes(b"x")
        (actor.parent / "data.pt").touch()
    (run.checkpoints / "latest_checkpointed_iteration.txt").write_text("2")
    return run


def test_a_cell_is_its_newest_checkpoint_unless_told_otherwise(cell: RunDir, tmp_path: Path) -> None:
    identity = cell.cell()["id"]
    newest, first = find(identity, tmp_path), find(f"{identity}@1", tmp_path)
    assert (newest.who.step, first.who.step) == (2, 1)
    assert newest.who.cell == identity
    assert newest.source == str(cell.checkpoints.resolve() / "global_step_2" / "actor")
    assert newest.name == cell.path.name
    assert newest.role == "cell"


def test_a_checkpoint_folder_belongs_to_its_cell(cell: RunDir, tmp_path: Path) -> None:
    folder = cell.checkpoints / "global_step_1"
    by_id = find(f"{cell.cell()['id']}@1", tmp_path)
    assert find(str(folder), tmp_path) == find(str(folder / "actor"), tmp_path) == by_id


def test_base_is_the_same_for_all_cells_of_a_scale(cell: RunDir, tmp_path: Path) -> None:
    base = find(f"{cell.cell()['id']}@base", tmp_path)
    assert base == find("toy-xs", tmp_path)
    assert (base.who.step, base.who.seed, base.source, base.role) == (0, 0, "toy-xs", "base")
    assert base.who.cell != find("toy-s", tmp_path).who.cell


def test_a_hub_name_of_a_scale_is_that_scale(tmp_path: Path) -> None:
    found = find("deepseek-ai/DeepSeek-R1-Distill-Qwen-7B", tmp_path)
    assert (found.scale.name, found.kind) == ("deepseek-r1-distill-qwen-7b", "model")


def test_folders_with_other_weights_are_other_models(tmp_path: Path) -> None:
    names = []
    for weights in (b"one", b"two"):
        folder = tmp_path / weights.decode()
        folder.mkdir()
        (folder / "config.json").write_text("{}")
        (folder / "model.safetensors").write_bytes(weights)
        names.append(find(str(folder), tmp_path, "toy-xs").who.cell)
        assert find(str(folder), tmp_path, "toy-xs").role == "model"
    assert names[0] != names[1]


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("{id}@7", "no checkpoint of step 7"),
        ("nothing-like-it", "no cell 'nothing-like-it'"),
        ("{folder}", "neither a cell, nor a checkpoint, nor a Hugging Face model"),
    ],
)
def test_what_cannot_be_found_is_said(cell: RunDir, tmp_path: Path, word: str, message: str) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=message):
        find(word.format(id=cell.cell()["id"], folder=tmp_path / "empty"), tmp_path)


def test_a_model_without_a_scale_says_what_is_missing(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "model.safetensors").write_bytes(b"w")
    with pytest.raises(UserError, match="with which lengths"):
        find(str(tmp_path), tmp_path)


def test_the_paper_s_evaluation_is_the_paper_s(tmp_path: Path) -> None:
    plan = evaluation_of(find("deepseek-r1-distill-qwen-1.5b", tmp_path))
    stated = {b.name: (b.samples, b.max_length or plan.max_length) for b in plan.benchmarks}
    assert stated == {
        "aime24": (32, 32768),
        "aime25": (32, 32768),
        "hmmt25": (32, 16384),
        "math500": (4, 16384),
        "amc23": (32, 16384),
    }
    assert (plan.temperature, plan.top_p) == (0.6, 0.95)


def test_a_cell_without_a_stated_evaluation_has_that_of_its_training(cell: RunDir, tmp_path: Path) -> None:
    found = find(cell.cell()["id"], tmp_path)
    assert evaluation_of(found) == catalog.preset("toy-pick").evaluation
    without = {n: p.model_copy(update={"evaluation": None}) for n, p in catalog.presets().items()}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(catalog, "presets", lambda: without)
        own = evaluation_of(found)
    assert [(b.name, b.samples) for b in own.benchmarks] == [("pick-val", 1)]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (Changes(benchmarks=["aime42"]), "unknown benchmark 'aime42'"),
        (Changes(temperature=0.0), "greedy decoding gives the same answer"),
        (Changes(benchmarks=["missing.jsonl"]), "benchmark file not found"),
        (Changes(problems=100_000), "100000"),
    ],
)
def test_bad_changes_are_refused(tmp_path: Path, changes: Changes, message: str) -> None:
    with pytest.raises(UserError, match=message):
        tasks(find("toy-xs", tmp_path), changes, "vllm-0")


def test_the_number_format_is_part_of_the_decoding(tmp_path: Path) -> None:
    (task,) = tasks(find("toy-xs", tmp_path), Changes(problems=2), "vllm-0")
    assert task.decoding == Decoding(1.0, 1.0, 6, "vllm-0 float32")


@pytest.mark.parametrize("benchmark", ["pick-val", "words-val", "code-toy-val", "instruct-toy-val"])
def test_fewer_problems_are_the_first_of_more(tmp_path: Path, benchmark: str) -> None:
    """Else a quick look at ten would replace answers of five hundred under the same ids."""
    few, many = (
        tasks(find("toy-xs", tmp_path), Changes(benchmarks=[benchmark], problems=n), "vllm-0")[0].problems
        for n in (5, 400 if benchmark in ("pick-val", "words-val") else 50)
    )
    assert few == many[:5]


def test_engines_as_many_as_gpus_allow() -> None:
    cpu, cuda = catalog.scale("toy-xs"), catalog.scale("deepseek-r1-distill-qwen-1.5b")
    assert engines.engine_count(cpu, 8) == 1
    assert [engines.engine_count(cuda, n) for n in (2, 3, 8)] == [1, 1, 4]  # tensor parallel 2
    with pytest.raises(UserError, match="needs 2 GPUs"):
        engines.engine_count(cuda, 1)


def test_an_engine_is_asked_for_what_the_items_need(tmp_path: Path) -> None:
    problem = Problem("b/0", ({"role": "user", "content": "1+1?"},), "2")
    short, long = (Task("b", (problem,), 1, Decoding(0.6, 0.95, n, "e")) for n in (10, 30))
    setting = engines.Setting("m", catalog.scale("toy-xs"), 16, tmp_path)
    asked = setting.requests([*short.items(), *long.items()], [5, 6])
    assert asked["options"]["max_model_len"] == 46
    assert [(i["id"], i["max_tokens"], i["temperature"], i["top_p"]) for i in asked["items"]] == [
        (5, 10, 0.6, 0.95),
        (6, 30, 0.6, 0.95),
    ]
    assert asked["items"][0]["seed"] != asked["items"][1]["seed"]


class Letters:
    """A tokenizer with a token per character."""

    def apply_chat_template(self, messages: list[dict], **how: bool) -> list[int]:
        assert how == {"add_generation_prompt": True, "tokenize": True, "return_dict": False}
        return [ord(letter) for message in messages for letter in message["content"]]


def test_a_prompt_that_is_too_long_is_named_before_anything_is_sampled() -> None:
    items = [{"problem": f"b, {n}", "messages": [{"content": "x" * n}]} for n in (3, 5)]
    assert vllm_main.tokenized(Letters(), items, 5) == ([[120] * 3, [120] * 5], None)
    _, problem = vllm_main.tokenized(Letters(), items, 4)
    assert problem["error"] == "b, 5: the prompt has 5 tokens, 4 are allowed"
    assert json.dumps(problem)
