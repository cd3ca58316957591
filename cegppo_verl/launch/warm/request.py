"""What a stand-in sends to the warm server: a length, a JSON object, and its open descriptors."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import struct
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Request:
    """What a client asks for, with the descriptors it passed."""

    arguments: list[str]
    environment: dict[str, str]
    directory: str
    umask: int
    descriptors: list[int]
    ignored: list[int] = field(default_factory=list)
    received: list[int] = field(default_factory=list)


def receive(connection: socket.socket) -> Request:
    """Read one request and its descriptors."""
    head, received, _, _ = socket.recv_fds(connection, 4, 253)
    try:
        return Request(**read_fields(connection, head), received=list(received))
    except BaseException:
        close_all(list(received))
        raise


def read_fields(connection: socket.socket, head: bytes) -> dict[str, Any]:
    """The request's body, whose length is in ``head``."""
    (length,) = struct.unpack("!I", head)
    body = b""
    while len(body) < length:
        chunk = connection.recv(length - len(body))
        if not chunk:
            raise OSError("the client went away")
        body += chunk
    fields: dict[str, Any] = json.loads(body.decode("utf-8", "surrogateescape"))
    return fields


def close_all(descriptors: list[int]) -> None:
    """Close descriptors, ignoring those already closed."""
    for number in descriptors:
        with contextlib.suppress(OSError):
            os.close(number)
