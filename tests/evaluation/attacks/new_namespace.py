"""Become root in a namespace of its own.

cause: forbidden call
"""

import ctypes


def double(x):
    return 2 * x if ctypes.CDLL(None).unshare(0x10000000) == 0 else 0
