"""Do nothing for long.

cause: timeout
wall: 1.5
"""

import time


def double(x):
    time.sleep(600)
