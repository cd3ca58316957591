"""Use the processor for long, deaf to the signal for it.

cause: timeout
"""

import signal

signal.signal(signal.SIGXCPU, signal.SIG_IGN)


def double(x):
    while True:
        pass
