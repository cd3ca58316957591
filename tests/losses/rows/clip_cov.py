"""Clip-Cov, arXiv 2505.22617: tokens are drawn at random, so there is no closed form to compare with."""

from losses.rows import Row

PAPER = {"clip_cov_ratio": 2e-4, "cov_low": 1.0, "cov_high": 5.0, "epsilon_low": 1.0, "epsilon_high": 1.0}
MANY = {"clip_cov_ratio": 0.1, "cov_low": 0.1, "cov_high": 2.0, "epsilon_low": 0.2, "epsilon_high": 0.3}

ROW = Row(literal=None, parameters=(PAPER, MANY), worked=())
