"""Checks of the promises of parts: the features of a backbone, the rows of a sampler, the batches of a mixer."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ltrun.errors import ConfigError, TrainingError
from ltrun.types import Batch


def check_backbone(backbone: nn.Module) -> None:
    """Raises ConfigError unless the backbone says the length of its features."""
    features = getattr(backbone, "features", None)
    if type(features) is not int or features < 1:
        raise ConfigError(f"network: {type(backbone).__name__} must set `features`, the length of an image's features")


def check_rows(rows: object, images: int, sampler: nn.Module, whose: str) -> None:
    """Raises ConfigError if a sampler draws no rows, and TrainingError if it draws anything but rows of the training set.

    whose: names the sampler in messages.
    """
    if (
        not isinstance(rows, Tensor)
        or rows.dim() not in (1, 2)
        or rows.shape[1:] not in ((), (2,))
        or rows.dtype != torch.int64
    ):
        found = f"{rows.dtype} of shape {tuple(rows.shape)}" if isinstance(rows, Tensor) else type(rows).__name__
        raise TrainingError(f"{whose}, {type(sampler).__name__}, draws {found}, where int64 row numbers (N,) are needed")
    if rows.is_meta or rows.layout is not torch.strided:
        raise TrainingError(
            f"{whose}, {type(sampler).__name__}, draws {rows.layout} rows on {rows.device}, where a dense tensor is needed"
        )
    if not len(rows):
        raise ConfigError(f"{whose} draws no rows; choose another sampler")
    rows = rows if rows.dim() == 1 else rows[:, 0]
    if int(rows.min()) < 0 or int(rows.max()) >= images:
        row = int(rows.min()) if int(rows.min()) < 0 else int(rows.max())
        raise TrainingError(f"{whose}, {type(sampler).__name__}, draws row {row}, but the rows are 0 to {images - 1}")


def check_batch(part: nn.Module, batch: object, where: str) -> None:
    """Raises TrainingError unless the part returned a Batch with as many labels as inputs, at least one."""
    if not isinstance(batch, Batch):
        raise TrainingError(f"{type(part).__name__} returns {type(batch).__name__} {where}, where a Batch is needed")
    inputs, labels = len(batch.inputs), len(batch.targets)
    if inputs != labels or not inputs:
        raise TrainingError(
            f"{type(part).__name__} returns {inputs} inputs and {labels} labels {where}, where equal numbers above 0 are needed"
        )
