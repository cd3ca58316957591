"""VESPO, arXiv 2602.10693: φ(W) on the product of the ratios of a response, as in the authors' code."""

import torch
from losses.rows import Row

PAPER = {"k_pos": 2.0, "lambda_pos": 3.0, "k_neg": 3.0, "lambda_neg": 2.0}
LOPSIDED = {"k_pos": 0.5, "lambda_pos": 1.2, "k_neg": 1.7, "lambda_neg": 0.4}


def literal(log_prob, old_log_prob, advantages, mask, *, k_pos, lambda_pos, k_neg, lambda_neg):
    log_ratio = torch.where(mask.bool(), log_prob - old_log_prob, torch.zeros_like(log_prob))
    sequence = log_ratio.sum(-1, keepdim=True).clamp(-20, 20).exp()
    positive = sequence**k_pos * torch.exp(lambda_pos * (1 - sequence))
    negative = sequence**k_neg * torch.exp(lambda_neg * (1 - sequence))
    return torch.where(advantages < 0, negative, positive).detach() * advantages * log_prob


def reinforce(ratio, advantages):
    return torch.ones_like(ratio)


ROW = Row(
    literal=literal,
    parameters=(PAPER, LOPSIDED),
    worked=(
        (1.0, 1.0, 1.0, PAPER),
        (1.0, -1.0, 1.0, LOPSIDED),
        (2.0, 1.0, 0.1991483, PAPER),  # 4·e^−3
        (0.5, 1.0, 1.1204223, PAPER),  # e^1.5/4
        (2.0, -1.0, 1.0826823, PAPER),  # 8·e^−2
        (0.5, -1.0, 0.3397852, PAPER),  # e/8
        (4.0, -1.0, 3.179425, LOPSIDED),  # 4^1.7·e^−1.2
    ),
    limits=(({"k_pos": 0.0, "lambda_pos": 0.0, "k_neg": 0.0, "lambda_neg": 0.0}, "REINFORCE", reinforce),),
)
