"""Whether verl and TransferQueue are still written as the isolation of runs expects.

Read from their source text, in every process, before anything of them is patched: after an upgrade a run must
not start, rather than share its data with another run in silence.
"""

from __future__ import annotations

import ast
import importlib.metadata
import importlib.util
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

NAMESPACE = "transfer_queue"
SOCKET_PREFIX = "ipc:///tmp/rl-colocate-zmq-"

# The modules that look for or make an actor in the fixed namespace -> the actor class each of them makes.
QUEUE_MODULES = {
    "transfer_queue.interface": "TransferQueueController",
    "transfer_queue.storage.clients.ray_storage_client": "RayObjectRefStorage",
}
_ACTORS = {
    (name.removeprefix("transfer_queue.").replace(".", "/") + ".py", call)
    for name, actor in QUEUE_MODULES.items()
    for call in ("ray.get_actor", f"{actor}.options")
}
_SOCKETS = {"vllm_rollout/vllm_rollout.py": 1, "vllm_rollout/utils.py": 1}  # below verl/workers/rollout


class IsolationError(RuntimeError):
    """The isolation of runs does not fit the installed packages; says which versions they are."""

    def __init__(self, message: str) -> None:
        versions = f"verl {_version('verl')}, TransferQueue {_version('TransferQueue')}"
        fix = "install the locked versions (`make setup`), or unset CEGPPO_ISOLATION for a run alone"
        super().__init__(f"runs cannot be kept apart with {versions}: {message}. {fix}")


def require_known(queue: Path | None = None, rollout: Path | None = None) -> None:
    """Refuse other sources than those that the patches were written for.

    Args:
        queue, rollout: folders of the package ``transfer_queue`` and of ``verl/workers/rollout``; None takes
            the installed ones.

    Raises:
        IsolationError: an actor is named, looked for, or a socket named in another way or another place.
    """
    calls = set(_named_actors(queue or _folder("transfer_queue")))
    expected = {(*known, repr(NAMESPACE)) for known in _ACTORS}
    if calls != expected:
        raise IsolationError(f"TransferQueue's named actors have changed: {_difference(calls, expected)}")
    sockets = Counter(_socket_names(rollout or _folder("verl") / "workers" / "rollout"))
    if sockets != _SOCKETS:
        raise IsolationError(f"weight-transfer sockets are named in {dict(sockets)}, expected {_SOCKETS}")


def _difference(found: set[tuple[str, str, str]], expected: set[tuple[str, str, str]]) -> str:
    return f"new {sorted(found - expected)}, gone {sorted(expected - found)}"


def _named_actors(package: Path) -> Iterator[tuple[str, str, str]]:
    """(file, call, namespace) of every call with a namespace, and of every look-up without one."""
    for file, tree in _trees(package, ("get_actor", "namespace=")):
        for node in ast.walk(tree):
            if isinstance(node, ast.Call):
                call = ast.unparse(node.func)
                given = [ast.unparse(word.value) for word in node.keywords if word.arg == "namespace"]
                if given or call.endswith("get_actor"):
                    yield file, call, given[0] if given else "none"


def _socket_names(folder: Path) -> Iterator[str]:
    """The file of every f-string that is the address of a Unix socket."""
    for file, tree in _trees(folder, ("ipc://",)):
        for node in ast.walk(tree):
            if isinstance(node, ast.JoinedStr) and "ipc://" in ast.unparse(node):
                yield file


def _trees(folder: Path, words: tuple[str, ...]) -> Iterator[tuple[str, ast.Module]]:
    for path in sorted(folder.rglob("*.py")):
        text = path.read_text(encoding="utf-8")
        if any(word in text for word in words):
            yield path.relative_to(folder).as_posix(), ast.parse(text)


def _folder(package: str) -> Path:
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        raise IsolationError(f"{package} is not installed")
    return Path(spec.origin).parent


def _version(distribution: str) -> str:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return "(missing)"
