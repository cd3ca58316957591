"""Delete past the audit hook.

cause: exception OSError
"""

import ctypes

OUTSIDE = "@OUTSIDE@"


def double(x):
    if ctypes.CDLL(None).unlink(f"{OUTSIDE}/precious".encode()) != 0:
        raise OSError("shut in")
    return 2 * x
