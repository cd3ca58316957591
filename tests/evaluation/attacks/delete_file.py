"""Delete a file that anybody may delete.

cause: forbidden call
"""

import os

OUTSIDE = "@OUTSIDE@"


def double(x):
    os.remove(OUTSIDE + "/precious")
    return 2 * x
