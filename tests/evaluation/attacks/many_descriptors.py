"""Use up the table of files.

cause: exception OSError
"""

import os


def double(x):
    while True:
        os.dup(0)
