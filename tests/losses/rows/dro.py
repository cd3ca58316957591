"""DRO as in verl 0.9.1 (cf. arXiv 2405.19107): its gradient is (Â − β log δ)∇log π, which is no w·Â∇log π."""

from losses.rows import Row


def literal(log_prob, old_log_prob, advantages, mask, *, beta):
    return log_prob * advantages - beta / 2 * (log_prob - old_log_prob) ** 2


ROW = Row(literal=literal, parameters=({"beta": 0.1}, {"beta": 1.0}), worked=())
