"""Size of a network and arithmetic of its prediction, as a record keeps them."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from ltrun.engine.context import RunContext
from ltrun.parts import Network


def size_and_arithmetic(network: Network, context: RunContext) -> dict[str, float]:
    """Returns the number of parameters, and the multiply-accumulates of the prediction of one image.

    torch counts two operations for each multiply-accumulate of convolutions, products and attention, and none for anything
    else. A network whose work depends on the image (`adaptive`) is counted over all test images. Where torch cannot count, the
    second number is left out: no run is lost for it.
    """
    parameters: dict[str, float] = {"parameters": sum(parameter.numel() for parameter in network.parameters())}
    try:
        return parameters | {"multiply_accumulates": multiply_accumulates(network, context)}
    except Exception as error:
        told = " ".join(str(error).split())[:200]
        context.warn(f"the arithmetic of the network was not counted ({type(error).__name__}: {told})")
        return parameters


@torch.no_grad()
def multiply_accumulates(network: Network, context: RunContext) -> float:
    """Returns the multiply-accumulates of the prediction of an image, in evaluation mode."""
    training = network.training
    network.eval()
    done = 0
    try:
        with FlopCounterMode(display=False) as counter:
            for inputs in _inputs(network, context):
                network.predict(inputs)
                done += len(inputs)
    finally:
        network.train(training)
    return counter.get_total_flops() / 2 / done


def _inputs(network: Network, context: RunContext) -> Iterator[Tensor]:
    """Yields prepared test images: one, or for an adaptive network all of them."""
    store = next(iter(context.evaluated.values()))
    rows = torch.arange(len(store))
    plan = rows.split(context.evaluation_batch) if network.adaptive else [rows[:1]]
    for batch in store.open(list(plan)):
        yield context.prepare(batch.inputs)
