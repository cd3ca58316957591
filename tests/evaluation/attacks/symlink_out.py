"""A link in its own folder that leads out.

cause: forbidden call
"""

import os

OUTSIDE = "@OUTSIDE@"


def double(x):
    os.symlink(OUTSIDE, "way")
    with open("way/new", "w") as file:
        file.write("out")
    return 2 * x
