"""A program: run attack programs from several threads in an outside world of their own, report as JSON.

``python sandbox_attacks.py MODE NAME…``; MODE "here" takes the system as it is, "container" gives up what a
container without extra privileges does not have (namespaces, mounts, most capabilities), "bare" Landlock too.
Processes that lose their parent become this program's children, so that it can count what was left over.
"""

import json
import os
import socket
import struct
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from cegppo_verl.errors import UserError
from cegppo_verl.evaluation.sandbox import Limits, Program, kernel, run, syscalls

FOLDER = Path(__file__).with_name("attacks")
TESTS = """
def check(candidate):
    assert candidate(3) == 6
    assert candidate(-5) == -10
    assert abs(candidate(0.5) - 1.0) < 1e-9
"""
CONTAINER = (0, 1, 3, 4, 5, 6, 7, 8, 10, 13, 18, 27, 29, 31)  # Docker's default capabilities
NAMESPACES = ("unshare", "setns", "mount", "umount2", "pivot_root", "mount_setattr", "fsopen", "open_tree")


def become_container(bare: bool) -> None:
    import ctypes

    kept = sum(1 << number for number in CONTAINER) if os.getuid() == 0 else 0
    for number in range(41 if os.getuid() == 0 else 0):
        if not kept >> number & 1:
            kernel.prctl(kernel.PR_CAPBSET_DROP, number)
    kernel.call("capset", struct.pack("=Ii", 0x20080522, 0), struct.pack("=6I", kept, kept, 0, 0, 0, 0))
    refused = syscalls.numbers({name: syscalls.DEADLY[name] for name in NAMESPACES})
    code = [(0x20, 0, 0, 0)]
    for number in [*refused, *([syscalls.number("landlock_create_ruleset")] if bare else [])]:
        code += [(0x15, 0, 1, number), (0x06, 0, 0, 0x00050001)]
    code.append((0x06, 0, 0, 0x7FFF0000))

    class Filter(ctypes.Structure):
        _fields_ = (("length", ctypes.c_ushort), ("code", ctypes.c_char_p))

    packed = b"".join(struct.pack("=HBBI", *line) for line in code)
    libc = ctypes.CDLL(None)
    kernel.prctl(kernel.PR_SET_NO_NEW_PRIVS, 1)
    assert libc.prctl(22, 2, ctypes.byref(Filter(len(code), packed)), 0, 0) == 0


def said(text: str, word: str) -> str:
    """What an attack's docstring says after ``word:``; "" when it does not."""
    return next((line[len(word) + 2 :] for line in text.splitlines() if line.startswith(f"{word}: ")), "")


class World:
    """Something to damage, read and reach."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp())
        self.folder.chmod(0o777)
        self.precious = self.folder / "precious"
        self.precious.write_text("precious")
        self.precious.chmod(0o666)
        self.tcp, self.unix = socket.create_server(("127.0.0.1", 0)), socket.socket(socket.AF_UNIX)
        self.port = self.tcp.getsockname()[1]
        self.udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.udp.bind(("127.0.0.1", self.port))
        self.unix.bind(str(self.folder / "socket"))
        (self.folder / "socket").chmod(0o777)
        self.unix.listen()
        os.environ["CANARY"] = "secret"

    def program(self, name: str) -> str:
        text = (FOLDER / f"{name}.py").read_text()
        values = {"OUTSIDE": self.folder, "PORT": self.port, "PACKAGE": Path(kernel.__file__).parents[3]}
        values["SITE"] = os.path.dirname(os.path.dirname(json.__file__)) + "/site-packages"
        for key, value in values.items():
            text = text.replace(f"@{key}@", str(value))
        return text

    def damage(self) -> list[str]:
        found = [name for name in os.listdir(self.folder) if name not in ("precious", "socket")]
        status = self.precious.stat()
        if self.precious.read_text() != "precious" or status.st_mode & 0o777 != 0o666 or status.st_uid == 1:
            found.append("precious")
        for place in ("/", "/etc", "/var/tmp", "/dev/shm", "/dev", "/usr/lib", "/root"):
            found += [path for path in (f"{place}/new", f"{place}/filled") if os.path.exists(path)]
        return found + [name for name in ("tcp", "udp", "unix") if self.heard(name)]

    def heard(self, name: str) -> bool:
        listener = getattr(self, name)
        listener.settimeout(0)
        try:
            listener.recv(1) if name == "udp" else listener.accept()
        except BlockingIOError:
            return False
        return True


def attack(world: World, name: str) -> dict:
    text = world.program(name)
    wall = float(said(text, "wall") or 60)
    limits = Limits(wall_seconds=wall, cpu_seconds=2, file_bytes=4 << 20, memory_bytes=256 << 20)
    try:
        found = run(Program(text, "double", TESTS), limits)
    except UserError as error:
        return {"refused": str(error)}
    expected = said(text, "cause").split(" | ")
    return {
        "expected": expected,
        "outcome": found.outcome,
        "cause": found.cause,
        "detail": found.detail,
        "layers": found.layers,
    }


def orphans() -> int:
    """How many processes have come to us."""
    try:
        os.waitpid(-1, os.WNOHANG)
    except ChildProcessError:
        return 0
    return 1


def main() -> None:
    mode, names = sys.argv[1], sys.argv[2:]
    if mode != "here":
        become_container(mode == "bare")
    kernel.prctl(kernel.PR_SET_CHILD_SUBREAPER, 1)
    world = World()
    os.environ["TMPDIR"] = tempfile.tempdir = tempfile.mkdtemp()
    os.chmod(tempfile.tempdir, 0o711)
    with ThreadPoolExecutor(3) as threads:
        results = dict(zip(names, threads.map(lambda name: attack(world, name), names), strict=True))
    left = os.listdir(tempfile.tempdir)
    print(json.dumps({"results": results, "damage": world.damage(), "orphans": orphans(), "files": left}))


if __name__ == "__main__":
    main()
