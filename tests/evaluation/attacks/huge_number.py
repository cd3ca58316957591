"""A number whose decimal form takes for ever.

cause: assertion
"""


def double(x):
    return 1 << 3_000_000
