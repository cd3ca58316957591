"""The same past the audit hook; Landlock has no rule for it.

cause: exception OSError
"""

import ctypes

OUTSIDE = "@OUTSIDE@"


def double(x):
    libc, path = ctypes.CDLL(None), f"{OUTSIDE}/precious".encode()
    done = [libc.chmod(path, 0o777), libc.chown(path, 1, 1), libc.truncate(path, 0), libc.utimes(path, None)]
    if done == [-1] * 4:
        raise OSError("shut in")
    return 2 * x
