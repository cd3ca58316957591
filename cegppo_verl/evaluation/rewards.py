"""From a verdict and a length to the number that trains. Pure functions; nothing here grades.

Rewards for correctness: "zero-one" (1 or 0) and "plus-minus-one" (1 or −1: the released CE-GPPO scripts, and
DAPO). Advantages normalised by their group's mean and deviation are the same under both.

Overlong shaping is DAPO's Soft Overlong Punishment (arXiv 2503.14476, Eq. 13), added to the correctness:

    R_length(y) = 0                                   |y| ≤ L_max − L_cache
                  ((L_max − L_cache) − |y|) / L_cache  L_max − L_cache < |y| ≤ L_max
                  −1                                   L_max < |y|

verl's ``DAPORewardManager`` multiplies it by ``penalty_factor`` and has no third case, as no response of its
is longer than L_max; DAPO's own run has L_max = 20,480 and L_cache = 4,096.
"""

from __future__ import annotations

from dataclasses import dataclass

from cegppo_verl.errors import UserError, did_you_mean

VALUES = {"zero-one": (1.0, 0.0), "plus-minus-one": (1.0, -1.0)}


@dataclass(frozen=True, slots=True)
class Overlong:
    """When and how strongly length is punished.

    Attributes:
        longest: L_max, tokens; the length at which responses are cut.
        buffer: L_cache, tokens; the punishment grows over the last so many.
        factor: the punishment at L_max; DAPO has 1.

    Raises:
        UserError: not 0 < buffer ≤ longest, or factor not above 0.
    """

    longest: int
    buffer: int
    factor: float = 1.0

    def __post_init__(self) -> None:
        if not 0 < self.buffer <= self.longest:
            message = f"an overlong buffer of {self.buffer} tokens does not fit into {self.longest}"
            raise UserError(message, key="overlong_buffer", hint=f"use 1 to {self.longest}")
        if not self.factor > 0:
            hint = "use a factor above 0; leave the buffer out for no punishment"
            raise UserError(f"an overlong factor of {self.factor:g}", key="overlong_factor", hint=hint)


def correctness(correct: bool, values: str = "zero-one") -> float:
    """The reward for being right or not; without an answer, or without a verdict, it is not.

    Raises:
        UserError: unknown ``values``.
    """
    if values not in VALUES:
        hint = did_you_mean(values, VALUES)
        raise UserError(f"unknown rewards '{values}'", key="values", hint=hint)
    return VALUES[values][not correct]


def overlong(length: int, shape: Overlong) -> float:
    """R_length · factor for a response of ``length`` tokens: from −factor to 0."""
    excess = length - (shape.longest - shape.buffer)
    return -shape.factor * min(max(excess / shape.buffer, 0.0), 1.0)
