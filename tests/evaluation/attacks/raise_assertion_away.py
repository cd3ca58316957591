"""Exceptions that end a harness instead of a test.

cause: exception KeyboardInterrupt
"""


def double(x):
    raise KeyboardInterrupt
