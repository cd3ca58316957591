"""Started instead of the worker: a judge that does what it is told instead of mathematics."""

import ctypes
import os
import sys
import time

from cegppo_verl.evaluation import worker

held = []


def judge(answer, truths):
    if answer == "forever":
        while True:
            pass
    if answer == "in C":
        9**9**9**9
    if answer == "asleep":
        time.sleep(1000)
    if answer == "abort":
        os.abort()
    if answer == "bad pointer":
        ctypes.string_at(8)
    if answer == "exit":
        raise SystemExit(0)
    if answer == "two gigabytes":
        return str(len(bytearray(2 * 1024**3)))
    if answer == "300 megabytes":
        held.append(bytearray(b"x") * (300 * 1024**2))
    if answer == "file":
        os.write(os.open(truths[0], os.O_CREAT | os.O_WRONLY), b"x")
    if answer == "recursion":
        judge(answer, truths)
    if answer == "pid":
        return str(os.getpid())
    return answer


worker.judge = judge
worker.PATIENCE = float(os.environ.get("PATIENCE", 100))
worker.main(sys.argv[1:])
