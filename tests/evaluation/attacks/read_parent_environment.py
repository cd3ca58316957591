"""Read the environment of the parent, with its keys and tokens.

cause: forbidden call
"""

import os


def double(x):
    with open(f"/proc/{os.getppid()}/environ", "rb") as file:
        return file.read()
