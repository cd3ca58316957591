"""Become root.

cause: exception PermissionError | forbidden call
"""

import os


def double(x):
    os.setuid(0)
    return 2 * x
