"""Which change of a setting wins, what follows from it, and where a mistake in it is said to be."""

from __future__ import annotations

from pathlib import Path

import pytest
from experiment.gridfile import cells, load

from cegppo_verl.errors import UserError
from cegppo_verl.experiment.cell import Cell
from cegppo_verl.experiment.expand import expand
from cegppo_verl.experiment.fractions_of_training import in_steps
from cegppo_verl.experiment.settings import Settings

GRPO = "arms:\n- {name: a, algorithm: grpo}\n"
TWO = GRPO + "- {name: b, algorithm: grpo, settings: {total_steps: 7}}\n"
PAPER = "deepseek-r1-distill-qwen-1.5b"


def settings(folder: Path, body: str, scale: str | None = None) -> list[Settings]:
    return [cell.settings for cell in cells(folder, body, scale)]


def test_the_arm_is_stronger_than_the_scale_and_the_scale_than_the_grid(tmp_path: Path) -> None:
    body = TWO + "settings: {total_steps: 5, warmup_steps: 1}\nsettings_by_scale: {toy-s: {total_steps: 6}}\n"
    assert [found.total_steps for found in settings(tmp_path, body)] == [6, 7]
    assert [found.total_steps for found in settings(tmp_path, body, "toy-xs")] == [5, 7]
    assert {found.warmup_steps for found in settings(tmp_path, body)} == {1}


def test_an_arms_settings_are_part_of_its_identity(tmp_path: Path) -> None:
    first, second = cells(tmp_path, TWO)
    alone = cells(tmp_path, GRPO + "settings: {total_steps: 7}\n")[0]
    assert first.id != second.id == alone.id


def test_checkpoints_do_not_tell_two_arms_apart(tmp_path: Path) -> None:
    body = GRPO + "- {name: b, algorithm: grpo, settings: {checkpoint: {every: 3}}}\n"
    with pytest.raises(UserError, match="'b' is the same run as 'a'"):
        load(tmp_path, body)


def batch(cell: Cell) -> tuple[int, int | None, int]:
    found = cell.settings
    return found.mini_batch_size, found.micro_batch_size, found.updates_per_step


# toy-pick: 32 prompts x 8 rollouts, 2 epochs, mini-batch 8 prompts, micro-batch 64 sequences
UPDATES = {
    "as the preset": ("settings: {updates_per_step: 8}", (8, 64, 8)),
    "the micro-batch follows": ("settings: {updates_per_step: 64}", (1, 8, 64)),
    "one epoch": ("settings: {updates_per_step: 8, ppo_epochs: 1}", (4, 32, 8)),
    "one update": ("settings: {updates_per_step: 1, ppo_epochs: 1}", (32, 64, 1)),
    "another batch": ("settings: {updates_per_step: 8, train_batch_size: 64}", (16, 64, 8)),
    "a micro-batch beside it stays": ("settings: {updates_per_step: 16, micro_batch_size: 4}", (4, 4, 16)),
    "a stronger mini-batch size": (
        "settings: {updates_per_step: 64}\nsettings_by_scale: {toy-s: {mini_batch_size: 16}}",
        (16, 64, 4),
    ),
    "stronger updates": (
        "settings: {mini_batch_size: 16}\nsettings_by_scale: {toy-s: {updates_per_step: 4}}",
        (16, 64, 4),
    ),
    "epochs from elsewhere": (
        "settings: {updates_per_step: 8}\nsettings_by_scale: {toy-s: {ppo_epochs: 4}}",
        (16, 64, 8),
    ),
}


@pytest.mark.parametrize(("body", "expected"), UPDATES.values(), ids=list(UPDATES))
def test_updates_per_step(tmp_path: Path, body: str, expected: tuple[int, int, int]) -> None:
    assert batch(cells(tmp_path, f"{GRPO}{body}\n")[0]) == expected


