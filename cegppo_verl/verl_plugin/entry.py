"""What verl's plugin loader imports. Importing this module registers everything, or fails loudly.

verl logs a plugin's failure at DEBUG and goes on without it, so a run would train with the wrong loss or
die minutes later. Inside a run of ours (``CEGPPO_RUN=1``) a failure therefore raises SystemExit, which that
loader does not catch; elsewhere, where somebody merely has this package installed beside verl, it is printed.
"""

from __future__ import annotations

import os
import sys
import traceback


def load() -> None:
    """Register the losses and, with ``VERL_PLATFORM=cpu``, the CPU platform.

    Raises:
        SystemExit: anything failed and ``CEGPPO_RUN=1``.
    """
    try:
        _register()
    except Exception as error:
        traceback.print_exc()
        message = f"cegppo-verl: the verl plugin failed to load: {error}"
        if os.environ.get("CEGPPO_RUN") == "1":
            raise SystemExit(message) from error
        print(message, file=sys.stderr)


def _register() -> None:
    if os.environ.get("VERL_PLATFORM", "").strip().lower() == "cpu":
        from cegppo_verl.verl_plugin import cpu

        cpu.enable()
    from cegppo_verl.verl_plugin import hooks, isolation, policy_loss

    isolation.install()
    policy_loss.register()
    hooks.install()


load()
