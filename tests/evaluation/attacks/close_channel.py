"""Close every pipe, live on.

cause: ended early
"""

import os
import time


def double(x):
    os.closerange(0, 64)
    time.sleep(600)
