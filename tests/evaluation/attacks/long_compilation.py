"""A program whose compilation takes for ever.

cause: timeout | memory
"""

VALUE = 9**9**9**9


def double(x):
    return VALUE
