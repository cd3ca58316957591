"""Interfaces with a history: io_uring.

cause: forbidden call
"""

import ctypes


def double(x):
    return 2 * x if ctypes.CDLL(None).syscall(425, 8, None) >= 0 else 0
