"""M2m: which images are replaced and by what, with networks whose answers are known, and what it leaves alone."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from ltrun.augmentation import M2m
from ltrun.augmentation.m2m import NOISE, short_noise
from ltrun.classifier import Linear
from ltrun.data import Normalise
from ltrun.engine.frozen import Frozen
from ltrun.errors import ConfigError
from ltrun.network import Plain
from ltrun.parts import Backbone
from ltrun.types import Batch, ClassStats, Labels

STATS = ClassStats(torch.tensor([500, 100, 10, 0]))
SHAPE = torch.Size((2, 4, 4))


class Flat(Backbone):
    """The pixels are the features, behind two batch normalisations, whose statistics only an evaluation leaves alone."""

    features = SHAPE.numel()

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.frozen = torch.nn.BatchNorm2d(SHAPE[0]), torch.nn.BatchNorm2d(SHAPE[0])

    def forward(self, images: Tensor) -> Tensor:
        return self.frozen(self.norm(images)).flatten(1)


def network() -> Plain:
    return Plain(backbone=Flat(), make_head=lambda features: Linear(features=features, num_classes=4))


def part(beta: float = 0.9, gamma: float = 0.0, lam: float = 0.5, step: float = 0.5, iterations: int = 3) -> M2m:
    torch.manual_seed(0)
    prepare = Normalise(mean=[0.4, 0.5], std=[0.2, 0.3], in_channels=2, channels_last=False)
    teachers, net = {"generator": Frozen(network())}, network()
    inner = (beta, gamma, lam, step, iterations)
    return M2m(*inner, stats=STATS, input_shape=SHAPE, prepare=prepare, network=net, teachers=teachers)


def batch_of(labels: list[int], mixer: M2m, seed: int = 0) -> Batch:
    pixels = torch.rand(len(labels), *SHAPE, generator=torch.Generator().manual_seed(seed))
    return Batch(
        mixer.black + pixels * (mixer.white - mixer.black), Labels.hard(torch.tensor(labels)), torch.arange(len(labels))
    )


def replaced(before: Batch, after: Batch) -> Tensor:
    return (before.inputs != after.inputs).flatten(1).any(dim=1)


def test_images_of_small_classes_are_replaced_as_often_as_the_counts_say() -> None:
    """The largest class and rows without a larger seed stay; class 2 is a slot in 490 of 500 draws, class 1 in 400."""
    mixer, labels = part(beta=1e-9, iterations=1), [0, 0, 1, 2, 3]
    times = torch.zeros(5)
    for draw in range(500):
        main = batch_of(labels, mixer, draw)
        mixed = mixer({"main": main, "other": main})
        assert mixed["other"] is main and torch.equal(mixed["main"].targets.index, main.targets.index)
        times += replaced(main, mixed["main"])
    assert times[:2].tolist() == [0, 0]
    torch.testing.assert_close(times[2:] / 500, torch.tensor([0.8, 0.98, 1.0]), rtol=0, atol=0.06)


def test_a_seed_that_is_hardly_larger_is_seldom_taken() -> None:
    """Class 2 has 490 images fewer than class 0: P = 1 - 0.999 ** 490 = 0.39, and it is a slot in 98 of 100 draws."""
    mixer = part(beta=0.999, iterations=1)
    times = sum(
        replaced(main, mixer({"main": main})["main"])[1] for main in (batch_of([0, 2], mixer, draw) for draw in range(500))
    )
    assert float(times) / 500 == pytest.approx(0.98 * (1 - 0.999**490), abs=0.06)


def test_a_seed_is_an_image_of_a_larger_class_with_noise() -> None:
    """Steps have almost no length here, and the one larger class than class 1 is class 0."""
    mixer, found = part(beta=1e-9, step=1e-9, iterations=1), 0
    for draw in range(20):
        main = batch_of([1, 2, 0], mixer, draw)
        after = mixer({"main": main})["main"]
        if replaced(main, after)[0]:
            pixels = (after.inputs[0] - main.inputs[2]) / (mixer.white - mixer.black)
            assert pixels.norm() <= NOISE + 1e-4
            found += 1
    assert found > 10


def test_an_image_that_the_generator_does_not_take_for_the_class_is_refused() -> None:
    main = batch_of([0, 0, 2, 2], mixer := part(beta=1e-9, gamma=1.0))
    assert not replaced(main, mixer({"main": main})["main"]).any()
    mixer = part(beta=1e-9, gamma=0.5, lam=0.0, step=5.0, iterations=10)
    main = batch_of([0, 0, 2, 2], mixer)
    after = mixer({"main": main})["main"]
    generator = mixer.held[1]
    found = generator.predict(after.inputs).need("logits").softmax(1)[:, 2]
    chosen = replaced(main, after)
    assert chosen.any() and (found[chosen] >= 0.5).all()


def test_images_stay_in_range_and_the_networks_as_they_are() -> None:
    mixer = part(beta=1e-9, step=20.0)
    main, net = batch_of([0, 2, 1, 3], mixer), mixer.held[0]
    net.get_submodule("backbone.frozen").eval()  # as a stage that holds statistics has it, inside a network in training
    modes = [module.training for module in net.modules()]
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    after = mixer({"main": main})["main"]
    assert (after.inputs >= mixer.black - 1e-5).all() and (after.inputs <= mixer.white + 1e-5).all()
    assert replaced(main, after).any() and not after.inputs.requires_grad
    assert modes == [module.training for module in net.modules()] and net.training
    assert all(torch.equal(tensor, before[name]) for name, tensor in net.state_dict().items())
    assert all(parameter.grad is None for parameter in net.parameters())
    assert not mixer.state_dict(), "the networks are saved elsewhere, and bounds follow from the data set"


def test_a_replaced_row_keeps_its_first_label_alone() -> None:
    mixer = part(beta=1e-9)
    main = batch_of([0, 3], mixer)
    mixed = main.replace(targets=main.targets.mix(Labels.hard(torch.tensor([1, 1])), torch.tensor([0.7, 0.6])))
    weight = mixer({"main": mixed})["main"].targets.weight
    torch.testing.assert_close(weight, torch.tensor([[0.7, 0.3], [1.0, 0.0]]))


def test_noise_is_bounded_for_each_image() -> None:
    for rows in (1, 16):
        length = short_noise(torch.zeros(rows, 3, 32, 32)).flatten(1).norm(dim=1)
        torch.testing.assert_close(length, torch.full((rows,), NOISE))


REFUSED: dict[str, Callable[[], object]] = {
    "beta must be": lambda: part(beta=1.0),
    "gamma must be": lambda: part(gamma=1.5),
    "lam must be": lambda: part(iterations=0),
}


@pytest.mark.parametrize("sentence", REFUSED)
def test_values_that_make_no_sense_are_refused(sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        REFUSED[sentence]()
