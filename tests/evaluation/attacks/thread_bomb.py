"""Threads without end.

cause: exception RuntimeError | memory
"""

import threading
import time


def double(x):
    while True:
        threading.Thread(target=time.sleep, args=(600,), daemon=True).start()
