"""Put the side inputs of losses in place when verl's modules are imported, without importing them.

verl's plugin loader imports this package in every process, vLLM's included; importing verl's trainer or
engines there for the sake of two functions would cost each of them seconds.
"""

from __future__ import annotations

from types import ModuleType
from typing import Any

import wrapt


def install() -> None:
    """Hook verl's trainer and its workers. Calling it again is harmless."""
    wrapt.register_post_import_hook(_workers, "verl.workers.engine_workers")
    wrapt.register_post_import_hook(_engine, "verl.workers.engine.base")
    wrapt.register_post_import_hook(_trainer, "verl.trainer.ppo.v1.trainer_base")


def _workers(module: ModuleType) -> None:
    from cegppo_verl.verl_plugin import worker_hooks

    module.ppo_loss = _once(module.ppo_loss, worker_hooks.with_side_inputs)  # type: ignore[attr-defined]


def _engine(module: ModuleType) -> None:
    from cegppo_verl.verl_plugin import worker_hooks

    engine = module.BaseEngine
    engine.train_batch = _once(engine.train_batch, worker_hooks.with_statistics)


def _trainer(module: ModuleType) -> None:
    from cegppo_verl.verl_plugin import driver_hooks

    trainer = module.PPOTrainer
    for name in ("_update_actor", "_save_checkpoint", "_load_checkpoint"):
        setattr(trainer, name, _once(getattr(trainer, name), getattr(driver_hooks, f"with{name}")))


def _once(function: Any, wrap: Any) -> Any:
    return function if getattr(function, "_cegppo_verl", False) else _marked(wrap(function))


def _marked(function: Any) -> Any:
    function._cegppo_verl = True
    return function
