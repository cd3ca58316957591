"""What a loss gets beyond verl's signature: values per step, entropies, statistics over all ranks."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from omegaconf import OmegaConf
from verl.utils import tensordict_utils as tu
from verl_plugin.adapter_cases import actor, loss_config, tensors
from verl_plugin.side_input_cases import PROBE, Engine, Params, decided, micro_batch, seen, whole

from cegppo_verl.errors import UserError
from cegppo_verl.losses.registry import LOSSES
from cegppo_verl.verl_plugin import context, driver_hooks, policy_loss, worker_hooks
from cegppo_verl.verl_plugin.config import TARGET


@pytest.fixture
def probe(monkeypatch):
    monkeypatch.setitem(LOSSES, "probe", PROBE)
    monkeypatch.setitem(
        policy_loss.core_algos.POLICY_LOSS_REGISTRY, "probe", policy_loss.verl_loss("probe", PROBE)
    )


ALL = [0, 1, 2, 3, 4, 5]


def test_entropies_are_laid_out_like_the_log_probabilities(probe):
    *_, mask = tensors()
    _, log_prob, *_ = (t.detach() for t in tensors())
    side, _ = worker_hooks.with_side_inputs(seen)(actor(policy=loss_config("probe")), *micro_batch(ALL))
    width = side.entropy.shape[1]
    mask, log_prob = mask[:, :width], log_prob[:, :width]
    assert torch.equal(side.entropy[mask], 0.5 + log_prob[mask].abs())
    assert torch.equal(side.old_entropy[mask], 0.25 + log_prob[mask].abs())
    assert context.current() is None  # and gone afterwards


def test_values_arrive_and_set_the_parameters(probe):
    config = actor(policy=loss_config("probe"))
    side, _ = worker_hooks.with_side_inputs(seen)(
        config, *micro_batch(ALL, **{context.VALUES: json.dumps({"level": 2.5})})
    )
    with context.use(side):
        assert policy_loss.params_of("probe", PROBE, config) == Params(level=2.5)
    with context.use(context.Context()):
        assert policy_loss.params_of("probe", PROBE, config) == Params(level=1.0)


def test_an_entropy_coefficient_holds_for_the_call_only(probe):
    config = actor(policy=loss_config("probe"))
    batch = micro_batch(ALL, **{context.VALUES: json.dumps({"entropy_coeff": 0.005})})
    assert worker_hooks.with_side_inputs(seen)(config, *batch)[1] == 0.005
    assert config.entropy_coeff == 0


def test_what_verl_did_not_compute_is_named(probe):
    config = actor(policy=loss_config("probe"))
    model_output, data = micro_batch(ALL)
    with pytest.raises(UserError, match=r"entropy[\s\S]*calculate_entropy=True"):
        worker_hooks.with_side_inputs(seen)(config, {"log_probs": model_output["log_probs"]}, data)
    with pytest.raises(UserError, match=r"'entropy' of the old policy[\s\S]*bypass_mode"):
        worker_hooks.with_side_inputs(seen)(config, model_output, data.exclude("entropy"))


def test_without_the_hooks_such_a_loss_refuses_to_run(probe):
    """Somebody's trainer that verl_plugin/hooks.py does not reach must not train with starting values."""
    with pytest.raises(UserError, match="hooks are not in place"):
        policy_loss.params_of("probe", PROBE, actor(policy=loss_config("probe")))
    scheduled = actor(policy=loss_config("cegppo", beta1={1: 0.0, 5: 0.5}, beta2=1.0))
    with pytest.raises(UserError, match="hooks are not in place"):
        policy_loss.params_of("cegppo", LOSSES["cegppo"], scheduled)


