"""A cell as verl overrides: what they say, and that verl itself accepts them."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from hypothesis import given, settings
from hypothesis import strategies as st

from cegppo_verl.experiment import catalog
from cegppo_verl.experiment.algorithms import ACTOR, resolve_params
from cegppo_verl.experiment.cell import Cell
from cegppo_verl.experiment.expand import expand
from cegppo_verl.experiment.grid import load_grid
from cegppo_verl.experiment.hydra_text import hydra_value, override
from cegppo_verl.experiment.overrides import RunPaths, compose_overrides, override_groups, placeholder_paths
from cegppo_verl.experiment.platforms import environment
from cegppo_verl.losses.registry import LOSSES

ABLATIONS = Path(__file__).parents[2] / "ablations"
GPU = "deepseek-r1-distill-qwen-1.5b"
ROLLOUT = "actor_rollout_ref.rollout"


def cell_of(name: str = "demo", index: int = 2, scale: str | None = None) -> Cell:
    return expand(load_grid(ABLATIONS / f"{name}.yaml", scale=scale))[index]


def parsed(lines: list[str]) -> dict[str, Any]:
    found = OverridesParser.create().parse_overrides(lines)
    return {item.input_line.split("=", 1)[0]: item.value() for item in found}


def overrides_of(cell: Cell, **options: Any) -> dict[str, Any]:
    lines = compose_overrides(cell, catalog.scale(cell.scale), placeholder_paths(), **options)
    assert len({line.split("=", 1)[0].lstrip("+") for line in lines}) == len(lines)  # no key twice
    return parsed(lines)


# --- Hydra's grammar

LEAVES = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
ANY_TEXT = st.text(alphabet=st.characters(exclude_categories=("Cc", "Cs", "Zl", "Zp")))
# Few characters, many collisions with Hydra's grammar: found '~' and '²', which need quotes.
PATH_TEXT = st.text(alphabet="aE1_/.~+:@-\\'\"{}[](),=$ ", max_size=6)
VALUES = LEAVES | ANY_TEXT | PATH_TEXT


@settings(max_examples=300, deadline=None)
@given(VALUES | st.lists(VALUES) | st.dictionaries(st.sampled_from(["a", "b_c"]), VALUES))
def test_hydra_reads_back_what_was_written(value: object) -> None:
    (read,) = parsed([override("key", value)]).values()
    assert plain(read) == value
    assert type(plain(read)) is type(value)


def plain(value: Any) -> Any:
    """Hydra keeps quoted text in an object of its own."""
    if isinstance(value, list):
        return [plain(item) for item in value]
    if isinstance(value, dict):
        return {plain(key): plain(item) for key, item in value.items()}
    return value.text if hasattr(value, "text") else value


@pytest.mark.parametrize(
    "text",
    ["a b", "it's", "a=b", "[1]", "{a:1}", "1", "true", "null", "1e-3", "", "a,b", "${x}", "\\", "a\\'", "é"],
)
def test_awkward_text(text: str) -> None:
    assert plain(parsed([override("key", text)])["key"]) == text


def test_common_text_stays_readable() -> None:
    assert override("a.b", "/data/x-1/train.parquet") == "a.b=/data/x-1/train.parquet"
    assert hydra_value({"a": 1.5, "b": [True, None]}) == "{a:1.5,b:[true,null]}"


def test_what_hydra_cannot_say() -> None:
    with pytest.raises(TypeError, match="object"):
        hydra_value(object())


# --- what the overrides say


def test_cegppo_is_told_its_parameters() -> None:
    said, key = overrides_of(cell_of()), f"{ACTOR}.policy_loss"
    assert said[f"{key}.loss_mode"] == "cegppo"
    assert said[f"{key}._target_"] == "cegppo_verl.verl_plugin.config.LossConfig"
    params = {
        name: said[f"+{key}.params.{name}"] for name in ("beta1", "beta2", "epsilon_low", "epsilon_high")
    }
    assert params == {"beta1": 0.5, "beta2": 1.0, "epsilon_low": 0.2, "epsilon_high": 0.2}
    assert said[f"+{key}.params.dual_clip"] is None


@pytest.mark.parametrize(("index", "high"), [(0, 0.2), (1, 0.28)])
def test_baselines_are_verls_vanilla(index: int, high: float) -> None:
    said = overrides_of(cell_of(index=index))
    assert said[f"{ACTOR}.policy_loss.loss_mode"] == "vanilla"
    assert (said[f"{ACTOR}.clip_ratio_low"], said[f"{ACTOR}.clip_ratio_high"]) == (0.2, high)
    assert said[f"{ACTOR}.clip_ratio_c"] == 3.0
    assert not any("beta" in key for key in said)


def cell_with(algorithm: str, **params: Any) -> Cell:
    cell = cell_of()
    return cell.model_copy(update={"algorithm": algorithm, "params": resolve_params(algorithm, params)})


def test_what_is_part_of_a_method_goes_before_the_grids_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = dataclasses.replace(
        LOSSES["cegppo"], loss_agg_mode="seq-mean-token-mean", needs=frozenset({"entropy"})
    )
    assert overrides_of(cell_of())[f"{ACTOR}.loss_agg_mode"] == "token-mean"
    assert overrides_of(cell_of())[f"{ACTOR}.calculate_entropy"] is False
    monkeypatch.setitem(LOSSES, "cegppo", whole)
    said = overrides_of(cell_of())
    assert said[f"{ACTOR}.loss_agg_mode"] == "seq-mean-token-mean"
    assert said[f"{ACTOR}.calculate_entropy"] is True


def test_a_schedule_is_written_with_whole_steps() -> None:
    cell = cell_with("cegppo", beta1={585: 0.5, 1: 0}, beta2=1)
    assert cell.params["beta1"] == {"1": 0.0, "585": 0.5}
    assert overrides_of(cell)[f"+{ACTOR}.policy_loss.params.beta1"] == {1: 0.0, 585: 0.5}


@pytest.mark.parametrize(
    ("table", "meaning"),
    [
        ({1: 0.5}, 0.5),
        ({"01": 0.5, 9: 0.5}, 0.5),
        ({0: 0.0, 1: 0.5, 4: 0.5, 7: 1}, {"1": 0.5, "7": 1.0}),
        ({7: 1.0, 0: 0.5}, {"1": 0.5, "7": 1.0}),
    ],
)
def test_schedules_that_mean_the_same_are_the_same(table: Any, meaning: Any) -> None:
    assert resolve_params("cegppo", {"beta1": table, "beta2": 1.0})["beta1"] == meaning


def test_a_loss_from_a_file_is_named_by_its_full_path(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text(
        "from cegppo_verl.losses.ppo_clip import GRPO\nimport dataclasses\n"
        "LOSS = dataclasses.replace(GRPO, runs=None, verl=None)\n"
    )
    said = overrides_of(cell_with(str(file)))
    assert said[f"{ACTOR}.policy_loss.loss_mode"] == "mine"
    assert said[f"+{ACTOR}.policy_loss.algorithm"] == f"{file}:LOSS"


def test_the_seed_reaches_data_and_sampling() -> None:
    one, two = (overrides_of(expand(load_grid(ABLATIONS / "demo.yaml", seeds=[seed]))[0]) for seed in (1, 2))
    differing = {key for key in one if one[key] != two[key]} - {"trainer.experiment_name"}
    assert differing == {
        "data.seed",
        f"{ROLLOUT}.seed",
        f"{ACTOR}.data_loader_seed",
        f"{ACTOR}.fsdp_config.seed",
    }
    assert two["data.seed"] == two[f"{ROLLOUT}.seed"] == 2


def test_arms_differ_in_the_loss_only() -> None:
    said = [overrides_of(cell_of(index=index)) for index in range(3)]
    for other in said[1:]:
        for key in said[0].keys() | other.keys():
            if said[0].get(key) != other.get(key):
                assert key.lstrip("+").startswith(
                    (f"{ACTOR}.policy_loss", f"{ACTOR}.clip_ratio", "trainer.experiment")
                )


def test_batches_steps_and_evaluation() -> None:
    said = overrides_of(cell_of())
    assert (said["data.train_batch_size"], said[f"{ROLLOUT}.n"], said[f"{ACTOR}.ppo_mini_batch_size"]) == (
        32,
        8,
        8,
    )
    assert said[f"{ACTOR}.ppo_epochs"] == 2
    assert said["trainer.total_training_steps"] == 24
    assert said["trainer.total_epochs"] * (4096 // 32) > 24
    assert (said["trainer.test_freq"], said["trainer.save_freq"]) == (6, 6)
    assert (said[f"{ROLLOUT}.val_kwargs.n"], said[f"{ROLLOUT}.val_kwargs.do_sample"]) == (1, True)
    assert said["trainer.logger"] == ["console", "file"]


def test_a_resumed_run_does_not_evaluate_its_first_step_again() -> None:
    assert overrides_of(cell_of())["trainer.val_before_train"] is True
    assert overrides_of(cell_of(), resuming=True)["trainer.val_before_train"] is False


def test_fp32_on_the_cpu_and_bf16_on_the_gpu() -> None:
    key = f"+{ACTOR}.fsdp_config.mixed_precision"
    assert overrides_of(cell_of())[key]["param_dtype"] == "fp32"
    assert overrides_of(cell_of(scale=GPU))[key]["param_dtype"] == "bf16"


def test_a_kl_term_brings_a_reference_in_the_same_precision() -> None:
    cell = cell_of()
    settings = cell.settings.model_copy(update={"kl_loss_coef": 0.001})
    said = overrides_of(cell.model_copy(update={"settings": settings}))
    assert said[f"{ACTOR}.use_kl_loss"] is True
    assert said["+actor_rollout_ref.ref.fsdp_config.mixed_precision"]["param_dtype"] == "fp32"


def test_greedy_evaluation_does_not_sample() -> None:
    cell = cell_of()
    greedy = cell.settings.eval.model_copy(update={"temperature": 0.0})
    said = overrides_of(
        cell.model_copy(update={"settings": cell.settings.model_copy(update={"eval": greedy})})
    )
    assert said[f"{ROLLOUT}.val_kwargs.do_sample"] is False


def test_paths_with_spaces_and_quotes_survive() -> None:
    paths = RunPaths("/a b/it's", ("/x,y.parquet",), ("/v=1", "/w"), "/r", "/c", "/d", "/s")
    said = parsed(compose_overrides(cell_of(), catalog.scale("toy-s"), paths))
    assert plain(said["actor_rollout_ref.model.path"]) == "/a b/it's"
    assert plain(said["data.train_files"]) == ["/x,y.parquet"]
    assert plain(said["data.val_files"]) == ["/v=1", "/w"]


def test_groups_hold_everything_once() -> None:
    cell, scale = cell_of(), catalog.scale("toy-s")
    groups = override_groups(cell, scale, placeholder_paths())
    first, *_, last = groups
    assert (first, last) == ("algorithm", "platform")
    assert [line for group in groups.values() for line in group] == compose_overrides(
        cell, scale, placeholder_paths()
    )


def test_environment_per_platform() -> None:
    assert environment("cpu")["VERL_PLATFORM"] == "cpu"
    assert "VERL_PLATFORM" not in environment("cuda")
    assert environment("cpu", threads=2)["OMP_NUM_THREADS"] == "2"
    assert "OMP_NUM_THREADS" not in environment("cpu")


# --- the rooms that these names point into


def test_classes_and_files_named_in_overrides_exist() -> None:
    params = resolve_params("cegppo", {"beta1": 0.5, "beta2": 1.0})
    assert vars(LOSSES["cegppo"].params(**params)) == params
    package = Path(__file__).parents[2] / "cegppo_verl"
    assert "class CpuWorkerExtension" in (package / "verl_plugin/cpu/vllm_worker.py").read_text()
    assert "class FastReplayBuffer" in (package / "verl_plugin/replay.py").read_text()
    assert "class LossConfig(" in (package / "verl_plugin/config.py").read_text()


# --- verl itself


def composed(arguments: list[str], platform: Any, stdin: str = "") -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "cegppo_verl.verl_plugin.compose", *arguments]
    surroundings = {**os.environ, **environment(platform)}
    return subprocess.run(command, env=surroundings, input=stdin, capture_output=True, text=True, timeout=300)


@pytest.mark.parametrize("scale", ["toy-s", GPU])
def test_verl_accepts_every_arm_of_the_demo(scale: str) -> None:
    cells, found = expand(load_grid(ABLATIONS / "demo.yaml", scale=scale)), catalog.scale(scale)
    asked = [compose_overrides(cell, found, placeholder_paths()) for cell in cells]
    done = composed(["-"], found.platform, json.dumps(asked))
    assert done.returncode == 0, done.stderr
    configs = json.loads(done.stdout)
    losses = [config["actor_rollout_ref"]["actor"]["policy_loss"] for config in configs]
    assert [loss["loss_mode"] for loss in losses] == ["vanilla", "vanilla", "cegppo"]
    assert losses[2]["params"]["beta1"] == 0.5
    for cell, config in zip(cells, configs, strict=True):
        assert config["trainer"]["device"] == found.platform
        assert config["actor_rollout_ref"]["actor"]["ppo_mini_batch_size"] == cell.settings.mini_batch_size
        assert config["actor_rollout_ref"]["rollout"]["response_length"] == cell.settings.max_response_length
        assert config["trainer"]["total_training_steps"] == cell.settings.total_steps


def test_an_unknown_verl_key_is_one_line_and_exit_code_2() -> None:
    done = composed(["trainer.nnodes=1", "actor_rollout_ref.actor.ppo_mini_batch_sise=8"], "cpu")
    assert done.returncode == 2
    assert done.stdout == ""
    assert (
        "did you mean 'actor_rollout_ref.actor.ppo_mini_batch_size'?" in done.stderr.strip().splitlines()[-1]
    )
