"""Interpreters that start warm: a fork server with verl, vLLM and Ray already imported.

A verl run starts about seven Python processes one after another, and each imports torch, transformers, verl
and vllm for 5 to 10 CPU seconds. On a machine without an accelerator the runner starts one process that
imports them once (:mod:`.server`) and puts a stand-in for ``python`` (:mod:`.client`) into ``sys.executable``
of everything it starts. Whatever then launches a Python process the usual way (Ray's raylet its workers, vLLM
its engine) gets a fork of the warm process instead of a cold one. Nothing in Ray, verl or vLLM is patched for
it.

Forking is sound because the server has one thread when it forks, and it refuses to fork otherwise. It is used
on the CPU platform only: a CUDA context does not survive a fork.
"""
