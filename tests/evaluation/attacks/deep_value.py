"""Return what breaks a recursive reader.

cause: not plain data
"""


def double(x):
    value = []
    for _ in range(100_000):
        value = [value]
    return value
