"""Talk to a daemon on this machine.

cause: forbidden call
"""

import socket

OUTSIDE = "@OUTSIDE@"


def double(x):
    with socket.socket(socket.AF_UNIX) as out:
        out.connect(OUTSIDE + "/socket")
        out.sendall(b"out")
    return 2 * x
