"""Contract of steps that a GPU replays: optimizers and samplers that break it, and the sentence that reports each."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from torch import Tensor

from ltrun.contracts import device
from ltrun.contracts.training import quick
from ltrun.parts import Sampler
from ltrun.types import Clock, Labels
from tests.support.mypackage import option, sentence_of, target


class Ada:
    """Adam as torch makes it."""

    def __init__(self, lr: float = 0.001):
        self.lr = lr

    def build(self, parameters: Mapping[str, torch.nn.Parameter]) -> torch.optim.Optimizer:
        return torch.optim.Adam(list(parameters.values()), lr=self.lr)


class Captured(Ada):
    """Adam as a captured step needs it."""

    def build(self, parameters: Mapping[str, torch.nn.Parameter]) -> torch.optim.Optimizer:
        moved = list(parameters.values())
        return torch.optim.Adam(moved, lr=torch.tensor(self.lr, device=moved[0].device), fused=True, capturable=True)


class Fused(Ada):
    def build(self, parameters: Mapping[str, torch.nn.Parameter]) -> torch.optim.Optimizer:
        moved = list(parameters.values())
        return torch.optim.Adam(moved, lr=torch.tensor(self.lr, device=moved[0].device), fused=True)


def test_an_optimizer_of_torch_on_the_device_is_captured(tmp_path: Path) -> None:
    choice = option(tmp_path, "optimizer", target(Captured))
    device.device_has_the_bits_of_the_host(choice.library.bound(quick(choice, device.EPOCHS)), tmp_path / "run")


@pytest.mark.parametrize(
    ("part", "said"), [(Ada, "Adam, whose learning rate is not a tensor, cannot"), (Fused, "capturable is False")]
)
def test_an_optimizer_that_a_gpu_cannot_capture_is_reported(part: type, said: str, tmp_path: Path) -> None:
    choice = option(tmp_path, "optimizer", target(part))
    recipe = choice.library.bound(quick(choice, device.EPOCHS))
    sentence = sentence_of(device.device_has_the_bits_of_the_host, recipe, tmp_path / "run")
    assert said in sentence
    assert sentence.endswith("an optimizer of torch.optim also needs fused=True and capturable=True")


class HostSampler(Sampler):
    """Draws by labels wherever they lie."""

    def draw(self, targets: Labels, clock: Clock, generator: torch.Generator) -> Tensor:
        return torch.multinomial(torch.ones_like(targets.labels, dtype=torch.float), len(targets), generator=generator)


def test_a_sampler_that_draws_on_the_device_is_told_to_use_the_host(tmp_path: Path) -> None:
    choice = option(tmp_path, "resampling", {"sampler": target(HostSampler)})
    recipe = choice.library.bound(quick(choice, device.EPOCHS))
    sentence = sentence_of(device.device_has_the_bits_of_the_host, recipe, tmp_path / "run")
    assert sentence.endswith("take the labels to the generator: targets.labels.to(generator.device)")
