"""Memory bit by bit.

cause: memory
"""


def double(x):
    kept = []
    while True:
        kept.append(bytearray(1 << 24))
