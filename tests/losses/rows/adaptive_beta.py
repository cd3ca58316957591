"""Adaptive β at its starting values: CE-GPPO's surrogate (arXiv 2509.20712, Eq. 8) at the centres."""

from losses.rows import Row, cegppo

CENTRES = {"beta1": 0.5, "beta2": 0.5, "epsilon_low": 0.2, "epsilon_high": 0.2, "target": 0.3}
LOPSIDED = {
    **{"beta1": 0.3, "beta2": 0.7, "epsilon_low": 0.1, "epsilon_high": 0.4, "target": 0.25, "band": 0.05},
    **{
        "gain_p": 2.0,
        "gain_i": 0.02,
        "beta1_min": 0.15,
        "beta1_max": 0.9,
        "beta2_min": 0.35,
        "beta2_max": 1.1,
    },
}


def literal(log_prob, old_log_prob, advantages, mask, **given):
    own = {name: given[name] for name in ("beta1", "beta2", "epsilon_low", "epsilon_high")}
    own["dual_clip"] = given.get("dual_clip")
    return cegppo.literal(log_prob, old_log_prob, advantages, mask, **own)


PAPER = {**CENTRES, "beta2": 1.0}

ROW = Row(
    literal=literal,
    parameters=(CENTRES, LOPSIDED, {**LOPSIDED, "dual_clip": 3.0}),
    worked=(
        (0.5, -1.0, 0.40, CENTRES),
        (0.01, -1.0, 0.40, CENTRES),
        (2.0, 1.0, 0.60, CENTRES),
        (5.0, 1.0, 1.20, PAPER),
        (50.0, -1.0, 50.0, PAPER),
        (0.01, 1.0, 0.01, PAPER),
        (11.0, -1.0, 0.0, {**PAPER, "dual_clip": 10.0}),
    ),
    limits=(
        ({**CENTRES, "beta1": 0.0, "beta2": 0.0, "epsilon_high": 0.28}, "PPO-clip", cegppo.ppo_clip),
        ({**CENTRES, "beta1": 1.0, "beta2": 1.0, "epsilon_high": 0.28}, "GPPO", cegppo.gppo),
    ),
)
