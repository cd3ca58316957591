"""Namespaces: no network devices, no other processes, no other IPC, and a root folder of its own.

With CAP_SYS_ADMIN directly, without it through an unprivileged user namespace, where the system allows it.
"""

from __future__ import annotations

import os
import struct

from cegppo_verl.evaluation.sandbox import kernel, readable

AT_FDCWD, AT_RECURSIVE = -100, 0x8000
READ_ONLY_NOSUID = 1 | 2
PLACE = "/candidate"  # where the candidate's folder is found inside
KINDS = {
    "network namespace": kernel.CLONE_NEWNET,
    "pid namespace": kernel.CLONE_NEWPID,
    "ipc namespace": kernel.CLONE_NEWIPC,
    "uts namespace": kernel.CLONE_NEWUTS,
}
Failures = dict[str, str]


def _is_admin() -> bool:
    with open("/proc/self/status") as lines:
        effective = next(line for line in lines if line.startswith("CapEff"))
    return bool(int(effective.split()[1], 16) >> 21 & 1)  # CAP_SYS_ADMIN


def _enter_user_namespace() -> None:
    uid, gid = os.getuid(), os.getgid()
    kernel.unshare(kernel.CLONE_NEWUSER)
    for name, text in (("setgroups", "deny"), ("uid_map", f"{uid} {uid} 1"), ("gid_map", f"{gid} {gid} 1")):
        with open(f"/proc/self/{name}", "w") as file:
            file.write(text)


def _can_enter_user_namespace() -> str:
    """ "" when it works, tried in a child: half-way in there is no way back. Else the reason."""
    pid = os.fork()
    if pid == 0:
        try:
            _enter_user_namespace()
            os._exit(0)
        except OSError as error:
            os._exit(error.errno or 255)
        finally:
            os._exit(255)
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    return os.strerror(code) if code else ""


def enter(failed: Failures) -> list[str]:
    """Leave this process's namespaces, one by one; the names of those that worked.

    The pid namespace begins with the next child. ``failed`` gets the reason for each that did not work.
    """
    active = []
    if not _is_admin():
        why = _can_enter_user_namespace()
        if why:
            failed |= dict.fromkeys(("user namespace", *KINDS, "own root"), f"no user namespace, {why}")
            return []
        _enter_user_namespace()
        active.append("user namespace")
    for name, flag in KINDS.items():
        try:
            kernel.unshare(flag)
        except OSError as error:
            failed[name] = str(error)
        else:
            active.append(name)
    return active


def _bind(source: str, root: str) -> None:
    target = root + source
    if os.path.exists(target):  # below a tree that is there already
        return
    if os.path.isdir(source):
        os.makedirs(target)
    else:
        os.makedirs(os.path.dirname(target), exist_ok=True)
        with open(target, "x"):
            pass
    kernel.mount(source, target, None, kernel.MS_BIND | kernel.MS_REC)


def _fill(root: str) -> None:
    for name in ("lib", "lib64", "lib32"):  # the dynamic loader is named by such a path
        if os.path.islink(f"/{name}"):
            os.symlink(os.readlink(f"/{name}"), f"{root}/{name}")
    places = [*readable.standard_library(), *readable.library_folders()]
    for path in sorted(places, key=len):
        _bind(path, root)
    for path in [*readable.files(), *readable.DEVICES]:
        _bind(path, root)
    for path in readable.package_folders():
        if os.path.isdir(root + path):
            kernel.mount("tmpfs", root + path, "tmpfs", 0, "size=4k,nr_inodes=1,mode=555")


def _read_only(path: str) -> None:
    attributes = struct.pack("=4Q", READ_ONLY_NOSUID, 0, 0, 0)
    kernel.call("mount_setattr", AT_FDCWD, path.encode(), AT_RECURSIVE, attributes, len(attributes))


def own_root(folder: str, owner: int, size: int) -> None:
    """Give this process a root of its own: what it may read, read-only, and PLACE, ``size`` bytes, empty.

    Without /proc: there is nothing to learn about other processes. The working folder is then PLACE.

    Args:
        folder: an empty folder, covered by the new root for this process only.
        owner: user id that may write into PLACE.
        size: bytes that fit into PLACE.

    Raises:
        OSError: not allowed here, or the kernel is older than 5.12; the folder is as before.
    """
    kernel.unshare(kernel.CLONE_NEWNS)
    kernel.mount("none", "/", None, kernel.MS_REC | kernel.MS_PRIVATE)
    flags = kernel.MS_NOSUID | kernel.MS_NODEV
    kernel.mount("tmpfs", folder, "tmpfs", flags, "size=1m,mode=755")
    try:
        _fill(folder)
        os.makedirs(folder + PLACE)
        _read_only(folder)
        options = f"size={size},nr_inodes=1024,mode=700,uid={owner}"
        kernel.mount("tmpfs", folder + PLACE, "tmpfs", flags, options)
        os.chdir(folder)
        kernel.call("pivot_root", b".", b".")
    except OSError:
        kernel.umount(folder)
        raise
    kernel.umount(".")
    os.chdir(PLACE)
