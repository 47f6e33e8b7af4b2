"""Modified Bessel functions of the first kind, I_nu, in logarithms, for any argument and with exact derivatives."""

from __future__ import annotations

import math
from fractions import Fraction
from functools import cache
from typing import Any

import torch
from torch import Tensor

LARGE = 40  # order from which on Debye's expansion is exact in float64
TERMS = 12


class LogBessel(torch.autograd.Function):
    """log I_nu(x) - nu * log(x) of x (...) above 0, float64, for an order nu of at least 0. Its derivative is I_(nu+1) / I_nu.

    Exact to about 1e-13 of max(1, x) at every x: Debye's uniform expansion gives an order of at least LARGE, and continued
    fractions lead down from there, the direction in which they are stable.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, nu: float) -> Tensor:
        steps = max(0, math.ceil(LARGE - nu))
        top = nu + steps
        value = _debye(x, top)
        ratio = (_debye(x, top + 1) - value).exp()
        for order in (nu + step for step in range(steps, 0, -1)):
            ratio = 1 / (2 * order / x + ratio)  # I_order / I_(order - 1)
            value = value - ratio.log()
        ctx.save_for_backward(x, ratio)
        ctx.nu = nu
        return value - nu * x.log()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        x, ratio = ctx.saved_tensors
        return gradients[0] * _Ratio.apply(x, ratio, ctx.nu), None


class _Ratio(torch.autograd.Function):
    """I_(nu+1) / I_nu at x, already computed, as a function of x, for second derivatives."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, ratio: Tensor, nu: float) -> Tensor:
        ctx.save_for_backward(x, ratio)
        ctx.nu = nu
        return ratio.clone()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        x, ratio = ctx.saved_tensors
        return gradients[0] * (1 - ratio.square() - (2 * ctx.nu + 1) / x * ratio), None, None


def log_bessel(x: Tensor, nu: float) -> Tensor:
    """log I_nu(x) - nu * log(x): see LogBessel."""
    found: Tensor = LogBessel.apply(x, nu)
    return found


def _debye(x: Tensor, nu: float) -> Tensor:
    """log I_nu(x) by the uniform expansion for large orders (Abramowitz and Stegun, 1964, 9.7.7)."""
    z = x / nu
    root = (1 + z.square()).sqrt()
    t = 1 / root
    series = torch.zeros_like(x)
    for k in range(TERMS, 0, -1):
        series = (series + _horner(_polynomial(k), t)) / nu
    exponent = nu * (root + (z / (1 + root)).log())
    return exponent - 0.5 * (math.log(2 * math.pi * nu) + root.log()) + series.log1p()


def _horner(coefficients: tuple[float, ...], t: Tensor) -> Tensor:
    value = torch.zeros_like(t)
    for coefficient in reversed(coefficients):
        value = value * t + coefficient
    return value


@cache
def _polynomial(k: int) -> tuple[float, ...]:
    return tuple(float(coefficient) for coefficient in _exact(k))


@cache
def _exact(k: int) -> tuple[Fraction, ...]:
    """Coefficients of Debye's polynomial u_k, the constant first (Abramowitz and Stegun, 1964, 9.3.10)."""
    if k == 0:
        return (Fraction(1),)
    before = _exact(k - 1)
    found = [Fraction(0)] * (len(before) + 3)
    for power, coefficient in enumerate(before):
        found[power + 1] += coefficient * (Fraction(power, 2) + Fraction(1, 8 * (power + 1)))
        found[power + 3] -= coefficient * (Fraction(power, 2) + Fraction(5, 8 * (power + 3)))
    return tuple(found)
