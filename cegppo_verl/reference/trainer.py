"""One training step: roll out, decide what varies, update the policy mini-batch by mini-batch."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from cegppo_verl.experiment.settings import Settings
from cegppo_verl.losses import schedule, weighted
from cegppo_verl.losses.control import Controller, Observation, State
from cegppo_verl.losses.loss import Loss
from cegppo_verl.losses.parameters import from_values
from cegppo_verl.reference import data
from cegppo_verl.reference.data import Problem
from cegppo_verl.reference.objective import Batch, Objective
from cegppo_verl.reference.past import Past
from cegppo_verl.reference.reduction import reduce_rows
from cegppo_verl.reference.rollout import Decoding, Responses, graded, group_advantages, respond
from cegppo_verl.toy.model import EOS_ID, Parameters

Metrics = dict[str, float]


@dataclass
class Trainer:
    """A policy in training; verl's settings, names of metrics and order of things.

    Args:
        weights: trained in place. given: the loss's parameters, schedules included. seed: draws the rollouts.
    """

    weights: Parameters
    settings: Settings
    loss: Loss
    given: dict[str, Any]
    seed: int
    objective: Objective = field(init=False)
    optimiser: torch.optim.Optimizer = field(init=False)
    controller: Controller | None = field(init=False)
    state: State = field(init=False)

    def __post_init__(self) -> None:
        settings = self.settings
        self.optimiser = torch.optim.AdamW(
            self.weights.values(), lr=settings.learning_rate, weight_decay=settings.weight_decay, fused=True
        )
        params = from_values(self.loss.params, schedule.starting_values(self.given))
        mode = self.loss.loss_agg_mode or settings.loss_agg_mode
        self.objective = Objective(
            self.loss, params, mode, settings.entropy_coeff, settings.max_response_length
        )
        self.controller = schedule.controller_of(self.loss, self.given)
        self.state = {} if self.controller is None else self.controller.start()

    def step(self, number: int, problems: Sequence[Problem]) -> Metrics:
        """Train on one batch of problems; ``number`` counts from 1. Returns what verl would log of it."""
        settings, started = self.settings, time.monotonic()
        how = Decoding(settings.rollouts_per_prompt, settings.temperature, settings.max_response_length)
        responses = respond(
            self.weights, data.encode(problems), how, data.source("rollouts", self.seed, number)
        )
        scores = torch.tensor([float(verdict.correct) for verdict in graded(problems, responses)])
        batch = self._batch(responses, scores)
        sampled = time.monotonic()
        values = self._decide(number, batch)
        updates = self._update(responses.prompts, batch, self.objective.with_values(values))
        ended = time.monotonic()
        return {
            **self._rollout_metrics(responses, scores, batch),
            **{f"actor/control/{name}": value for name, value in self._control(values, batch).items()},
            **updates,
            "actor/lr": settings.learning_rate,
            "training/global_step": number,
            "timing_s/gen": sampled - started,
            "timing_s/update_actor": ended - sampled,
            "timing_s/step": ended - started,
        }

    def _batch(self, responses: Responses, scores: Tensor) -> Batch:
        worth = group_advantages(scores, self.settings.rollouts_per_prompt, self.settings.norm_adv_by_std)
        spread = worth[:, None].expand_as(responses.log_prob).contiguous()
        return Batch(responses.ids, responses.mask, responses.log_prob, responses.entropy, spread)

    # --- parameters that vary

    def _decide(self, number: int, batch: Batch) -> dict[str, float]:
        if self.controller is None:
            return {}
        seen = Observation(number, self.settings.total_steps, _token_mean(batch.old_entropy, batch.mask))
        self.state, values = self.controller.advance(self.state, seen)
        return dict(values)

    def _control(self, values: dict[str, float], batch: Batch) -> Metrics:
        if self.controller is None:
            return {}
        state = {f"state_{name}": value for name, value in self.state.items()}
        observed = self.controller.observes_entropy
        entropy = {"observed_entropy": _token_mean(batch.old_entropy, batch.mask)} if observed else {}
        return entropy | state | values

    # --- updates

    def _update(self, prompts: Tensor, batch: Batch, objective: Objective) -> Metrics:
        logs = [
            self._mini_batch(prompts[chosen], batch.rows(rows), objective)
            for _ in range(self.settings.ppo_epochs)
            for chosen, rows in self._mini_batches()
        ]
        # As verl reduces them: the mean over mini-batches and epochs.
        return {name: sum(log[name] for log in logs) / len(logs) for name in logs[0]}

    def _mini_batches(self) -> Iterator[tuple[slice, slice]]:
        """Prompts and their responses, in the order of the rollouts, as verl takes them."""
        size, n = self.settings.mini_batch_size, self.settings.rollouts_per_prompt
        for at in range(0, self.settings.train_batch_size, size):
            yield slice(at, at + size), slice(at * n, (at + size) * n)

    def _mini_batch(self, prompts: Tensor, whole: Batch, objective: Objective) -> Metrics:
        decided = self._statistics(prompts, whole, objective)
        objective = objective.with_values(decided)
        self.optimiser.zero_grad(set_to_none=True)
        total = 0.0
        sums: dict[str, float] = {}
        for chosen, rows in self._micro_batches(len(prompts)):
            part = whole.rows(rows)
            log_prob, entropy = self._policy(prompts[chosen], part.ids)
            loss, counts = objective(part, whole, log_prob, entropy)
            loss.backward()
            total += loss.item()
            sums = {name: sums.get(name, 0.0) + float(count) for name, count in counts.items()}
        norm = torch.nn.utils.clip_grad_norm_(self.weights.values(), self.settings.grad_clip).item()
        if torch.isfinite(torch.tensor(norm)):  # as verl: a step that is not finite is left out
            self.optimiser.step()
        control = {f"actor/control/{name}": value for name, value in decided.items()}
        return {"actor/loss": total, "actor/grad_norm": norm} | _anatomy(sums) | control

    def _micro_batches(self, prompts: int) -> Iterator[tuple[slice, slice]]:
        """Whole groups, so that a prompt is read once; the settings' size counts responses."""
        n = self.settings.rollouts_per_prompt
        size = max(1, (self.settings.micro_batch_size or prompts * n) // n)
        for at in range(0, prompts, size):
            yield slice(at, at + size), slice(at * n, (at + size) * n)

    def _policy(self, prompts: Tensor, ids: Tensor) -> tuple[Tensor, Tensor]:
        """log π_θ of the responses' tokens and the entropy at each, nats, (prompts × n, width)."""
        n = len(ids) // len(prompts)
        shared = Past()
        first = shared.read(self.weights, prompts)[:, -1:].repeat_interleave(n, 0)
        later = shared.repeated(n).read(self.weights, ids[:, :-1]) if ids.shape[1] > 1 else first[:, :0]
        logits = torch.cat([first, later], 1) / self.settings.temperature
        log_probs = logits.log_softmax(-1)
        return log_probs.gather(2, ids[..., None])[..., 0], -(log_probs.exp() * log_probs).sum(-1)

    @torch.no_grad()
    def _statistics(self, prompts: Tensor, whole: Batch, objective: Objective) -> dict[str, float]:
        """What the loss decides anew from the whole mini-batch before it trains on it."""
        statistics = objective.loss.statistics
        if statistics is None:
            return {}
        log_prob, _ = self._policy(prompts, whole.ids)
        blocks = weighted.blocks(whole.old_log_prob, log_prob, whole.advantages, whole.mask)
        sums = torch.stack([statistics.collect(tokens, objective.params).double() for tokens in blocks])
        return dict(statistics.decide(sums.sum(0).tolist(), objective.params))

    # --- what is logged

    def _rollout_metrics(self, responses: Responses, scores: Tensor, batch: Batch) -> Metrics:
        lengths = responses.lengths.float()
        tokens, longest = responses.lengths, self.settings.max_response_length
        entropy = reduce_rows(
            (batch.old_entropy * batch.mask).sum(-1), tokens, tokens, self.objective.mode, longest
        )
        ended = (responses.ids == EOS_ID).any(-1)
        return {
            "actor/entropy": entropy.item(),
            "critic/score/mean": scores.mean().item(),
            "critic/score/max": scores.max().item(),
            "critic/score/min": scores.min().item(),
            "response_length/mean": lengths.mean().item(),
            "response_length/max": lengths.max().item(),
            "response_length/min": lengths.min().item(),
            "response_length/clip_ratio": (~ended & (tokens == longest)).float().mean().item(),
            "prompt_length/mean": float(responses.prompts.shape[1]),
        }


def _token_mean(values: Tensor, mask: Tensor) -> float:
    return (values.double() * mask).sum().item() / int(mask.sum())


def _anatomy(sums: dict[str, float]) -> Metrics:
    """The counts of a mini-batch, and verl's three metrics of ``vanilla`` from them."""
    tokens = max(sums["tokens"], 1.0)
    clip = {
        "actor/pg_clipfrac": (sums["neg_below"] + sums["pos_above"]) / tokens,
        "actor/ppo_kl": sums["k1"] / tokens,
        "actor/pg_clipfrac_lower": sums.get("dual_clipped", 0.0) / tokens,
    }
    return clip | {f"actor/anatomy/{name}": total for name, total in sums.items()}


def log_line(step: int, metrics: Metrics) -> str:
    """A line of verl's file logger."""
    return json.dumps({"step": step, "data": metrics}) + "\n"
