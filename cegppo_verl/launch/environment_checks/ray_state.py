"""A Ray that already runs here, and the ports that it would use. Nothing here imports Ray."""

from __future__ import annotations

import os
import socket
import tempfile
from pathlib import Path

from cegppo_verl.launch.environment_checks.finding import Context, Finding, Level

GCS_PORT, DASHBOARD_PORT = 6379, 8265  # what `ray start --head` takes unless told otherwise
TIMEOUT = 1.0  # seconds


def ports(_: Context) -> list[Finding]:
    """Ray's default ports are free. A private Ray takes others, so this is no more than a warning."""
    taken = [port for port in (GCS_PORT, DASHBOARD_PORT) if answers("127.0.0.1", port)]
    if not taken:
        return [Finding("ok", "ports", f"{GCS_PORT} and {DASHBOARD_PORT} are free")]
    message = f"in use: {', '.join(map(str, taken))} (another Ray, or Redis)"
    return [Finding("warn", "ports", message, "give `ray start` other ports: --port, --dashboard-port")]


def running_ray(_: Context) -> list[Finding]:
    """A cluster that `ray.init()` would join."""
    address, source = ray_address()
    if address is None:
        return [Finding("ok", "running Ray", "none: each run starts its own")]
    if not is_reachable(address):
        fix = "unset RAY_ADDRESS, or start that cluster" if source == "RAY_ADDRESS" else f"remove {source}"
        level: Level = "fail" if source == "RAY_ADDRESS" else "warn"
        return [Finding(level, "running Ray", f"{source} names {address}, where nothing answers", fix)]
    fix = "stop it with `ray stop` if it is not for these runs: its resources differ from a private Ray's"
    return [Finding("warn", "running Ray", f"at {address} ({source})", fix)]


def ray_address() -> tuple[str | None, str]:
    """The address that `ray.init()` would join, and where it is written; (None, "") when nowhere."""
    from_environment = os.environ.get("RAY_ADDRESS", "").strip()
    if from_environment and from_environment not in {"local", "auto"}:
        return from_environment, "RAY_ADDRESS"
    file = session_root() / "ray_current_cluster"
    try:
        written = file.read_text().strip()
    except OSError:
        return None, ""
    return (written, str(file)) if written else (None, "")


def session_root() -> Path:
    """Where Ray keeps its sessions: RAY_TMPDIR, else the system's temporary folder, plus ``ray``."""
    return Path(os.environ.get("RAY_TMPDIR") or tempfile.gettempdir()) / "ray"


def is_reachable(address: str) -> bool:
    """Whether something answers at ``host:port``, with or without a scheme such as ``ray://``."""
    host, _, port = address.rpartition("://")[2].rpartition(":")
    return port.isdigit() and answers(host.strip("[]"), int(port))


def answers(host: str, port: int) -> bool:
    """Whether a TCP connection is accepted."""
    try:
        with socket.create_connection((host, port), timeout=TIMEOUT):
            return True
    except (OSError, OverflowError):
        return False
