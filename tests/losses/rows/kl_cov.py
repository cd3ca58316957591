"""KL-Cov, arXiv 2505.22617: tokens are chosen by rank, so no token has a weight of its own."""

from losses.rows import Row

PAPER = {"kl_cov_ratio": 2e-3, "coefficient": 1.0}

ROW = Row(literal=None, parameters=(PAPER, {"kl_cov_ratio": 0.1, "coefficient": 0.5}), worked=())