def test_values_that_did_not_arrive_stop_the_run():
    """As under a trainer whose _update_actor is another: a schedule must not stay at its first value."""
    scheduled = actor(policy=loss_config("cegppo", beta1={1: 0.0, 5: 0.5}, beta2=1.0))
    adaptive = actor(policy=loss_config("adaptive_beta", target=0.5))
    for config in (scheduled, adaptive):
        with pytest.raises(UserError, match="did not arrive"):
            worker_hooks.with_side_inputs(seen)(config, *micro_batch(ALL))
    sent = micro_batch(ALL, **{context.VALUES: json.dumps({"beta1": 0.5})})
    assert worker_hooks.with_side_inputs(seen)(scheduled, *sent)[0].values == {"beta1": 0.5}


def test_a_critic_is_none_of_our_business():
    config = SimpleNamespace()  # verl's CriticConfig has no policy_loss
    assert worker_hooks.loss_of(config) is None
    engine = Engine([ALL])
    worker_hooks.with_statistics(Engine.train_batch)(
        engine, tu.get_tensordict({}, {}), partial(seen, config=config)
    )
    assert engine.trained == {}


def test_autocast_around_the_loss_changes_nothing():
    """verl's FSDP engine calls losses inside torch.autocast, which narrows FIPO's scan, a matmul."""
    old, log_prob, advantages, mask = (t.detach() for t in tensors(dtype=torch.float32))
    fipo = policy_loss.core_algos.get_policy_loss_fn("fipo")
    gradients = []
    for enabled in (False, True):
        log_prob = log_prob.clone().requires_grad_()
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            value, _ = fipo(old, log_prob, advantages, mask, "token-mean", actor(policy=loss_config("fipo")))
        gradients.append(torch.autograd.grad(value, log_prob)[0])
    assert torch.equal(*gradients)


def test_verls_modules_are_hooked_when_they_are_imported():
    from verl.trainer.ppo.v1.trainer_base import PPOTrainer
    from verl.workers import engine_workers
    from verl.workers.engine.base import BaseEngine

    hooked = [engine_workers.ppo_loss, BaseEngine.train_batch, PPOTrainer._update_actor]
    hooked += [PPOTrainer._save_checkpoint, PPOTrainer._load_checkpoint]
    assert all(getattr(function, "_cegppo_verl", False) for function in hooked)


# --- statistics of a mini-batch, however it is cut


@pytest.fixture
def alone(monkeypatch):
    monkeypatch.setattr(torch.distributed, "all_reduce", lambda *a, **k: None)


@pytest.mark.parametrize("cuts", [[ALL], [[0, 1], [2, 3, 4, 5]], [[5], [4], [3], [2], [1], [0]]])
def test_statistics_do_not_depend_on_the_micro_batches(probe, alone, cuts):
    assert decided(cuts) == {"other": 1.0, "level": pytest.approx(whole(), rel=1e-12)}


RANK = """
import sys, torch
from cegppo_verl.losses.registry import LOSSES
from verl_plugin.side_input_cases import PROBE, decided
rank, store = int(sys.argv[1]), sys.argv[2]
torch.distributed.init_process_group("gloo", f"file://{store}", rank=rank, world_size=2)
LOSSES["probe"] = PROBE
print("level", decided([[[0, 1, 2]], [[3], [4, 5]]][rank])["level"])
torch.distributed.destroy_process_group()
"""


def test_two_ranks_decide_alike_and_as_one_would(tmp_path):
    command = [sys.executable, "-c", RANK]
    paths = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1]), "GLOO_SOCKET_IFNAME": "lo"}
    ranks = [
        subprocess.Popen(
            [*command, str(rank), str(tmp_path / "store")], env=paths, stdout=subprocess.PIPE, text=True
        )
        for rank in range(2)
    ]
    levels = [float(process.communicate(timeout=120)[0].split("level ")[-1]) for process in ranks]
    assert levels[0] == levels[1] == pytest.approx(whole(), rel=1e-12)


# --- the driver's side


class Counting:
    """A controller that counts its steps and passes the entropy on."""

    observes_entropy = False

    def start(self):
        return {"count": 0.0}

    def advance(self, state, seen):
        return {"count": state["count"] + 1}, {"level": 10.0 * (state["count"] + 1)}


