"""The layers of the sandbox, what each guards, and which guards must be there.

======================  ===========================================================================
resource limits         memory, processor time, size of a file, open files; always there
own user                a user id that nothing else has: no file is its own, no process its kin;
                        the kernel counts its threads
no capabilities         nothing that root may do beyond its files
no new privileges       set-user-id programs stay without effect
network namespace       no network device
pid namespace           sees no other process; all of them end with its first one
ipc, uts namespace      no shared memory, queues or names of others
own root                reads interpreter and libraries only, read-only; a small folder of its own
landlock                the same by rule: reads interpreter and libraries only, writes its folder
seccomp                 no socket, process, signal to others, tracing, mount, kernel interface
======================  ===========================================================================
"""

from __future__ import annotations

from collections.abc import Collection

GUARDS: dict[str, tuple[str, ...]] = {
    "no network": ("network namespace", "seccomp"),
    "a limit on processes": ("seccomp", "own user"),
    "a limit on memory": ("resource limits",),
    "no writing outside its folder": ("own root", "landlock"),
    "no reading of other files": ("own root", "landlock"),
    "no hand on the judge": ("own user", "seccomp", "pid namespace"),
    "no way back to privileges": ("no new privileges",),
}


def missing(active: Collection[str]) -> list[str]:
    """The guards that no active layer gives."""
    return [guard for guard, layers in GUARDS.items() if not set(layers) & set(active)]


def refusal(active: Collection[str], failed: dict[str, str]) -> str:
    """Why the candidate is not run here; "" when every guard is there."""
    lacking = missing(active)
    if not lacking:
        return ""
    wanted = sorted({layer for guard in lacking for layer in GUARDS[guard]})
    why = "; ".join(f"{layer}: {failed.get(layer, 'not active')}" for layer in wanted)
    return f"this system does not give {', '.join(lacking)} ({why})"
