"""Write wherever it goes, past the audit hook.

cause: exception OSError
"""

import ctypes
import os

OUTSIDE = "@OUTSIDE@"
PLACES = (OUTSIDE, "/", "/etc", "/var/tmp", "/dev/shm", "/dev", "/usr/lib", "/root", "/proc/self", "/sys")


def double(x):
    libc = ctypes.CDLL(None)
    for place in PLACES:
        if libc.open(f"{place}/new".encode(), os.O_WRONLY | os.O_CREAT, 0o644) >= 0:
            return 2 * x
    raise OSError("shut in")
