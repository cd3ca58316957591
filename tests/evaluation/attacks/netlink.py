"""Ask the kernel for its network devices.

cause: forbidden call
"""

import socket


def double(x):
    return socket.socket(socket.AF_NETLINK, socket.SOCK_RAW).fileno()
