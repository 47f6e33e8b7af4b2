"""CMO's boxes, mixed images, losses and foreground weights against recorded values of the authors' code."""

import pytest
import torch
from torch import Tensor

from ltrun.augmentation.cutmix import box, paste
from ltrun.loss import Classification
from ltrun.parts import Weigh
from ltrun.resampling.power import power_probabilities
from ltrun.targets import one_label
from ltrun.types import Batch, Labels, Outputs
from tests.support.golden import COUNTS, Golden, close, every_case

BOXES = (
    "box and area-corrected lambda, {0} x {0}; rows: lambda outer, centre inner; "
    "box = [first0, second0, first1, second1, lambda]"
)
MIXES = ["mix and loss: lambda 0.40, centre (2,3)", "mix and loss: lambda 0.05, centre (3,3), class weights"]


class Weights(Weigh):
    """Class weights of a PyTorch weighted mean."""

    def __init__(self, weights: list[float], dtype: torch.dtype):
        super().__init__()
        self.weights = torch.tensor(weights, dtype=dtype)

    def forward(self, logits: Tensor, labels: Tensor, outputs: Outputs) -> Tensor:
        return self.weights[labels]


def _edges(mask: Tensor) -> list[int]:
    """Returns the box of a mask as [first row, first column, end row, end column]; all of a box without pixels is 0."""
    places = mask.nonzero()
    return [0] * 4 if not len(places) else [*places.min(0).values.tolist(), *(places.max(0).values + 1).tolist()]


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_cmo(golden: Golden, dtype: torch.dtype) -> None:
    data = golden("cmo")
    given, rtol = data["inputs"], 1e-9 if dtype == torch.float64 else 2e-5
    with every_case(data, {}) as take:
        for side in (32, 224):
            rows = take(BOXES.format(side))["outputs"]["box_and_lambda"]
            drawn = [(keep, y, x) for keep in given[f"lambda_{side}x{side}"] for y, x in given[f"centres_{side}x{side}"]]
            for (keep, y, x), (*edges, corrected) in zip(drawn, rows, strict=True):
                mask = box(side, side, torch.tensor(keep, dtype=dtype), torch.tensor(y), torch.tensor(x))
                empty = edges[0] == edges[2] or edges[1] == edges[3]
                assert _edges(mask) == ([0] * 4 if empty else edges)
                close(1 - mask.to(dtype).mean(), corrected, rtol)

        assert given["cls_num_list"] == COUNTS.tolist()
        for alpha in (1, 2):
            case = take(f"foreground sampling weights, alpha={alpha}")["outputs"]
            close(power_probabilities(COUNTS, 1 - alpha), case["class_probability"], 1e-9)
            image = power_probabilities(COUNTS, 1 - alpha) / COUNTS
            close(image / image[0] * case["image_weight"][0], case["image_weight"], 1e-9)
            assert case["draws_per_epoch"] == COUNTS.sum()

        for name in MIXES:
            case = take(name)
            rule = case["hyperparameters"]
            main, tail = (
                Batch(torch.tensor(given[x], dtype=dtype), Labels.hard(torch.tensor(given[y])), torch.arange(5))
                for x, y in (("x", "y"), ("x2", "y2"))
            )
            y, x = map(torch.tensor, rule["centre"])
            mixed = paste(main, tail, box(6, 6, torch.tensor(rule["lambda_drawn"], dtype=dtype), y, x))
            weight = torch.tensor(given["weight"], dtype=dtype, requires_grad=True)
            logits = mixed.inputs.flatten(1) @ weight
            weighs = [Weights(rule["class_weights"], dtype)] if rule["class_weights"] else []
            loss = Classification(weighs=weighs).loss(logits, mixed.targets, Outputs(logits=logits))
            close(mixed.inputs, case["outputs"]["mixed"], rtol)
            close(one_label(mixed.targets).weight[0, 0], case["outputs"]["lambda"], rtol)
            close(loss, case["outputs"]["loss"], rtol)
            close(torch.autograd.grad(loss, weight)[0], case["outputs"]["grad_weight"], rtol)
