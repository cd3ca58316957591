"""CISPO, arXiv 2506.13585, Eq. 4 and 5."""

from losses.rows import Row

OPEN = {"epsilon_low": None, "epsilon_high": 0.2}  # the paper's open lower side
CLOSED = {"epsilon_low": 0.2, "epsilon_high": 0.2}  # arXiv 2509.20712, Table 2


def literal(log_prob, old_log_prob, advantages, mask, *, epsilon_high, epsilon_low=None):
    ratio = (log_prob - old_log_prob).exp().detach()
    low = 0.0 if epsilon_low is None else 1 - epsilon_low
    return ratio.clamp(low, 1 + epsilon_high) * advantages * log_prob


def capped(ratio, advantages):
    return ratio.clamp(max=1.5)


ROW = Row(
    literal=literal,
    parameters=(OPEN, CLOSED, {"epsilon_low": 0.1, "epsilon_high": 0.4}),
    worked=(
        (5.0, 1.0, 1.2, OPEN),
        (5.0, -1.0, 1.2, OPEN),
        (0.01, 1.0, 0.01, OPEN),
        (0.01, -1.0, 0.01, OPEN),
        (0.01, 1.0, 0.8, CLOSED),
        (0.01, -1.0, 0.8, CLOSED),
        (1.1, -1.0, 1.1, CLOSED),
    ),
    limits=(({"epsilon_high": 0.5}, "REINFORCE with min(δ, 1.5)", capped),),
)
