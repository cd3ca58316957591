"""Write into a folder that anybody may write.

cause: forbidden call
"""

OUTSIDE = "@OUTSIDE@"


def double(x):
    with open(OUTSIDE + "/new", "w") as file:
        file.write("out")
    return 2 * x
