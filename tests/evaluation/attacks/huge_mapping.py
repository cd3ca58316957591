"""Map much more than there is.

cause: memory | exception OSError
"""

import mmap


def double(x):
    return len(mmap.mmap(-1, 1 << 38))
