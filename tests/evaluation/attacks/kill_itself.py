"""End by a signal.

cause: killed
"""

import os


def double(x):
    os.abort()
