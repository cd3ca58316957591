"""A TCP socket past the audit hook.

cause: forbidden call
"""

import ctypes


def double(x):
    return 2 * x if ctypes.CDLL(None).socket(2, 1, 0) >= 0 else 0
