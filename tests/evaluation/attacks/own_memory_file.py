"""Write into a process through /proc.

cause: forbidden call
"""

import os


def double(x):
    with open(f"/proc/{os.getppid()}/mem", "r+b") as memory:
        return memory.read(8)
