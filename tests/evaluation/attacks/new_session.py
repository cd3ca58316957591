"""Leave the session, so that a signal to the group does not reach it.

cause: forbidden call
"""

import os


def double(x):
    os.setsid()
    return 2 * x
