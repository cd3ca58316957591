"""The candidate's side: a program of its own that holds the candidate's code and answers calls.

Its text is passed to ``python -c``, so it stands alone. The judge uses the same encoding.

One JSON value per line. Plain data crosses: None, bool, int, float, complex, str, bytes, list, tuple, set,
frozenset, dict; what JSON has not is a one-key object ``{"tuple": […]}``. Subclasses cross as their plain
base. The judge trusts nothing here: whatever the candidate does to this process, it can only send bytes,
which decode to plain data or are refused.
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any

READ, WRITE = 3, 4  # descriptors of the pipes from and to the judge
DEPTH = 100
EXACT = 1 << 53  # integers beyond it are sent in hexadecimal: linear time, and no limit on digits


def encode(value: Any, depth: int = DEPTH) -> Any:
    """Plain data as JSON values; TypeError with the type's name when it is not plain or nested too deep."""
    if depth == 0:
        raise TypeError("nested too deep")
    if value is None or isinstance(value, (bool, str)):
        return value
    if isinstance(value, int):
        number = int(value)
        return number if -EXACT < number < EXACT else {"int": hex(number)}
    if isinstance(value, float):
        return float(value)
    return _encode_container(value, depth - 1)


def _encode_container(value: Any, depth: int) -> Any:
    if isinstance(value, list):
        return [encode(item, depth) for item in value]
    if isinstance(value, dict):
        return {"dict": [[encode(k, depth), encode(v, depth)] for k, v in value.items()]}
    for kind in (tuple, set, frozenset):
        if isinstance(value, kind):
            return {kind.__name__: [encode(item, depth) for item in value]}
    if isinstance(value, (bytes, bytearray)):
        return {"bytes": bytes(value).hex()}
    if isinstance(value, complex):
        return {"complex": [value.real, value.imag]}
    raise TypeError(type(value).__name__)


def decode(value: Any) -> Any:
    """The inverse of :func:`encode`; ValueError, TypeError, KeyError or RecursionError on anything else."""
    if isinstance(value, list):
        return [decode(item) for item in value]
    if not isinstance(value, dict):
        return value
    ((kind, content),) = value.items()
    return _DECODERS[kind](content)


def _decode_complex(content: Any) -> complex:
    real, imaginary = content
    return complex(float(real), float(imaginary))


_DECODERS: dict[str, Any] = {
    "int": lambda content: int(content, 16),
    "tuple": lambda content: tuple(decode(item) for item in content),
    "set": lambda content: {decode(item) for item in content},
    "frozenset": lambda content: frozenset(decode(item) for item in content),
    "dict": lambda content: {decode(key): decode(item) for key, item in content},
    "bytes": bytes.fromhex,
    "complex": _decode_complex,
}


def _receive() -> Any:
    line = _pipe.readline()
    if not line:
        os._exit(0)
    return json.loads(line)


def _send(message: Any) -> None:
    data = json.dumps(message).encode() + b"\n"
    while data:
        data = data[os.write(WRITE, data) :]


def _install_filter(program: str) -> int:
    """Switch the system-call filter on for good; 0 or the error number."""
    import ctypes

    class Program(ctypes.Structure):
        _fields_ = [("length", ctypes.c_ushort), ("code", ctypes.c_char_p)]

    code = bytes.fromhex(program)
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(38, 1, 0, 0, 0)  # PR_SET_NO_NEW_PRIVS
    failed = libc.prctl(22, 2, ctypes.byref(Program(len(code) // 8, code)), 0, 0)  # PR_SET_SECCOMP
    return ctypes.get_errno() if failed else 0


FORBIDDEN = {
    *("os.fork", "os.forkpty", "os.exec", "os.posix_spawn", "os.spawn", "os.system", "subprocess.Popen"),
    *("pty.spawn", "os.kill", "os.killpg", "signal.pthread_kill", "os.chmod", "os.chown", "os.link"),
    *("os.symlink", "socket.connect", "socket.bind", "socket.getaddrinfo", "socket.gethostbyname"),
    *("socket.sendto", "os.setxattr", "os.utime", "os.truncate", "resource.prlimit"),
}
CHANGING = {"os.remove", "os.rename", "os.rmdir", "os.mkdir", "shutil.rmtree", "shutil.move"}
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND


def _is_outside(path: Any) -> bool:
    if isinstance(path, int) or os.fsdecode(path) == "/dev/null":
        return False
    return not (os.path.abspath(os.fsdecode(path)) + "/").startswith(_home + "/")


def _is_forbidden(event: str, arguments: tuple[Any, ...]) -> bool:
    if event == "open":
        path, _, flags = arguments
        secret = not isinstance(path, int) and os.path.abspath(os.fsdecode(path)).startswith("/proc")
        return secret or (bool(flags & WRITING) and _is_outside(path))
    return event in FORBIDDEN or (event in CHANGING and _is_outside(arguments[0]))


def _watch(event: str, arguments: tuple[Any, ...]) -> None:
    """Name a forbidden attempt and end. A label for reports: it is the kernel that forbids."""
    if "." not in event and event != "open":
        return
    try:
        found = _is_forbidden(event, arguments)
    except (TypeError, ValueError, IndexError):
        return
    if found:
        _send({"forbidden": f"{event} {arguments[:1]!r}"[:200]})
        os._exit(1)


def _failure(error: BaseException) -> dict[str, str]:
    try:
        text = str(error)[:200]
    except BaseException:  # its own __str__ may raise anything
        text = ""
    return {"raised": type(error).__name__[:80], "text": text}


def _answer(function: Any, request: Any) -> dict[str, Any]:
    try:
        arguments, keywords = decode(request)
        value = function(*arguments, **keywords)
    except BaseException as error:
        return _failure(error)
    try:
        return {"value": encode(value)}
    except MemoryError as error:
        return _failure(error)
    except BaseException as error:  # TypeError of encode; or whatever a strange object raises
        return {"refused": f"{type(error).__name__}: {error}"[:200]}


def _load(request: dict[str, str]) -> tuple[Any, dict[str, Any]]:
    names: dict[str, Any] = {"__name__": "candidate"}
    try:
        exec(compile(request["code"], "candidate.py", "exec"), names)
        return names[request["entry_point"]], {"value": None}
    except BaseException as error:
        return None, _failure(error)


def _main() -> None:
    _send({"filter": _install_filter(_receive())})
    request = _receive()
    sys.addaudithook(_watch)
    function, answer = _load(request)
    while True:
        _send(answer)
        answer = _answer(function, _receive())


if __name__ == "__main__":
    _home = os.getcwd()
    _pipe = open(READ, "rb", closefd=False)  # noqa: SIM115
    _main()
