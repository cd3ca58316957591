"""Change the rights of a file outside.

cause: forbidden call
"""

import os

OUTSIDE = "@OUTSIDE@"


def double(x):
    os.chmod(OUTSIDE + "/precious", 0o777)
    return 2 * x
