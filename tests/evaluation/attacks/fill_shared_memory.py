"""Fill the memory disk.

cause: forbidden call
"""


def double(x):
    with open("/dev/shm/filled", "wb") as file:
        while True:
            file.write(bytes(1 << 20))
