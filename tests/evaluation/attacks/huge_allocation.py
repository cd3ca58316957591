"""More memory than there is.

cause: memory
"""


def double(x):
    return len(bytearray(1 << 40))
