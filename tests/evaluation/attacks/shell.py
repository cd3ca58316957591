"""Let a shell do it.

cause: forbidden call
"""

import subprocess


def double(x):
    return int(subprocess.check_output(["/bin/sh", "-c", f"echo $((2 * {x}))"]))
