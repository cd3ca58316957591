"""``updates_per_step``: how often the policy is updated per rollout batch, instead of a mini-batch size.

It says directly how far off-policy training becomes, and means the same at scales with other batch sizes.
Cells have no such key: they hold the mini-batch size that follows from it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from cegppo_verl.errors import UserError, nearest
from cegppo_verl.experiment.places import Layer
from cegppo_verl.experiment.settings import Settings

UPDATES = "updates_per_step"
_KEY = f"settings.{UPDATES}"


def settled(merged: Mapping[str, Any], layers: Sequence[Layer]) -> dict[str, Any]:
    """``merged`` without ``updates_per_step``: with the mini-batch size that gives this many updates.

    A micro-batch size that comes from the preset, or from a weaker layer, and no longer divides is lowered to
    the largest that does: it costs time and no result. One given beside ``updates_per_step`` is left alone.

    Raises:
        UserError: not a whole number, both keys in one layer, or batches that cannot be split like this.
    """
    settings = {key: value for key, value in merged.items() if key != UPDATES}
    _check_spelling(settings)
    asked = _last(layers, UPDATES)
    if asked is None:
        return settings
    size = _last(layers, "mini_batch_size")
    if size == asked:
        message = "updates_per_step and mini_batch_size both say how large a mini-batch is"
        raise UserError(message, key=_KEY, hint="remove one of the two")
    if size is not None and size > asked:
        return settings
    settings["mini_batch_size"] = _mini_batch(settings, _whole(merged[UPDATES]))
    micro = _last(layers, "micro_batch_size")
    if micro is None or micro < asked:
        settings["micro_batch_size"] = _micro_batch(settings)
    return settings


def _check_spelling(settings: Mapping[str, Any]) -> None:
    """Unknown keys are refused later, by a check that does not know this one."""
    for key in settings:
        if key not in Settings.model_fields and nearest(key, [*Settings.model_fields, UPDATES]) == UPDATES:
            raise UserError("unknown key", key=f"settings.{key}", hint=f"did you mean '{UPDATES}'?")


def _last(layers: Sequence[Layer], key: str) -> int | None:
    return max((index for index, layer in enumerate(layers) if key in layer.values), default=None)


def _whole(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        message = f"must be a whole number of at least 1, not {json.dumps(value)}"
        raise UserError(message, key=_KEY, hint="write a whole number, e.g. 8")
    return value


def _mini_batch(settings: Mapping[str, Any], updates: int) -> int:
    prompts, epochs = settings["train_batch_size"], settings["ppo_epochs"]
    if not all(isinstance(size, int) and size > 0 for size in (prompts, epochs)):
        return 1  # what is wrong with them is said when all settings are checked
    if updates % epochs or prompts % (updates // epochs):
        possible = ", ".join(str(epochs * k) for k in range(1, prompts + 1) if prompts % k == 0)
        passes = "once" if epochs == 1 else f"{epochs} times (ppo_epochs)"
        word = "update" if updates == 1 else "updates"
        message = f"{prompts} prompts, passed over {passes}, do not split into {updates} equal {word}"
        hint = f"use one of {possible}" + ("" if epochs == 1 else ", or set ppo_epochs: 1")
        raise UserError(message, key=_KEY, hint=hint)
    return prompts // (updates // epochs)


def _micro_batch(settings: Mapping[str, Any]) -> Any:
    size, rollouts = settings["micro_batch_size"], settings["rollouts_per_prompt"]
    if not all(isinstance(number, int) and number > 0 for number in (size, rollouts)):
        return size
    sequences = settings["mini_batch_size"] * rollouts
    return next(number for number in range(min(size, sequences), 0, -1) if sequences % number == 0)
