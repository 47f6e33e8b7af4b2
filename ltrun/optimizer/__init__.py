"""Optimizers: updates of the parameters by their gradients."""

from ltrun.optimizer.adamw import AdamW
from ltrun.optimizer.sgd import SGD

__all__ = ["SGD", "AdamW"]
