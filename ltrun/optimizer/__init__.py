"""Optimizers: how parameters move by their gradients."""

from ltrun.optimizer.sgd import SGD

__all__ = ["SGD"]
