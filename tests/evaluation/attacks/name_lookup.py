"""Secrets as the name of a host.

cause: forbidden call
"""

import socket


def double(x):
    return socket.gethostbyname("secret.example.com")
