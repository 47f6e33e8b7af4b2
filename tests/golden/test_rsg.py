"""RSG, rare-class generation on feature maps, against the original authors' numbers."""

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from ltrun.augmentation.rsg import Generator
from tests.support.golden import Golden, close, every_case

CASES = ["before the threshold", "generation, more tail than head, strength 1", "generation, strength 0.4"]
NAMES = {
    "linear": "linear", "bias": "bias", "centers": "centres", "tr_w": "transform.weight", "tr_b": "transform.bias",
    "c1_w": "pairs.reduce.weight", "c1_b": "pairs.reduce.bias", "c2_w": "pairs.mix.weight", "c2_b": "pairs.mix.bias",
    "fc_w": "pairs.linear.weight", "fc_b": "pairs.linear.bias",
}  # fmt: skip


@pytest.fixture(scope="module")
def reference(golden: Golden) -> dict[str, Any]:
    return golden("rsg")


def loaded(reference: dict[str, Any], case: dict[str, Any], dtype: torch.dtype) -> tuple[Generator, dict[str, Tensor]]:
    inputs = {role: torch.tensor(reference["inputs"][name], dtype=dtype) for role, name in case["inputs"].items()}
    classes, channels, centres = inputs["linear"].shape
    generator = Generator(classes, channels, centres, len(inputs["c1_w"])).to(dtype)
    generator.load_state_dict({name: inputs[role] for role, name in NAMES.items()})
    return generator, inputs


@pytest.mark.parametrize(("dtype", "rtol"), [(torch.float64, 1e-9), (torch.float32, 2e-5)])
@pytest.mark.parametrize("name", CASES)
def test_maps_losses_and_gradients(name: str, dtype: torch.dtype, rtol: float, reference: dict[str, Any]) -> None:
    with every_case(reference, {other: "another parameter" for other in CASES if other != name}) as take:
        case = take(name)
    given, expected = case["hyperparameters"], case["outputs"]
    generator, inputs = loaded(reference, case, dtype)
    maps, labels = inputs["map"].requires_grad_(), inputs["labels"].long()
    head = torch.isin(labels, torch.tensor(given["head_classes"]))
    generates = torch.tensor(given["epoch"] > given["epoch_threshold"])
    new, tails, number, centre, vector = generator(maps, labels, head, given["transfer_strength"], generates)
    made = int(number)
    together, all_labels = torch.cat([maps, new[:made]]), torch.cat([labels, labels[tails[:made]]])
    assert all_labels.tolist() == expected["labels"]
    close(together, expected["maps"], rtol)
    close(centre, expected["centre_loss"], rtol)
    close(vector, expected["vector_loss"], rtol)
    total = F.cross_entropy(together.flatten(1) @ inputs["classifier"], all_labels) + 0.1 * centre + 0.01 * vector
    close(total, expected["total"], rtol)
    total.backward()
    known = dict(generator.named_parameters())
    assert maps.grad is not None
    close(maps.grad, expected["grad_map"], rtol)
    for role, parameter in NAMES.items():
        if f"grad_{role}" in expected:
            gradient = known[parameter].grad
            assert gradient is not None
            close(gradient, expected[f"grad_{role}"], rtol)
