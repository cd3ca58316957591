"""Make a program that runs as its owner.

cause: exception OSError | forbidden call
"""

import ctypes


def double(x):
    with open("tool", "w") as file:
        file.write("#!/bin/sh")
    if ctypes.CDLL(None).chmod(b"tool", 0o4755) != 0:
        raise OSError("shut in")
    return 2 * x
