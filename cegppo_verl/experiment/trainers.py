"""What trains a cell, by scale: verl, or the reference loop, which can do less and refuses the rest."""

from __future__ import annotations

from cegppo_verl.errors import UserError
from cegppo_verl.experiment.catalog import Scale
from cegppo_verl.experiment.settings import Settings
from cegppo_verl.losses import external

VERL, REFERENCE = "verl", "reference"

# Part of a cell's identity: raise one when the same inputs would give other numbers.
VERSIONS = {VERL: "verl-0.9.1", REFERENCE: "reference-1"}


def require_supported(scale: Scale, algorithm: str, settings: Settings) -> None:
    """Refuse what the scale's trainer cannot do, before anything runs. verl can do all that a grid can say.

    Raises:
        UserError: the key is the setting at fault, or ``algorithm``.
    """
    if scale.trainer == REFERENCE and (found := _problem(algorithm, settings)) is not None:
        key, what = found
        hint = "use a scale that trains through verl, e.g. toy-s"
        raise UserError(f"the reference trainer has no {what} (scale '{scale.name}')", key=key, hint=hint)


def _problem(algorithm: str, settings: Settings) -> tuple[str, str] | None:
    if external.find(algorithm).weight is None:
        return "algorithm", f"closed form of '{algorithm}'"
    absent = {
        "kl_loss_coef": ("KL term", settings.kl_loss_coef > 0),
        "top_p": ("truncated sampling in training", settings.top_p < 1),
        "warmup_steps": ("learning-rate warm-up", settings.warmup_steps > 0),
        "eval.top_p": ("truncated sampling in evaluations", settings.eval.top_p < 1),
    }
    return next((("settings." + key, what) for key, (what, asked) in absent.items() if asked), None)
