"""BAPO with a controller, as a loss from outside the package, that notes in a file what it is called with.

For test_two_ranks: one loss that needs both of the plugin's mechanisms, the driver's values and the
mini-batch's statistics. Every process writes ``rank<r>.jsonl`` beside this file, which the test copies into
a folder of its own.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from cegppo_verl.losses import bapo
from cegppo_verl.losses.control import Observation, State
from cegppo_verl.losses.loss import Statistics
from cegppo_verl.losses.tokens import Tokens


class Controller:
    """ρ0 follows the entropy of the rollouts, and lies where some mini-batches reach it and others do not."""

    observes_entropy = True

    def __init__(self, params: bapo.Params) -> None:
        self.params = params

    def start(self) -> State:
        return {"steps": 0.0}

    def advance(self, state: State, seen: Observation) -> tuple[State, Mapping[str, float]]:
        assert seen.entropy is not None
        return {"steps": state["steps"] + 1}, {"target": 0.57 + seen.entropy / 1000}


def note(what: str, params: bapo.Params, numbers: list[float]) -> None:
    line = json.dumps({"what": what, "params": params.as_dict(), "numbers": numbers})
    with (Path(__file__).parent / f"rank{torch.distributed.get_rank()}.jsonl").open("a") as file:
        file.write(line + "\n")


def collect(tokens: Tokens, params: bapo.Params) -> Tensor:
    """BAPO's sums, and the number of tokens: no rank's is 0, as its share of the loss may be."""
    sums = torch.cat([bapo.collect(tokens, params), tokens.mask.sum().double()[None]])
    note("collect", params, sums.tolist())
    return sums


def decide(totals: list[float], params: bapo.Params) -> Mapping[str, float]:
    """BAPO's bounds, and in an idle parameter the number of tokens that they were decided from."""
    return {**bapo.decide(totals[:-1], params), "c_high_max": 3.0 + totals[-1] / 1000}


def weight(tokens: Tokens, params: bapo.Params) -> Tensor:
    note("train", params, [float(tokens.mask.sum())])
    assert bapo.LOSS.weight is not None
    return bapo.LOSS.weight(tokens, params)


LOSS = dataclasses.replace(
    bapo.LOSS, weight=weight, statistics=Statistics(collect, decide), controller=Controller
)
