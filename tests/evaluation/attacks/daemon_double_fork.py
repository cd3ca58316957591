"""A daemon that wants to survive.

cause: forbidden call
"""

import ctypes
import os
import time

libc = ctypes.CDLL(None)


def double(x):
    if libc.fork() == 0:
        libc.setsid()
        if libc.fork() == 0:
            time.sleep(600)
        os._exit(0)
    return 2 * x
