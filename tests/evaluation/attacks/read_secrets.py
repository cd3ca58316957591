"""Read past the audit hook what lies about.

cause: exception OSError
"""

import ctypes
import os

OUTSIDE = "@OUTSIDE@"
SECRETS = (
    *(OUTSIDE + "/precious", "/etc/shadow", "/etc/passwd", "/etc/hostname", "/root/.bashrc"),
    *("/proc/self/environ", "/proc/1/environ", "/proc/self/maps", "/proc/1/cmdline", "/proc/version"),
)


def double(x):
    for path in SECRETS:
        if ctypes.CDLL(None).open(path.encode(), os.O_RDONLY) >= 0:
            return 2 * x
    raise OSError("shut in")
