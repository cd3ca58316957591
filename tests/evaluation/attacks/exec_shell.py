"""Become a shell.

cause: forbidden call
"""

import ctypes


def double(x):
    ctypes.CDLL(None).execl(b"/bin/sh", b"sh", b"-c", b"echo out", None)
    return 2 * x
