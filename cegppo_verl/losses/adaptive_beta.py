"""Adaptive β: CE-GPPO whose β1 and β2 hold the policy's entropy at a target. This project's own.

The weight is CE-GPPO's (cegppo.py). β1 and β2 are set once per training step t from the measured entropy H_t
of the rollout policy, by a proportional-integral law in the logarithm of entropy:

    e_t = log(L / H_t)   H_t < L = H* − band         entropy too low:  e > 0
          0              L ≤ H_t ≤ U                 within the band
          log(U / H_t)   H_t > U = H* + band         entropy too high: e < 0       (|e| ≤ 3)
    v_t = k_p e_t + I_{t−1} + k_i e_t
    u_t = clip(v_t, −1, 1)
    I_t = I_{t−1}             if |v_t| > 1 and v_t e_t > 0    anti-windup: at the limit, and pushed further
          I_{t−1} + k_i e_t   otherwise
    β1 = its centre at u = 0, β1_min at u = +1, β1_max at u = −1, linear between them
    β2 = its centre at u = 0, β2_max at u = +1, β2_min at u = −1, linear between them

    H*, band   entropies, nats per token             k_p, k_i   gains, per nat of log H and per step
    u          one control, +1 = raise entropy       I          integral, |I| ≤ 1 always

The signs are the paper's (arXiv 2509.20712 §3 and §5): entropy falls faster with a larger β1, slower with a
larger β2. The error is logarithmic as entropy decays by factors rather than by amounts (in this project's
three demo runs a straight line fits log H better than H in each), and as gains then mean the same at 1 nat
and at .1. A step without a usable measurement (None, NaN, negative) keeps β1, β2 and the integral.

Stability. Let log H_{t+1} = log H_t − d + g u_t, with drift d and authority g > 0 near the target, both in
nats of log H per step. With y = log(H/H*), unsaturated and band 0, (y_t, I_{t−1}) evolves linearly and has

    z² − (2 − g (k_p + k_i)) z + (1 − g k_p),

whose roots lie inside the unit circle if and only if g k_p > 0, g k_i > 0 and g (2 k_p + k_i) < 4 (Jury).
Then u → d/g and H → H*, which needs |d| < g. If |d| > g no β within the bounds holds the target: u stays at
its limit, the integral stays put, and once the error has turned to −e0 or beyond, u leaves the limit in the
first step and has crossed 0 after at most max(1, ⌈(1 − k_p e0)/(k_i e0)⌉) steps, however long the saturation
was. With g < 0 (the signs wrong for a task) the loop is unstable and u runs into a limit while |e| grows: the
state counts the steps at a limit and says by how much |e| grew over them. With g ≈ 0 (nothing lies outside
the interval, e.g. one update per batch) it does nothing. See reports/adaptive_beta_theory.md.

Nearest to it is EntroPIC (arXiv 2511.15248): a PI law in H itself, clipped to ±1 and without anti-windup in
the authors' code (yk7333/EntroPIC, README), acting on the coefficients of high-probability tokens instead.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cegppo_verl.losses import cegppo, feedback, parameters
from cegppo_verl.losses.control import Observation, State
from cegppo_verl.losses.loss import Loss
from cegppo_verl.losses.parameters import param

ERROR_MAX = 3.0
"""|e| at most: a 20-fold deviation. Keeps e finite at H = 0; u is at its limit long before."""

SOURCE = "ours"
RANGE = "arXiv 2509.20712, Fig. 3: β1 within [0, 1], β2 up to 1; β = 0 is PPO-clip, 1 is GPPO"
MIDDLE = "ours: the middle of the bounds, the same reach both ways (the paper's best are .5 and 1 at 1.5B)"


def _beta(symbol: str, doc: str, default: float, source: str) -> Any:
    why = cegppo.WHY_BETA
    return param(symbol, doc, default=default, source=source, high=cegppo.BETA_MAX, why=lambda _: why)


@dataclass(frozen=True, kw_only=True)
class Params(parameters.Parameters):
    """Hyper-parameters of adaptive β. ``beta1`` and ``beta2`` are the centres, and where a run starts.

    The target has no default: it belongs to the model and the data. Gains: k_p = 4 puts u at its limit when
    entropy is 22 % below or 28 % above its target; the integration time k_p/k_i = 100 steps is a tenth of the
    paper's runs, and the ratio is EntroPIC's (1 : .01). They are stable for every g < .497 and do not
    oscillate for g ≥ .0098; a run of a few dozen steps wants a larger k_i, say 4 k_p over its steps.
    """

    target: float = feedback.target(source="none: .2 in Skywork-OR1, .1 in EntroPIC's script", example=0.3)
    band: float = param(
        "band",
        "half-width of the band around H* within which nothing is corrected; below H*",
        default=0.0,
        source=SOURCE,
        unit="nats per token",
    )
    gain_p: float = param(
        "k_p",
        "proportional gain: control per nat of log entropy",
        default=4.0,
        source=SOURCE,
        open_low=True,
        high=1e3,
    )
    gain_i: float = param(
        "k_i",
        "integral gain: control per nat of log entropy and step; 0 leaves an offset of d/(g k_p)",
        default=0.04,
        source="ours; its ratio to k_p is that of EntroPIC's script (arXiv 2511.15248)",
        high=1e3,
    )
    beta1: float = _beta("β1", "centre of β1, its value at control 0", 0.5, MIDDLE)
    beta2: float = _beta("β2", "centre of β2, its value at control 0", 0.5, MIDDLE)
    beta1_min: float = _beta("β1_min", "β1 when entropy is to rise most", 0.0, RANGE)
    beta1_max: float = _beta("β1_max", "β1 when entropy is to fall most", 1.0, RANGE)
    beta2_min: float = _beta("β2_min", "β2 when entropy is to fall most", 0.0, RANGE)
    beta2_max: float = _beta("β2_max", "β2 when entropy is to rise most", 1.0, RANGE)
    epsilon_low: float = parameters.epsilon_low(0.2, cegppo.SOURCE)
    epsilon_high: float = parameters.epsilon_high(0.2, cegppo.SOURCE)
    dual_clip: float | None = parameters.dual_clip(None, "off, as in CE-GPPO's Eq. 8")

    def check(self) -> None:
        """The band lies above 0; each centre within its bounds; some β can move.

        Raises:
            ValueError: otherwise.
        """
        if self.band >= self.target:
            raise ValueError(
                f"band {self.band:g} must be below the target {self.target:g}: entropy has no 0 to hold"
            )
        for name, low, centre, high in self._ranges():
            if not low <= centre <= high:
                raise ValueError(
                    f"{name} = {centre:g} must lie within [{name}_min, {name}_max] = [{low:g}, {high:g}]"
                )
        if all(low == high for _, low, _, high in self._ranges()):
            raise ValueError(
                "beta1 and beta2 cannot move: their bounds leave no room; cegppo has constant ones"
            )

    def _ranges(self) -> tuple[tuple[str, float, float, float], ...]:
        return (
            ("beta1", self.beta1_min, self.beta1, self.beta1_max),
            ("beta2", self.beta2_min, self.beta2, self.beta2_max),
        )


@dataclass
class Controller:
    """The law in the module's text. State, all plain numbers:

    ``u``, ``integral``, ``error`` (e of the last measurement), ``saturated`` (how many steps running u has
    been at the same limit), ``lost`` (by how much |e| has grown since the first of these: many such steps
    with lost > 0 mean that β cannot hold the target, |d| > g, or works the other way, g < 0), ``held`` (1:
    no usable entropy in this step).
    """

    params: Params
    observes_entropy: bool = True

    def start(self) -> State:
        """β1 and β2 at their centres."""
        return dict.fromkeys(("u", "integral", "error", "saturated", "lost", "held"), 0.0)

    def advance(self, state: State, seen: Observation) -> tuple[State, Mapping[str, float]]:
        """The next state; β1 and β2."""
        if feedback.measured(seen.entropy):
            state = self._react(state, error(seen.entropy, self.params.target, self.params.band))
        else:
            state = {**state, "held": 1.0}
        return state, betas(state["u"], self.params)

    def _react(self, state: State, e: float) -> State:
        integral = state["integral"] + self.params.gain_i * e
        wanted = self.params.gain_p * e + integral
        saturated = abs(wanted) > 1.0
        still = saturated and state["saturated"] > 0 and wanted * state["u"] > 0
        return {
            "u": _clip(wanted, -1.0, 1.0),
            "integral": state["integral"] if _winds_up(wanted, e) else integral,
            "error": e,
            "saturated": state["saturated"] * still + saturated,
            "lost": state["lost"] + abs(e) - abs(state["error"]) if still else 0.0,
            "held": 0.0,
        }


def _winds_up(wanted: float, e: float) -> bool:
    return abs(wanted) > 1.0 and wanted * e > 0.0


def error(entropy: float, target: float, band: float) -> float:
    """e(H) in nats of log entropy, within ±ERROR_MAX; positive when entropy is too low, 0 within the band."""
    edge = _clip(entropy, target - band, target + band)
    if entropy == edge:
        return 0.0
    return ERROR_MAX if entropy == 0.0 else _clip(math.log(edge) - math.log(entropy), -ERROR_MAX, ERROR_MAX)


def betas(u: float, params: Params) -> dict[str, float]:
    """β1 and β2 at a control u in [−1, 1]; exactly the centres at 0 and the bounds at ±1."""
    return {
        "beta1": _between(u, params.beta1_max, params.beta1, params.beta1_min),
        "beta2": _between(u, params.beta2_min, params.beta2, params.beta2_max),
    }


def _between(u: float, at_minus_one: float, centre: float, at_plus_one: float) -> float:
    end = at_plus_one if u > 0 else at_minus_one
    # Clipped since rounding may leave the bounds by one unit in the last place, and Params would refuse it.
    return _clip((1.0 - abs(u)) * centre + abs(u) * end, min(centre, end), max(centre, end))


def _clip(value: float, low: float, high: float) -> float:
    return min(max(value, low), high)


LOSS = Loss(
    params=Params,
    weight=cegppo.weight,
    title="adaptive β",
    summary="CE-GPPO whose β1 and β2 a PI controller moves within bounds to hold policy entropy at a target",
    paper="this project",
    equation="reports/adaptive_beta_theory.md (the weight: arXiv 2509.20712, Eq. 8)",
    positive="δ ≤ 1+ε_high: δ; else β2(u)(1+ε_high)",
    negative="δ ≥ 1−ε_low: δ; else β1(u)(1−ε_low)",
    departures="CE-GPPO has constant β1, β2; here they move once per training step. No slew limit.",
    controller=Controller,
)
