"""verl's ``loss_agg_mode``: from a loss per token to one number, for one process."""

from __future__ import annotations

from torch import Tensor


def reduce_rows(rows: Tensor, lengths: Tensor, whole: Tensor, mode: str, width: int) -> Tensor:
    """A micro-batch's part of its mini-batch's loss; the parts add up to it.

    Args:
        rows: (micro-batch,) sums of the per-token losses over each response.
        lengths: (micro-batch,) tokens of each response. whole: the same for the mini-batch.
        mode: as verl 0.9.1's ``agg_loss`` reads it: token-mean divides by all tokens, seq-* by the number of
            responses, …-token-mean each response by its own tokens first, …-norm all by ``width``.
        width: the longest response allowed.

    Raises:
        ValueError: another mode.
    """
    responses = (whole > 0).sum().clamp(min=1)
    if mode == "token-mean":
        return rows.sum() / whole.sum().clamp(min=1)
    if mode == "token-sum":
        return rows.sum()
    if mode == "seq-mean-token-sum":
        return rows.sum() / responses
    if mode == "seq-mean-token-mean":
        return (rows / lengths.clamp(min=1)).sum() / responses
    if mode == "seq-mean-token-sum-norm":
        return rows.sum() / width / responses
    raise ValueError(f"loss_agg_mode '{mode}' is not known here")
