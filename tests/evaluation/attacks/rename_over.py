"""Replace a file outside by one of its own.

cause: exception OSError
"""

import ctypes

OUTSIDE = "@OUTSIDE@"


def double(x):
    with open("mine", "w") as file:
        file.write("changed")
    if ctypes.CDLL(None).rename(b"mine", f"{OUTSIDE}/precious".encode()) != 0:
        raise OSError("shut in")
    return 2 * x
