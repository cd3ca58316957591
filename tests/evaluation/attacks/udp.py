"""A datagram out.

cause: forbidden call
"""

import socket


def double(x):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as out:
        out.sendto(b"out", ("127.0.0.1", int("@PORT@")))
    return 2 * x
