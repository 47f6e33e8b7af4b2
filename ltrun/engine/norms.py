"""Batch normalisation without counters of batches."""

from __future__ import annotations

from typing import Any

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm


def stop_counting(module: nn.Module) -> None:
    """Removes the buffer `num_batches_tracked` of each batch normalisation in a module.

    Every layer adds 1 to it at every step, in a kernel of its own, and nothing reads it where the momentum is a number. A layer
    whose running statistics are plain means (momentum=None) keeps it, and so does nn.SyncBatchNorm, which refuses to train
    without it. States that hold the counters still load, such as checkpoints of earlier versions.
    """
    for layer in module.modules():
        counts = isinstance(layer, _BatchNorm) and not isinstance(layer, nn.SyncBatchNorm) and layer.momentum is not None
        if counts and layer.num_batches_tracked is not None:
            layer.register_buffer("num_batches_tracked", None)
            layer.register_load_state_dict_pre_hook(_ignore_counter)


def _ignore_counter(layer: nn.Module, state: dict[str, Any], prefix: str, *_: Any) -> None:
    state.pop(f"{prefix}num_batches_tracked", None)
