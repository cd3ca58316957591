"""Fill the disk with many files.

cause: exception OSError | file limit
"""


def double(x):
    number = 0
    while True:
        number += 1
        with open(f"filled{number}", "wb") as file:
            file.write(bytes(1 << 16))
