"""Prompts that are too long: counted in characters, or in tokens as the model's chat template makes them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from cegppo_verl.data.problems import Grouped, Problem
from cegppo_verl.errors import UserError

TOO_LONG = "prompt too long"


@dataclass(frozen=True)
class Limit:
    """The longest prompt. ``tokenizer``: a folder or hub name; None counts characters."""

    most: int
    tokenizer: str | None = None
    offline: bool = False

    @property
    def unit(self) -> str:
        """What is counted."""
        return "tokens" if self.tokenizer else "characters"

    def counter(self) -> Callable[[str], int]:
        """Length of a prompt of the user, chat template included where there is a tokenizer.

        Raises:
            UserError: the tokenizer cannot be loaded.
        """
        return _tokens(self.tokenizer, self.offline) if self.tokenizer else len


def limit(
    tokenizer: str | None, most_tokens: int | None, most_characters: int | None, offline: bool
) -> Limit | None:
    """The limit that the options ask for, if any.

    Raises:
        UserError: tokens without a tokenizer, the other way round, or two limits.
    """
    if bool(tokenizer) != bool(most_tokens):
        hint = "give both, e.g. --tokenizer FOLDER --max-prompt-tokens 4096"
        raise UserError("--tokenizer and --max-prompt-tokens belong together", hint=hint)
    if most_tokens and most_characters:
        raise UserError("two limits on the prompt's length", hint="give tokens or characters, not both")
    most = most_tokens or most_characters
    return Limit(most, tokenizer, offline) if most else None


def apply(found: Grouped, prompt: Callable[[str], str], bound: Limit, *, drop: bool) -> None:
    """Take out, or refuse, problems whose prompt is longer than the limit.

    Raises:
        UserError: one is, and ``drop`` is false.
    """
    length = bound.counter()
    sizes = [(length(prompt(problem.text)), problem) for problem in found.problems]
    long = [(size, problem) for size, problem in sizes if size > bound.most]
    if long and not drop:
        raise _error(long, bound)
    for _, problem in long:
        found.drop(TOO_LONG, problem.place)
    found.problems = [problem for size, problem in sizes if size <= bound.most]


def _error(long: Sequence[tuple[int, Problem]], bound: Limit) -> UserError:
    worst, problem = max(long, key=lambda item: item[0])
    text = f"{len(long)} prompts are longer than {bound.most} {bound.unit}; the longest has {worst}"
    hint = "raise the limit, or leave such problems out with --drop"
    return UserError(f"{problem.place}: {text}", hint=hint)


def _tokens(name: str, offline: bool) -> Callable[[str], int]:
    tokenizer = _load(name, offline)
    if getattr(tokenizer, "chat_template", None) is None:
        return lambda text: len(tokenizer.encode(text, add_special_tokens=False))

    def count(text: str) -> int:
        messages = [{"role": "user", "content": text}]
        whole = tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
        return len(tokenizer.encode(whole, add_special_tokens=False))

    return count


def _load(name: str, offline: bool):  # type: ignore[no-untyped-def]  # transformers is not typed here
    try:
        from transformers import AutoTokenizer
    except ImportError as error:
        hint = "install the cpu or the gpu lock file, or limit characters instead"
        raise UserError("counting tokens needs the package transformers", hint=hint) from error
    try:
        return AutoTokenizer.from_pretrained(name, local_files_only=offline)
    except (OSError, ValueError) as error:
        reason = str(error).strip().splitlines()[0]
        raise UserError(f"no tokenizer '{name}': {reason}", hint="give a folder with a tokenizer") from error