def test_updates_are_the_same_run_as_the_mini_batch_size_they_give(tmp_path: Path) -> None:
    written = cells(tmp_path, GRPO + "settings: {mini_batch_size: 4, micro_batch_size: 32}\n")[0]
    assert cells(tmp_path, GRPO + "settings: {updates_per_step: 16}\n")[0].id == written.id


def test_packing_by_tokens_stays(tmp_path: Path) -> None:
    assert batch(cells(tmp_path, GRPO + "settings: {updates_per_step: 4}\n", PAPER)[0]) == (32, None, 4)


# Which layer a mistake is in: the strongest that gives the key, and the grid's settings when none does.
# Per key the changes of the grid and those for the scale.
PLACES = {
    "settings.grad_clip": ("{grad_clip: -1}", "{warmup_steps: 1}"),
    "settings_by_scale.toy-s.grad_clip": ("{grad_clip: 1.0}", "{grad_clip: -1}"),
    "settings_by_scale.toy-s.eval.every": ("{eval: {temperature: 1}}", "{eval: {every: 0}}"),
    "settings.eval.temperature": ("{eval: {temperature: 99}}", "{eval: {every: 2}}"),
    "settings.micro_batch_size": ("{mini_batch_size: 1}", "{}"),
}


@pytest.mark.parametrize(("key", "changes"), PLACES.items(), ids=list(PLACES))
def test_a_mistake_is_where_it_was_written(tmp_path: Path, key: str, changes: tuple[str, str]) -> None:
    body = f"settings: {changes[0]}\nsettings_by_scale: {{toy-s: {changes[1]}}}\n"
    with pytest.raises(UserError) as caught:
        load(tmp_path, GRPO + body)
    assert caught.value.key == key
    assert caught.value.hint
    assert caught.value.file == tmp_path / "test.yaml"


def test_a_schedule_in_shares_has_the_scales_own_steps(tmp_path: Path) -> None:
    body = "arms:\n- {name: a, algorithm: cegppo, params: {beta1: {0%: 0, 58.5%: 0.5}, beta2: 1}}\n"
    assert cells(tmp_path, body)[0].params["beta1"] == {"1": 0.0, "15": 0.5}
    assert cells(tmp_path, body, PAPER)[0].params["beta1"] == {"1": 0.0, "585": 0.5}
    written = body.replace("0%: 0, 58.5%", "1: 0, 15")
    assert cells(tmp_path, body)[0].id == cells(tmp_path, written)[0].id


@pytest.mark.parametrize(
    ("share", "total", "step"),
    [
        ("0%", 24, 1),
        ("50%", 24, 12),
        ("50%", 25, 13),
        ("58.5%", 1000, 585),
        ("100%", 24, 24),
        ("0.1%", 24, 1),
    ],
)
def test_a_share_is_the_first_step_that_has_it(share: str, total: int, step: int) -> None:
    assert in_steps({share: 1.0}, total, None, ("params", "beta1")) == {str(step): 1.0}


def test_arms_may_be_twins_at_one_scale_only(tmp_path: Path) -> None:
    body = """arms:
- {name: a, algorithm: cegppo, params: {beta1: {0%: 0, 50%: 1}, beta2: 1}}
- {name: b, algorithm: cegppo, params: {beta1: {0%: 0, 49%: 1}, beta2: 1}}
"""
    with pytest.raises(UserError, match="'b' is the same run as 'a' at scale toy-s"):
        load(tmp_path, body)
    assert len(cells(tmp_path, body, PAPER)) == 2


def test_two_scales_of_one_grid_have_their_own_steps(tmp_path: Path) -> None:
    body = "arms:\n- {name: a, algorithm: cegppo, params: {beta1: {0%: 0, 50%: 0.5}, beta2: 1}}\n"
    both = load(tmp_path, body).model_copy(update={"scales": ["toy-s", PAPER]})
    assert [list(cell.params["beta1"] or {}) for cell in expand(both)] == [["1", "12"], ["1", "500"]]
