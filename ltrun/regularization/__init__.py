"""Regularised training: steps that look for flat minima, bounds and averages of weights."""

__all__: list[str] = []
