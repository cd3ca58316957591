"""End by an exception that tests do not expect.

cause: exception SystemExit
"""

import sys


def double(x):
    sys.exit(0)
