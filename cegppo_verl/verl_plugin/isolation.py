"""Two runs on one Ray cluster, or on one machine, without a name in common.

verl 0.9.1 shares two names between runs. TransferQueue's named actors live in the fixed Ray namespace
``transfer_queue``, so a second run on the same cluster attaches to the first one's controller. Sockets for
weight transfer are named after the Ray job's id, which is 01000000 in every private cluster.

With ``CEGPPO_ISOLATION=<token>`` in the environment of the driver *and* of all its actors, both names carry
the token, and so do segments of shared memory (isolation_memory.py), which would not collide but stay behind.
TransferQueue's storage units are left alone: they have names but no fixed namespace, so Ray puts them into
the driver's own.
"""

from __future__ import annotations

import functools
import hashlib
import os
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any

import wrapt

from cegppo_verl.verl_plugin import isolation_memory, isolation_sources
from cegppo_verl.verl_plugin.isolation_sources import NAMESPACE, SOCKET_PREFIX, IsolationError

VARIABLE = "CEGPPO_ISOLATION"
_SOCKET_PATH_LIMIT = 107  # bytes: sockaddr_un holds 108 with the closing zero


def install() -> None:
    """Isolate this process, or do nothing without a token. Calling it again is harmless.

    Raises:
        IsolationError: the installed verl or TransferQueue is not the code that this was written for.
    """
    if token():
        isolation_sources.require_known()
        isolation_memory.install(tag())
        wrapt.register_post_import_hook(_queue, "transfer_queue")
        wrapt.register_post_import_hook(_sender, "verl.workers.rollout.vllm_rollout.vllm_rollout")
        wrapt.register_post_import_hook(_receiver, "verl.workers.rollout.vllm_rollout.utils")


def token() -> str:
    """What sets this run apart; empty without isolation."""
    return os.environ.get(VARIABLE, "")


def namespace() -> str:
    """The Ray namespace of this run's TransferQueue."""
    return f"{NAMESPACE}-{token()}"


def tag() -> str:
    """The token as it stands in socket names: 16 hex digits, for a path may have no more than 107 bytes."""
    return hashlib.sha256(token().encode()).hexdigest()[:16]


def socket(handle: str) -> str:
    """verl's address of a weight-transfer socket, with the tag in it.

    It keeps verl's beginning, by which sockets that were left behind are found.

    Raises:
        IsolationError: it does not look as verl's do, or would be too long for a socket.
    """
    if not handle.startswith(SOCKET_PREFIX):
        raise IsolationError(f"a weight-transfer socket is called {handle}, expected {SOCKET_PREFIX}…")
    own = f"{SOCKET_PREFIX}{tag()}-{handle.removeprefix(SOCKET_PREFIX)}"
    if len(own.removeprefix("ipc://").encode()) > _SOCKET_PATH_LIMIT:
        raise IsolationError(f"the path of {own} is longer than {_SOCKET_PATH_LIMIT} bytes")
    return own


class _Moved:
    """Stands for ``ray`` or an actor class in a module of TransferQueue; one method goes elsewhere."""

    def __init__(self, target: Any, method: str) -> None:
        self._target, self._method = target, method

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._target, name)
        return _elsewhere(value) if name == self._method else value


def _elsewhere(call: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(call)
    def moved(*arguments: Any, **options: Any) -> Any:
        if options.get("namespace") != NAMESPACE:
            found = options.get("namespace")
            raise IsolationError(f"a named actor of TransferQueue is looked for in namespace {found!r}")
        return call(*arguments, **{**options, "namespace": namespace()})

    return moved


def _queue(_: ModuleType) -> None:
    for name, actor in isolation_sources.QUEUE_MODULES.items():
        module = sys.modules.get(name)
        if module is None or not hasattr(module, "ray") or not hasattr(module, actor):
            raise IsolationError(f"{name} has no `ray` or no `{actor}`")
        for attribute, method in (("ray", "get_actor"), (actor, "options")):
            present = getattr(module, attribute)
            if not isinstance(present, _Moved):
                setattr(module, attribute, _Moved(present, method))


def _sender(module: ModuleType) -> None:
    adapter = _class(module, "ServerAdapter")
    original = adapter.__init__
    if getattr(original, "_cegppo_verl", False):
        return

    @functools.wraps(original)
    def init(self: Any, *arguments: Any, **options: Any) -> None:
        original(self, *arguments, **options)
        self.zmq_handle = socket(self.zmq_handle)

    init._cegppo_verl = True  # type: ignore[attr-defined]
    adapter.__init__ = init


def _receiver(module: ModuleType) -> None:
    extension = _class(module, "vLLMColocateWorkerExtension")
    original = extension._get_zmq_handle
    if getattr(original, "_cegppo_verl", False):
        return

    @functools.wraps(original)
    def handle(self: Any) -> str:
        return socket(original(self))

    handle._cegppo_verl = True  # type: ignore[attr-defined]
    extension._get_zmq_handle = handle


def _class(module: ModuleType, name: str) -> Any:
    try:
        return getattr(module, name)
    except AttributeError as error:
        raise IsolationError(f"{module.__name__} has no {name}") from error
