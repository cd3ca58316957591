"""Connect to a host.

cause: forbidden call
"""

import socket


def double(x):
    with socket.create_connection(("127.0.0.1", int("@PORT@")), timeout=5) as connection:
        connection.sendall(b"out")
    return 2 * x
