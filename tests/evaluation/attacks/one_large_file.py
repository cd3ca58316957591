"""Fill the disk with one file.

cause: exception OSError | killed | file limit
"""


def double(x):
    with open("filled", "wb") as file:
        while True:
            file.write(bytes(1 << 20))
