"""``cegppo new-loss``: what was asked for, and what to do next."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console
from rich.text import Text

from cegppo_verl.errors import UserError
from cegppo_verl.scaffold import new_loss

INDEX = (
    "  cegppo check-loss --all --out reports/losses/contract.json    # minutes\n"
    "  cegppo losses --page reports/losses"
)


def run(name: str | None, file: Path | None, console: Console, *, dry_run: bool) -> None:
    """Write the skeleton, or print it.

    Raises:
        UserError: neither name nor file, a bad name, or something exists already.
    """
    if file is None and name is None:
        raise UserError("what is the loss called?", hint="cegppo new-loss NAME, or --file path/to/name.py")
    plan = new_loss.in_checkout(str(name), Path.cwd()) if file is None else new_loss.standalone(file, name)
    if dry_run:
        for path, content in plan.files.items():
            print(f"# {path}\n{content}")
        return
    plan.write()
    for path in plan.files:
        _say(console, f"{'extended' if path in plan.replaces else 'wrote'} {_short(path)}")
    _say(console, f"next: edit what says TODO, then\n{_next(plan.name, file)}")


def _next(name: str, file: Path | None) -> str:
    target = name if file is None else file
    index = "" if file is not None else f"to keep it, its line in the index of the losses:\n{INDEX}"
    return (
        f"  cegppo losses {target}        # formula, parameters and the curve of w\n"
        f"  cegppo check-loss {target}    # the contract; it passes as it is now\n"
        f"and in a grid: algorithm: {target}\n{index}"
    ).rstrip()


def _short(path: Path) -> Path:
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


def _say(console: Console, words: str) -> None:
    console.print(Text(words), soft_wrap=True)
