"""A loss that needs everything, micro-batches as verl hands them over, an engine: for test_side_inputs."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import partial

import torch
from verl.utils import tensordict_utils as tu
from verl_plugin.adapter_cases import actor, loss_config, tensors

from cegppo_verl.losses import parameters
from cegppo_verl.losses.loss import Loss, Statistics
from cegppo_verl.losses.parameters import param
from cegppo_verl.verl_plugin import context, worker_hooks


@dataclass(frozen=True, kw_only=True)
class Params(parameters.Parameters):
    """A level that the mini-batch decides."""

    level: float = param("l", "weight of every token", default=1.0)
    other: float = param("o", "a value from the driver, which the statistics leave alone", default=0.0)


PROBE = Loss(
    params=Params,
    weight=lambda tokens, params: tokens.entropy * params.level + tokens.old_entropy,
    title="probe",
    summary="a test's own",
    paper="-",
    equation="-",
    positive="H·l + H_old",
    negative="H·l + H_old",
    needs=frozenset({"entropy", "old_entropy"}),
    statistics=Statistics(
        collect=lambda tokens, params: torch.stack([tokens.mask.sum(), (tokens.ratio * tokens.mask).sum()]),
        decide=lambda totals, params: {"level": totals[1] / totals[0]},
    ),
)


def jagged(rows):
    return torch.nested.as_nested_tensor(list(rows), layout=torch.jagged)


def micro_batch(rows, **non_tensor):
    """What verl's ppo_loss gets for some rows: the model's output and the data; prompts one token long."""
    old, log_prob, advantages, mask = (t.detach() for t in tensors())
    lengths = mask[rows].sum(-1).tolist()
    entropy, old_entropy = (0.5 + log_prob.abs()), (0.25 + log_prob.abs())

    def cut(t):
        return jagged(row[:n] for row, n in zip(t[rows], lengths, strict=True))

    def shifted(t):  # [prompt, response], shifted left by one
        return jagged(torch.cat([row[:n], row[:1]]) for row, n in zip(t[rows], lengths, strict=True))

    fields = {
        "old_log_probs": cut(old),
        "advantages": cut(advantages),
        "response_mask": cut(mask.double()),
        "entropy": cut(old_entropy),
        "responses": cut(mask.long()),
        "prompts": jagged(torch.ones(len(lengths), 1, dtype=torch.long)),
    }
    data = tu.get_tensordict(fields, {"dp_size": 1, "batch_num_tokens": int(mask.sum()), **non_tensor})
    return {"log_probs": shifted(log_prob), "entropy": shifted(entropy)}, data


def seen(config, model_output, data, dp_group=None):
    """Stands in for verl's ppo_loss: the context and the entropy coefficient that a loss would see."""
    return context.current(), config.entropy_coeff


class Engine:
    """An engine that forwards given micro-batches and knows its data-parallel group."""

    def __init__(self, cuts):
        self.cuts, self.trained = cuts, None

    def infer_batch(self, data, loss_function):
        for rows in self.cuts:
            loss_function(*micro_batch(rows))

    def get_data_parallel_group(self):
        return None

    def train_batch(self, data, loss_function):
        self.trained = json.loads(tu.get_non_tensor_data(data, key=context.VALUES, default="{}"))


def decided(cuts):
    engine, config = Engine(cuts), actor(policy=loss_config("probe"))
    data = tu.get_tensordict({"x": torch.zeros(1)}, {context.VALUES: json.dumps({"other": 1.0})})
    worker_hooks.with_statistics(Engine.train_batch)(engine, data, partial(seen, config=config))
    return engine.trained


def whole():
    old, log_prob, _, mask = tensors()
    return ((log_prob - old).detach().exp() * mask).sum().item() / mask.sum().item()
