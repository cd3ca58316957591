"""Memory that no limit on address space counts.

cause: forbidden call
"""

import os


def double(x):
    while True:
        os.write(os.memfd_create("m"), bytes(1 << 20))
