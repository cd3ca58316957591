"""Losses in files, and the command on them."""

from typer.testing import CliRunner

from cegppo_verl import cli

CLIPPED = """
import torch

def literal(log_prob, old_log_prob, advantages, mask, *, epsilon=0.2):
    ratio = (log_prob - old_log_prob).exp()
    return torch.min(ratio * advantages, ratio.clamp(1 - epsilon, 1 + epsilon) * advantages)

def clipped(old_log_prob, log_prob, advantages, mask, *, epsilon=0.2):
    padding = ~mask.bool()
    clean = (t.masked_fill(padding, 0.0) for t in (log_prob, old_log_prob, advantages))
    log_prob, old_log_prob, advantages = (t.float() if t.dtype == torch.bfloat16 else t for t in clean)
    ratio = (log_prob - old_log_prob).clamp(-20, 20).exp()
    return -torch.min(ratio * advantages, ratio.clamp(1 - epsilon, 1 + epsilon) * advantages)
"""
CUBED = CLIPPED.replace("    return -torch.min(", "    advantages = advantages**3\n    return -torch.min(")
LINEAR = 'CONTRACT_EXCEPTIONS = {"linear in Â": "Â³ on purpose"}'
CUBED_REASONS = """
CONTRACT_EXCEPTIONS = {"linear in Â": "Â³ on purpose", "gradient as printed": "trust me", "on-policy": "too",
                       "value as printed": "and here"}
"""


def write(tmp_path, text, name="mine.py"):
    (tmp_path / name).write_text(text)
    return name


def ran(*words):
    return CliRunner().invoke(cli.app, ["check-loss", *words])
