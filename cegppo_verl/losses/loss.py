"""What a policy loss is in this project, apart from its formula: parameters, weight, and what it needs."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from cegppo_verl.losses.parameters import Parameters

if TYPE_CHECKING:
    from torch import Tensor

    from cegppo_verl.losses.control import Controller
    from cegppo_verl.losses.tokens import Tokens


class Interval(NamedTuple):
    """The clip interval [1 − ε_low, 1 + ε_high] by which an update's tokens are counted.

    Args:
        epsilon_low, epsilon_high: distances from 1; numbers. ∞ for a side without an edge.
        dual_clip: c, or None when there is none.
        level: the ratio meant: a token's, or the sequence's length-normalised one exp(mean log δ).
        reference: the method has no such interval; this one is only there to count by.
    """

    epsilon_low: float
    epsilon_high: float
    dual_clip: float | None = None
    level: Literal["token", "sequence"] = "token"
    reference: bool = False


REFERENCE = Interval(0.2, 0.2, reference=True)


def clip_interval(params: Any) -> Interval:
    """The interval of a loss whose parameters are called epsilon_low, epsilon_high and dual_clip."""
    low, high = getattr(params, "epsilon_low", None), getattr(params, "epsilon_high", None)
    if low is None or high is None:
        return REFERENCE
    return Interval(low, high, getattr(params, "dual_clip", None))


class Statistics(NamedTuple):
    """Numbers that a loss needs from the whole mini-batch, i.e. from all micro-batches of all ranks.

    Args:
        collect: sums over some tokens, ``collect(tokens, params)`` → 1-dimensional tensor; whatever way the
            mini-batch is cut, the sums of the parts must add up to the sum of the whole.
        decide: from the totals, as Python floats, to parameter values, ``decide(totals, params)`` → mapping.
    """

    collect: Callable[[Tokens, Any], Tensor]
    decide: Callable[[list[float], Any], Mapping[str, float]]


@dataclass(frozen=True, kw_only=True)
class Loss:
    """A policy loss: everything about it that is not verl's business.

    Args:
        params: its parameters, a subclass of :class:`~cegppo_verl.losses.parameters.Parameters`.
        weight: the gradient weight w, ``weight(tokens, params)`` → (rows, response_length), detached:
            ∇J = E[w·Â·∇log π]. It owns what it returns. None: no closed form (random selection).
        title: its name as papers print it. summary: one sentence. paper: "arXiv 2509.20712".
        equation: where in the paper. positive, negative: w for Â > 0 and Â < 0, in unicode.
        departures: where this differs from the paper or from the authors' code, and which is the default.
        value: the surrogate ℓ whose derivative is w·Â, ``value(tokens, params)``, where ℓ ≠ w·Â and the
            paper states one that is differentiated through the ratio. None: the value logged is w·Â.
        needs: per-token inputs beyond verl's signature: "entropy" (of the current policy), "old_entropy" (of
            the policy that π_old is), both in nats.
        interval: the clip interval, for counting; see :class:`Interval`.
        auxiliary: a further term, ``auxiliary(log_prob, advantages, mask, params)`` → scalar, a mean over the
            micro-batch, differentiated by autograd. Only with reduction="micro-batch".
        reduction: "global" divides by the whole mini-batch, as verl does; "micro-batch" takes the mean of
            each micro-batch and weights it by its share of the sequences.
        group_filter: leave responses out whose advantages are all 0, i.e. the groups without variance: they
            have no gradient anyway, but they count in means.
        statistics: mini-batch statistics that set some of the parameters anew in every update.
        controller: from parameters to the controller that sets some of them anew in every training step.
        runs: name of verl's own policy loss when that is what runs; the weight then only describes it.
        verl: settings of verl's actor that carry the parameters, relative to ``actor_rollout_ref.actor``.
        loss_agg_mode: verl's reduction when it is part of the method; None: the grid's settings say.
        version: raise it when the same parameters give other gradients; it is part of a cell's identity.
    """

    params: type[Parameters]
    weight: Callable[[Tokens, Any], Tensor] | None
    title: str
    summary: str
    paper: str
    equation: str
    positive: str
    negative: str
    departures: str = ""
    value: Callable[[Tokens, Any], Tensor] | None = None
    needs: frozenset[str] = frozenset()
    interval: Callable[[Any], Interval] = clip_interval
    auxiliary: Callable[[Tensor, Tensor, Tensor, Any], Tensor] | None = None
    reduction: Literal["global", "micro-batch"] = "global"
    group_filter: bool = False
    statistics: Statistics | None = None
    controller: Callable[[Any], Controller] | None = None
    runs: str | None = None
    verl: Callable[[Any], Mapping[str, object]] | None = None
    loss_agg_mode: str | None = None
    version: str = "1"

    def bound(self, params: Any) -> Callable[[Tokens], Tensor]:
        """w(tokens) with these parameters."""
        assert self.weight is not None, "this loss has no closed-form weight"
        weight = self.weight
        return lambda tokens: weight(tokens, params)

    def bound_value(self, params: Any) -> Callable[[Tokens], Tensor] | None:
        """ℓ(tokens) with these parameters; None where it is w·Â."""
        value = self.value
        return None if value is None else lambda tokens: value(tokens, params)


def open_side(value: float | None) -> float:
    """A distance from 1 where None means that the side has no edge."""
    return math.inf if value is None else value
