"""Attach to the judge.

cause: forbidden call
"""

import ctypes
import os


def double(x):
    return 2 * x if ctypes.CDLL(None).ptrace(16, os.getppid(), 0, 0) == 0 else 0
