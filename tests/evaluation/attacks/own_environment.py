"""Secrets in the environment that it inherits.

cause: assertion
"""

import os


def double(x):
    return [name for name in os.environ if "CANARY" in name] or 0
