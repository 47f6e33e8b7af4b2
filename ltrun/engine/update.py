"""Updates: plain gradient descent, a bilevel step that learns outer parameters, a step with a corrected gradient."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from fnmatch import fnmatch
from typing import ClassVar, Literal, cast

import torch
from torch import Tensor, nn
from torch.func import functional_call

from ltrun import parts
from ltrun.engine.objective import Objective
from ltrun.errors import ConfigError
from ltrun.loss import Classification
from ltrun.parts import Descent, Network, Outcome, Update
from ltrun.types import Batch, Outputs, Streams


class Plain(Update):
    """One gradient, one optimizer step."""

    def forward(self, objective: parts.Objective, optimizer: Descent, streams: Streams) -> Outcome:
        values, outputs, streams = objective(streams)
        optimizer.zero_grad(set_to_none=True)
        values["total"].backward()
        optimizer.step()
        return values, outputs, streams


class Bilevel(Update):
    """Before each step, moves the outer parameters so that the step lowers the loss of a balanced batch further.

    The outer parameters phi belong to the parts with `outer`, such as weights and sample rates. A virtual step of plain descent
    at the current learning rate, theta' = theta - lr * d total(theta, phi) / d theta, is judged by the meta loss: the plain
    cross-entropy of theta' on stream `meta`. Adam moves phi by the exact gradient of the meta loss through theta', second
    derivatives included. Then the network takes its real step with the new phi, on the same augmented and mixed images.
    `lr` and `weight_decay` are Adam's, or with by='descent' a plain step's, and follow no schedule.

    virtual: patterns over the names of the network's parameters; theta is the set of matching parameters that the stage trains.
    "*" is true to both originals: Meta-Weight-Net trains the whole network and BALMS the classifier alone, and each takes the
    virtual step with all that it trains. With "*", a step of a ResNet takes four times as long as a plain step; with "*head*",
    which spares the backward passes through the rest, one and a half times. BALMS's virtual step has momentum and weight decay;
    here it has neither.

    Outer parameters act in the terms, so that one forward pass of the training batch serves both steps. The forward pass of
    `meta` does not change the network's buffers: its batch statistics go to copies.

    Shu et al., 2019, arXiv 1902.07379, algorithm 1; Ren et al., 2020, arXiv 2007.10740.
    """

    streams: ClassVar[tuple[str, ...]] = ("meta",)
    mean: Tensor
    square: Tensor
    steps: Tensor

    def __init__(
        self,
        lr: float = 1e-3,
        weight_decay: float = 0.0,
        virtual: Sequence[str] = ("*",),
        by: Literal["adam", "descent"] = "adam",
        *,
        outer: Sequence[nn.Parameter],
    ):
        super().__init__()
        if lr <= 0:
            raise ConfigError(f"lr must be above 0, got {lr}")
        if weight_decay < 0:
            raise ConfigError(f"weight_decay must not be negative, got {weight_decay}")
        self.lr, self.weight_decay, self.virtual, self.by = lr, weight_decay, virtual, by
        self.learnt = list(outer)  # a plain list, because the parts that own the parameters save them
        self.sizes = [parameter.numel() for parameter in outer]
        if by == "adam":
            for name in ("mean", "square"):
                self.register_buffer(name, torch.zeros(sum(self.sizes)))
            self.register_buffer("steps", torch.zeros(()))

    def forward(self, objective: parts.Objective, optimizer: Descent, streams: Streams) -> Outcome:
        objective.check_unscaled(self)
        objective = cast(Objective, objective)
        optimizer.zero_grad(set_to_none=True)
        values, outputs, streams = objective(streams)
        rates = {p: group["lr"] for group in optimizer.param_groups for p in group["params"]}
        self.move(self.outer_gradient(objective, values["total"], streams["meta"], rates))
        values = objective.values(outputs, streams)  # the same forward pass, with the new phi
        values["total"].backward(inputs=[p for group in optimizer.param_groups for p in group["params"]])
        optimizer.step()
        return values, outputs, streams

    def outer_gradient(
        self, objective: Objective, total: Tensor, meta: Batch, rates: Mapping[nn.Parameter, float | Tensor]
    ) -> Tensor:
        """Returns the (P,) gradient of the meta loss with respect to the outer parameters, after a virtual step.

        rates: parameter -> its learning rate. Raises ConfigError if `virtual` matches no trained parameter.
        """
        network, ranks = objective.network, objective.ranks
        known = dict(network.named_parameters())
        theta = {name: p for name, p in known.items() if p.requires_grad and any(fnmatch(name, x) for x in self.virtual)}
        if not theta:
            raise ConfigError(f"update.virtual must match a trained parameter of the network, got {list(self.virtual)}")
        slopes = _gradient(total, list(theta.values()), create_graph=True)
        whole = ranks.mean(slopes)
        stepped = {n: (p - rates[p] * s).detach().requires_grad_() for (n, p), s in zip(theta.items(), whole, strict=True)}
        state = {name: p.detach() for name, p in known.items()} | _copies(dict(network.named_buffers()))
        with objective.precision.autocast():
            named = {f"network.{name}": tensor for name, tensor in (state | stepped).items()}
            judged = ranks.predict(lambda x: functional_call(_Predictor(network), named, (x,)), meta.inputs)
        loss = Classification().loss(judged.need("logits"), meta.targets, judged)
        # The chain rule through theta' = theta - rates * slopes, where only the slopes depend on phi.
        pulls = ranks.mean(_gradient(loss, list(stepped.values())))
        steps = zip(theta.values(), slopes, pulls, strict=True)  # the slopes of this rank, as it can differentiate no others
        through = torch.stack([-rates[p] * (slope * pull).sum() for p, slope, pull in steps]).sum()
        (gradient,) = ranks.mean([torch.cat([gradient.flatten() for gradient in _gradient(through, self.learnt)])])
        return gradient

    @torch.no_grad()
    def move(self, gradient: Tensor) -> None:
        """Moves the outer parameters down their gradient (P,), by one step of `by`."""
        gradient = gradient + self.weight_decay * torch.cat([parameter.flatten() for parameter in self.learnt])
        change = self.adam(gradient) if self.by == "adam" else self.lr * gradient
        for parameter, part in zip(self.learnt, change.split(self.sizes), strict=True):
            parameter.sub_(part.view_as(parameter))

    def adam(self, gradient: Tensor) -> Tensor:
        """(P,): what a step of Adam (Kingma and Ba, 2015, arXiv 1412.6980) subtracts; its moments are buffers."""
        self.steps += 1
        self.mean.lerp_(gradient.to(self.mean), 1 - 0.9)
        self.square.lerp_(gradient.square().to(self.square), 1 - 0.999)
        mean, square = (
            moment / -torch.expm1(self.steps * math.log(b)) for moment, b in ((self.mean, 0.9), (self.square, 0.999))
        )
        return self.lr * mean / (square.sqrt() + 1e-8)


def corrected(base: Tensor, other: Tensor) -> Tensor:
    """Returns base + other, without the component of `other` along `base` where the two point apart. Both: of one parameter."""
    along = (base * other).sum().clamp(max=0) / base.square().sum().clamp(min=torch.finfo(base.dtype).tiny)
    return base + other - along * base


class KnowledgeCorrection(Update):
    """LTRL's knowledge correction: a term's gradient loses its component against the gradient of all other terms.

    For each parameter tensor, with g the gradient of the other terms and k the gradient of the term: if g . k < 0, k becomes
    k - (g . k / g . g) g, which is orthogonal to g. The step is taken along g + k. term: name of the term. A step has two
    backward passes.

    Zhao et al., 2024, arXiv 2407.12568.
    """

    def __init__(self, term: str = "review"):
        super().__init__()
        self.term = term

    def forward(self, objective: parts.Objective, optimizer: Descent, streams: Streams) -> Outcome:
        objective.check_unscaled(self)
        optimizer.zero_grad(set_to_none=True)
        values, outputs, streams = objective(streams)
        others = [value for name, value in values.items() if name not in (self.term, "total")]
        if self.term not in values or not others:
            raise ConfigError(f"update.term must be one of several terms, {', '.join(values)}, got {self.term}")
        parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
        base = objective.gradient(torch.stack(others).sum(), parameters, again=True)
        term = objective.gradient(values[self.term], parameters)
        for parameter, *pair in zip(parameters, base, term, strict=True):
            parameter.grad = corrected(*pair)
        optimizer.step()
        return values, outputs, streams


def _copies(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Returns copies under the same names, made by one kernel and not by one for each tensor."""
    copies = {name: torch.empty_like(tensor) for name, tensor in tensors.items()}
    if copies:
        torch._foreach_copy_(list(copies.values()), list(tensors.values()))
    return copies


class _Predictor(nn.Module):
    """Makes `predict` the forward pass, because functional_call calls that."""

    def __init__(self, network: Network):
        super().__init__()
        self.network = network

    def forward(self, inputs: Tensor) -> Outputs:
        return self.network.predict(inputs)


def _gradient(value: Tensor, inputs: Sequence[Tensor], create_graph: bool = False) -> tuple[Tensor, ...]:
    """Returns the derivatives of a scalar on this rank; zeros for inputs that it does not depend on."""
    return torch.autograd.grad(value, inputs, create_graph=create_graph, allow_unused=True, materialize_grads=True)
