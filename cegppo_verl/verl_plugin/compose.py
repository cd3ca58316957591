"""Compose verl's real Hydra configuration from overrides and let verl judge it. Needs no GPU and no files.

    python -m cegppo_verl.verl_plugin.compose OVERRIDE...

prints the resolved configuration as JSON. With ``-`` as the only argument it reads a JSON list of override
lists from stdin and prints the list of their configurations, paying for verl's imports once. Anything wrong
is one line on stderr and exit code 2: an unknown key with the nearest valid one, or verl's own complaint.
"""

from __future__ import annotations

import contextlib
import json
import sys
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from cegppo_verl.errors import EXIT_USER_ERROR, UserError, nearest

CONFIG_NAME = "ppo_trainer"


def compose(overrides: Sequence[str]) -> Any:
    """verl's trainer configuration (an OmegaConf DictConfig) with ``overrides`` applied, in their order.

    Raises:
        UserError: an override does not parse, or names a key that verl does not have.
    """
    from hydra import compose as hydra_compose
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException

    with _verl_config_folder():
        try:
            return hydra_compose(CONFIG_NAME, overrides=list(overrides))
        except (HydraException, OmegaConfBaseException) as error:
            _explain(error, overrides, hydra_compose(CONFIG_NAME))
            raise


@contextlib.contextmanager
def _verl_config_folder() -> Iterator[None]:
    import verl.trainer
    from hydra import initialize_config_dir

    folder = Path(verl.trainer.__file__).parent / "config"
    with initialize_config_dir(str(folder), version_base=None):
        yield


def _explain(error: Exception, overrides: Sequence[str], base: Any) -> None:
    """Raise a UserError that names the override at fault."""
    for text in overrides:
        _check_one(text, base)
    raise UserError(_one_line(error), hint="see verl/trainer/config/ppo_trainer.yaml") from error


def _check_one(text: str, base: Any) -> None:
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    try:
        parsed = OverridesParser.create().parse_override(text)
    except HydraException as error:
        hint = "quote values that hold spaces, commas, brackets or '='"
        raise UserError(f"'{text}' is not an override: {_one_line(error)}", hint=hint) from error
    key = parsed.key_or_group
    if parsed.is_add() or "@" in key or key in _keys(base):
        return
    guess = nearest(key, _keys(base))
    hint = f"did you mean '{guess}'?" if guess else "put '+' in front to add a new key"
    raise UserError("verl's configuration has no such key", key=key, hint=hint)


def _keys(config: Any) -> set[str]:
    """Every dotted key path, groups included; references are not followed."""
    from omegaconf import DictConfig

    found: set[str] = set()
    stack = [("", config)]
    while stack:
        prefix, node = stack.pop()
        for name in node:
            path = f"{prefix}{name}"
            found.add(path)
            child = node._get_node(name)
            if isinstance(child, DictConfig) and not child._is_none() and not child._is_interpolation():
                stack.append((path + ".", child))
    return found


def validate(config: Any) -> None:
    """verl's own checks, as ``main_ppo`` runs them, and those of the parts that it builds only later.

    Raises:
        UserError: verl refuses the configuration, or has no policy loss of that name.
    """
    try:
        _verl_checks(config)
    except Exception as error:  # verl asserts, raises ValueError, and lets dataclasses raise what they like
        cause = error.__cause__ or error
        if isinstance(cause, UserError):  # from our own configuration class, with key and fix
            raise cause from error
        message = f"verl refuses the configuration: {_one_line(cause)}"
        raise UserError(message, hint="change the setting it names") from error


def _verl_checks(config: Any) -> None:
    from verl.trainer.ppo.core_algos import get_policy_loss_fn
    from verl.trainer.ppo.utils import need_critic, need_reference_policy
    from verl.utils.config import omega_conf_to_dataclass, validate_config

    from cegppo_verl.verl_plugin import policy_loss

    validate_config(
        config, use_reference_policy=need_reference_policy(config), use_critic=need_critic(config)
    )
    # validate_config looks at the actor only; these dataclasses refuse unknown keys and bad values too. The
    # reward's is left out: verl 0.9.1 never builds RewardManagerConfig, and it cannot be built.
    for part in (config.actor_rollout_ref.rollout, config.algorithm):
        omega_conf_to_dataclass(part)
    policy = config.actor_rollout_ref.actor.policy_loss
    omega_conf_to_dataclass(policy)
    if policy.get("algorithm"):
        policy_loss.register_external(policy.algorithm)
    get_policy_loss_fn(policy.loss_mode)


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__


def resolved(overrides: Sequence[str]) -> Any:
    """The composed, checked and resolved configuration as plain data; UserError as above."""
    from omegaconf import OmegaConf

    config = compose(overrides)
    validate(config)
    return OmegaConf.to_container(config, resolve=True, throw_on_missing=False)


def main(arguments: Sequence[str]) -> int:
    """Print the resolved configuration, or the list of them; return the exit code."""
    warnings.simplefilter("ignore")
    try:
        # verl and its imports print to stdout, which belongs to the JSON.
        with contextlib.redirect_stdout(sys.stderr):
            many = list(arguments) == ["-"]
            result = [resolved(one) for one in json.load(sys.stdin)] if many else resolved(arguments)
    except UserError as error:
        print(str(error).replace("\n  fix:", "; fix:"), file=sys.stderr)
        return EXIT_USER_ERROR
    json.dump(result, sys.stdout)
    print()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
