"""Ignore every signal that can be ignored, and sleep.

cause: timeout
wall: 1.5
"""

import signal
import time

for number in set(signal.Signals) - {signal.SIGKILL, signal.SIGSTOP}:
    signal.signal(number, signal.SIG_IGN)


def double(x):
    while True:
        time.sleep(600)
