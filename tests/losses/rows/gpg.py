"""GPG, arXiv 2504.02546: the plain policy gradient."""

from losses.rows import Row


def literal(log_prob, old_log_prob, advantages, mask):
    return log_prob * advantages


ROW = Row(
    literal=literal,
    parameters=({},),
    worked=((0.01, 1.0, 1.0, {}), (100.0, 1.0, 1.0, {}), (0.01, -1.0, 1.0, {}), (100.0, -1.0, 1.0, {})),
)