class Trainer:
    """As much of verl's PPOTrainer as the hooks touch."""

    def __init__(self, folder, step=0):
        self.global_steps, self.total_training_steps = step, 9
        policy = {"_target_": TARGET, "loss_mode": "probe", "algorithm": "probe"}
        self.config = OmegaConf.create(
            {
                "actor_rollout_ref": {"actor": {"policy_loss": policy}},
                "trainer": {
                    "default_local_dir": str(folder),
                    "resume_mode": "auto",
                    "resume_from_path": None,
                },
            }
        )

    @driver_hooks.with_update_actor
    def update(self, batch, metrics):
        return json.loads(batch.extra_info.get(context.VALUES, "{}"))

    @driver_hooks.with_save_checkpoint
    def save(self):
        assert (driver_hooks._state_file(self)).exists()  # before verl marks the checkpoint as complete

    @driver_hooks.with_load_checkpoint
    def load(self):
        """verl has set global_steps by now."""

    def step(self):
        self.global_steps += 1
        metrics = {}
        return self.update(SimpleNamespace(extra_info={}), metrics), metrics


@pytest.fixture
def counting(probe, monkeypatch):
    monkeypatch.setitem(LOSSES, "probe", dataclasses.replace(PROBE, controller=lambda params: Counting()))


def test_each_step_gets_its_values_and_logs_them(counting, tmp_path):
    trainer = Trainer(tmp_path)
    assert trainer.step() == (
        {"level": 10.0},
        {"actor/control/level": 10.0, "actor/control/state_count": 1.0},
    )
    assert trainer.step()[0] == {"level": 20.0}


def test_a_step_updated_in_several_parts_advances_once(counting, tmp_path):
    trainer = Trainer(tmp_path)
    trainer.step()
    assert trainer.update(SimpleNamespace(extra_info={}), {}) == {"level": 10.0}


def test_a_resumed_run_goes_on_where_the_checkpoint_was(counting, tmp_path):
    first = Trainer(tmp_path)
    for _ in range(3):
        first.step()
    first.save()
    first.step()  # lost with the process
    resumed = Trainer(tmp_path, step=3)
    resumed.load()
    assert resumed.step() == (
        {"level": 40.0},
        {"actor/control/level": 40.0, "actor/control/state_count": 4.0},
    )


@pytest.mark.parametrize("damage", ["missing", "truncated", "other_step"])
def test_a_checkpoint_without_its_state_is_refused(counting, tmp_path, damage):
    trainer = Trainer(tmp_path)
    trainer.step()
    trainer.save()
    file = tmp_path / "global_step_1" / driver_hooks.STATE_FILE
    if damage == "missing":
        file.unlink()
    else:
        file.write_text(
            file.read_text()[:9]
            if damage == "truncated"
            else file.read_text().replace('"step": 1', '"step": 2')
        )
    with pytest.raises(UserError, match="no usable controller state"):
        Trainer(tmp_path, step=1).load()


def test_a_schedule_needs_no_state_from_a_checkpoint(probe, tmp_path):
    """So Fig. 6 may start from a checkpoint of GRPO."""
    trainer = Trainer(tmp_path, step=3)
    trainer.config.actor_rollout_ref.actor.policy_loss.params = {"level": {1: 1.0, 4: 2.0}}
    trainer.load()
    assert trainer.step()[0] == {"level": 2.0}


def test_a_checkpoint_from_before_the_first_update_can_be_resumed(counting, tmp_path):
    """With a critic's warm-up verl saves steps in which the actor was not updated."""
    trainer = Trainer(tmp_path, step=10)
    trainer.save()
    resumed = Trainer(tmp_path, step=10)
    resumed.load()
    assert resumed.step()[0] == {"level": 10.0}


def test_a_fixed_loss_writes_no_state_and_sends_nothing(probe, tmp_path, monkeypatch):
    trainer = Trainer(tmp_path)
    assert trainer.step() == ({}, {})
    driver_hooks.with_save_checkpoint(lambda self: None)(trainer)
    assert list(tmp_path.iterdir()) == []
