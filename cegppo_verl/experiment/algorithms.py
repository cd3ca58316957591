"""The algorithms a grid may name: their parameters, ranges, and how verl is told.

Names and ranges only; the mathematics is in ``cegppo_verl.losses`` and in verl. Nothing here imports torch.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from cegppo_verl.errors import UserError, did_you_mean
from cegppo_verl.experiment.yaml_file import Document, KeyPath, key_text

Params = dict[str, float | None]

ACTOR = "actor_rollout_ref.actor"


@dataclass(frozen=True)
class Param:
    """One hyper-parameter of a loss.

    Args:
        low: smallest value allowed (exclusive when ``open_low``).
        high: largest value allowed.
        default: None together with ``required`` False means "off".
        nullable: null is a value, meaning "off".
        example: what the fix for a missing value suggests.
        why: what a value outside the range most likely is, with the fix.
    """

    symbol: str
    doc: str
    low: float
    high: float
    default: float | None = None
    required: bool = False
    nullable: bool = False
    example: float = 0.5
    open_low: bool = False
    why: Callable[[float], str] | None = None


@dataclass(frozen=True)
class Algorithm:
    """A policy loss by name."""

    name: str
    summary: str
    paper: str
    params: Mapping[str, Param]
    verl: Callable[[Params], dict[str, object]]


def _why_epsilon(value: float) -> str:
    if value > 2:
        return f"ε is a distance from 1, not a percentage: write {value / 100:g} for {value:g} %"
    if value > 1:
        return f"ε is a distance from 1, not a bound: write {value - 1:.3g} for the bound {value:g}"
    if value > 0.5:
        return "the lower edge 1 - ε must stay above 0; token-level losses use about 0.2"
    if 0 < value < EPSILON_LOWEST:
        return "ε of 1e-4 belongs to sequence-level ratios (GSPO); token-level losses use about 0.2"
    return "token-level losses use about 0.2"


# Below this nearly every token would be clipped. GSPO's 3e-4/4e-4 (arXiv 2507.18071) are for sequence ratios.
EPSILON_LOWEST = 1e-3
# The lower edge 1−ε_low must stay positive.
_LOW = Param(
    "ε_low", "lower distance of the clip interval from 1", EPSILON_LOWEST, 0.999, 0.2, why=_why_epsilon
)
# A wide upper side is a legal ablation (CISPO leaves one side open); two-digit values are percentages.
_HIGH = Param(
    "ε_high", "upper distance of the clip interval from 1", EPSILON_LOWEST, 5.0, 0.2, why=_why_epsilon
)
_DUAL = Param(
    "c",
    "dual clip: tokens with Â<0 and a ratio above c get no gradient",
    low=1.0,
    high=1e12,
    open_low=True,
    why=lambda value: "the dual clip c is a ratio above 1, e.g. 3 (verl's default) or 10 (CE-GPPO's scripts)",
)
# verl 0.9.1, core_algos.compute_policy_loss_vanilla: clip_ratio_c defaults to 3.0 and cannot be switched off.
_VERL_DUAL = replace(_DUAL, default=3.0)


def _beta(symbol: str, side: str, example: float) -> Param:
    return Param(
        symbol,
        f"share of the edge gradient kept for tokens clipped {side}",
        low=0.0,
        high=10.0,  # ours: the paper stays within [0, 1], the lint warns above 1; more is a percentage
        required=True,
        example=example,
        why=lambda value: "β scales the gradient kept outside the interval: 0 is PPO-clip, 1 is GPPO",
    )


def _vanilla(low: float | None, high: float | None, dual_clip: float | None) -> dict[str, object]:
    return {
        f"{ACTOR}.policy_loss.loss_mode": "vanilla",
        f"{ACTOR}.clip_ratio": low,
        f"{ACTOR}.clip_ratio_low": low,
        f"{ACTOR}.clip_ratio_high": high,
        f"{ACTOR}.clip_ratio_c": dual_clip,
    }


def _grpo(params: Params) -> dict[str, object]:
    return _vanilla(params["epsilon"], params["epsilon"], params["dual_clip"])


def _dapo(params: Params) -> dict[str, object]:
    return _vanilla(params["epsilon_low"], params["epsilon_high"], params["dual_clip"])


def _cegppo(params: Params) -> dict[str, object]:
    # "+" appends keys that verl's own PolicyLossConfig does not have.
    return {
        f"{ACTOR}.policy_loss._target_": "cegppo_verl.verl_plugin.config.CEGPPOPolicyLossConfig",
        f"{ACTOR}.policy_loss.loss_mode": "cegppo",
        f"+{ACTOR}.policy_loss.beta1": params["beta1"],
        f"+{ACTOR}.policy_loss.beta2": params["beta2"],
        f"+{ACTOR}.policy_loss.dual_clip": params["dual_clip"],
        f"{ACTOR}.clip_ratio_low": params["epsilon_low"],
        f"{ACTOR}.clip_ratio_high": params["epsilon_high"],
    }


ALGORITHMS: dict[str, Algorithm] = {
    "grpo": Algorithm(
        "grpo",
        "PPO-clip with a symmetric interval and group-relative advantages (verl's vanilla, dual clip 3)",
        "arXiv 2402.03300",
        {
            "epsilon": Param(
                "ε", "distance of both clip edges from 1", EPSILON_LOWEST, 0.999, 0.2, why=_why_epsilon
            )
        }
        | {"dual_clip": _VERL_DUAL},
        _grpo,
    ),
    "dapo": Algorithm(
        "dapo",
        "clip-higher only: PPO-clip with a wider upper side (verl's vanilla), without DAPO's other parts",
        "arXiv 2503.14476",
        # 0.2/0.28: DAPO's paper, and the "DAPO" baseline of CE-GPPO's.
        {"epsilon_low": _LOW, "epsilon_high": replace(_HIGH, default=0.28)} | {"dual_clip": _VERL_DUAL},
        _dapo,
    ),
    "cegppo": Algorithm(
        "cegppo",
        "CE-GPPO: keeps β1 and β2 of the edge gradient of tokens clipped below and above (Eq. 8)",
        "arXiv 2509.20712",
        # β1 and β2 have no default: the released code has four different ones for β1.
        {"beta1": _beta("β1", "below (Â<0)", 0.5), "beta2": _beta("β2", "above (Â>0)", 1.0)}
        | {"epsilon_low": _LOW, "epsilon_high": _HIGH}
        # Off unless asked for; the released scripts use 10, the paper's Eq. 8 has none.
        | {"dual_clip": replace(_DUAL, nullable=True)},
        _cegppo,
    ),
}

# What people write, and what we call it.
_ALGORITHM_ALIASES = {
    "ppo": "PPO-clip on group-relative advantages is 'grpo'",
    "vanilla": "verl's 'vanilla' is 'grpo' here",
    "ce-gppo": "write 'cegppo'",
    "ce_gppo": "write 'cegppo'",
    "clip-higher": "clip-higher is 'dapo'",
    "gppo": "GPPO is 'cegppo' with beta1: 1, beta2: 1, epsilon_low: 0.2, epsilon_high: 0.28",
}
_PARAM_ALIASES = {
    "clip_ratio": "epsilon",
    "clip_ratio_low": "epsilon_low",
    "clip_ratio_high": "epsilon_high",
    "clip_ratio_c": "dual_clip",
    "eps": "epsilon",
    "eps_low": "epsilon_low",
    "eps_high": "epsilon_high",
    "clip_low": "epsilon_low",
    "clip_high": "epsilon_high",
    "b1": "beta1",
    "b2": "beta2",
}


def algorithm(name: str, document: Document | None = None, path: KeyPath = ("algorithm",)) -> Algorithm:
    """The algorithm called ``name``.

    Raises:
        UserError: there is none, with the nearest name.
    """
    if name in ALGORITHMS:
        return ALGORITHMS[name]
    hint = _ALGORITHM_ALIASES.get(name.lower()) or did_you_mean(name.lower(), ALGORITHMS)
    raise _error(f"unknown algorithm '{name}'", hint, document, path)


def resolve_params(
    name: str, given: Mapping[str, object], document: Document | None = None, path: KeyPath = ("params",)
) -> Params:
    """All parameters of an algorithm, in its order: those given, checked, and the defaults of the others.

    Raises:
        UserError: unknown, missing, mistyped or out of range; the key is the parameter's.
    """
    known = algorithm(name, document).params
    for key in given:
        if key not in known:
            raise _error(
                f"'{name}' has no parameter '{key}'", _param_hint(key, known), document, (*path, key)
            )
    return {key: _resolve(param, given, document, (*path, key)) for key, param in known.items()}


def _param_hint(key: str, known: Mapping[str, Param]) -> str:
    alias = _PARAM_ALIASES.get(key, "")
    return f"verl's and others' '{key}' is '{alias}' here" if alias in known else did_you_mean(key, known)


def _resolve(
    param: Param, given: Mapping[str, object], document: Document | None, path: KeyPath
) -> float | None:
    key = str(path[-1])
    if key not in given:
        if param.required:
            hint = (
                f"add '{key}: {param.example}'; {param.symbol} is the {param.doc} and has no agreed default"
            )
            raise _error("this parameter is required", hint, document, path)
        return param.default
    return _checked(param, given[key], document, path)


def _checked(param: Param, value: object, document: Document | None, path: KeyPath) -> float | None:
    key = str(path[-1])
    if value is None and param.nullable:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        shown = "null" if value is None else str(value).lower() if isinstance(value, bool) else repr(value)
        hint = f"write a number without quotes; {param.symbol} is the {param.doc}"
        if key == "dual_clip" and value is None:
            hint = "verl's vanilla loss always has a dual clip; 1e9 makes it do nothing"
        raise _error(f"must be a number, not {shown}", hint, document, path)
    number = float(value) if abs(value) < 1e308 else math.inf
    below = number <= param.low if param.open_low else number < param.low
    if not math.isfinite(number) or below or number > param.high:
        bracket = "(" if param.open_low else "["
        message = f"{param.symbol} = {value:g} is outside {bracket}{param.low:g}, {param.high:g}]"
        raise _error(
            message, param.why(number) if param.why else f"{param.symbol} is the {param.doc}", document, path
        )
    return number


def _error(message: str, hint: str, document: Document | None, path: KeyPath) -> UserError:
    line = document.line(path) if document else None
    file = document.file if document else None
    return UserError(message + (f" (line {line})" if line else ""), file=file, key=key_text(path), hint=hint)
