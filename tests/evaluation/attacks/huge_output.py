"""Write without end.

cause: output limit
"""


def double(x):
    while True:
        print("x" * 100_000)
