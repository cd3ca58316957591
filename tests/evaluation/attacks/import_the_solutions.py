"""Find the tests in the installed package.

cause: exception ModuleNotFoundError
"""

import sys

sys.path += ["@PACKAGE@", "@SITE@"]


def double(x):
    from cegppo_verl.toy import code

    return code.__file__
