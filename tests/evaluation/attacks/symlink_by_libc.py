"""The same past the audit hook, with the evaluator's clean-up as the victim.

cause: exception OSError
"""

import ctypes

OUTSIDE = "@OUTSIDE@"


def double(x):
    libc = ctypes.CDLL(None)
    if libc.symlink(OUTSIDE.encode(), b"way") != 0 and libc.link(f"{OUTSIDE}/precious".encode(), b"p") != 0:
        raise OSError("shut in")
    return 2 * x
