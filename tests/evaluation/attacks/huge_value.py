"""Return much more than asked for.

cause: output limit
"""


def double(x):
    return "x" * (8 << 20)
