"""DPPO-Binary-KL, arXiv 2602.04879, Eq. 12 and 14."""

from losses.rows import Row
from losses.rows.dppo_tv import at, masked

PAPER = {"kl_low": 0.05, "kl_high": 0.05, "truncation": 1e4}
LOPSIDED = {"kl_low": 0.001, "kl_high": 0.004, "truncation": 1.5}


def literal(log_prob, old_log_prob, advantages, mask, *, kl_low, kl_high, truncation):
    new, old = log_prob.detach().exp(), old_log_prob.exp()
    other = (1 - old) * ((1 - old + 1e-8) / (1 - new + 1e-8)).log()
    divergence = old * (old_log_prob - log_prob.detach()) + other
    rises = (divergence > kl_high) & (new > old) & (advantages > 0)
    falls = (divergence > kl_low) & (new < old) & (advantages < 0)
    return masked(log_prob, old_log_prob, advantages, rises | falls, truncation)


ROW = Row(
    literal=literal,
    parameters=(PAPER, LOPSIDED),
    worked=(
        (100.0, 1.0, 100.0, at(1e-5, PAPER)),  # 1e-5 ln .01 + ln(.99999/.999) = .00094
        (1.2, 1.0, 1.2, at(0.5, PAPER)),  # .5 ln(.5/.6) + .5 ln(.5/.4) = .0204
        (1.4, 1.0, 0.0, at(0.5, PAPER)),  # .5 ln(.5/.7) + .5 ln(.5/.3) = .0872
        (1.4, -1.0, 1.4, at(0.5, PAPER)),
        (0.8, -1.0, 0.8, at(0.5, PAPER)),  # .0204, mirrored
        (0.6, -1.0, 0.0, at(0.5, PAPER)),  # .0872, mirrored
        (0.6, 1.0, 0.6, at(0.5, PAPER)),
        (1.2, 1.0, 0.0, at(0.5, LOPSIDED)),
        (2.0, 1.0, 1.5, at(0.005, LOPSIDED)),  # .005 ln .5 + .995 ln(.995/.99) = .0015 < .004, truncated
    ),
)
