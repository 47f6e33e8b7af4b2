"""Mixup and CMO: labels mixed in the same shares as the pixels, random draws, the epochs in which CMO acts."""

from collections.abc import Callable
from itertools import product

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from ltrun.augmentation import CMO, Mixup
from ltrun.augmentation.cmo import box
from ltrun.parts import Mixer
from ltrun.types import Batch, Labels
from tests.support.photographs import batch_of, view

MIXERS: dict[str, Callable[[], Mixer]] = {"mixup": Mixup, "cmo": CMO, "always": lambda: CMO(probability=1.0)}


def filled(labels: list[int]) -> Batch:
    """Images filled with the number of their label."""
    index = torch.tensor(labels)
    return batch_of(index.float()[:, None, None, None].expand(-1, 3, 16, 12), index)


def expectation(targets: Labels) -> Tensor:
    return (targets.index * targets.weight).sum(1)


@settings(deadline=None, max_examples=60)
@given(
    chain=st.permutations(["mixup", "mixup", "always"]).flatmap(lambda names: st.sampled_from([names[:k] for k in (1, 2, 3)])),
    labels=st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), min_size=1, max_size=8),
    seed=st.integers(0, 10_000),
)
def test_labels_are_mixed_in_the_same_shares_as_pixels(chain: list[str], labels: list[tuple[int, int]], seed: int) -> None:
    torch.manual_seed(seed)
    main, tail = (filled([pair[i] for pair in labels]) for i in (0, 1))
    streams = {"main": main, "key": main}
    for name in chain:
        streams = MIXERS[name]()({**streams, "tail": tail})
    mixed = streams["main"]
    assert streams["key"] is main
    columns = 1
    for name in chain:
        columns = 2 * columns if name == "mixup" else columns + 1
    assert mixed.targets.index.shape == mixed.targets.weight.shape == (len(labels), columns)
    assert (mixed.targets.weight >= 0).all()
    torch.testing.assert_close(mixed.targets.weight.sum(1), torch.ones(len(labels)), rtol=0, atol=1e-5)
    torch.testing.assert_close(mixed.inputs.mean((1, 2, 3)), expectation(mixed.targets), rtol=0, atol=1e-4)


def test_cmo_then_mixup_gives_four_label_columns() -> None:
    streams = Mixup()(CMO()({"main": filled([0, 1, 2]), "tail": filled([3, 3, 4])}))
    assert set(streams) == {"main"}, "CMO uses up the tail stream"
    assert streams["main"].targets.index.shape == (3, 4)
    assert streams["main"].targets.index[:, :2].tolist() == [[0, 3], [1, 3], [2, 4]]


def test_mixup_shares_follow_the_beta_distribution() -> None:
    torch.manual_seed(0)
    batch = filled([0, 1])
    uniform, extreme = (
        torch.stack([Mixup(alpha=alpha)({"main": batch})["main"].targets.weight[0, 0] for _ in range(2000)])
        for alpha in (1.0, 0.1)
    )
    assert uniform.mean() == pytest.approx(0.5, abs=0.03) and uniform.var() == pytest.approx(1 / 12, abs=0.01)
    assert extreme.mean() == pytest.approx(0.5, abs=0.05) and extreme.var() == pytest.approx(1 / 4.8, abs=0.02)


def test_mixup_draws_one_share_a_batch_and_each_partner_once() -> None:
    torch.manual_seed(0)
    targets = Mixup()({"main": filled(list(range(10)))})["main"].targets
    assert (targets.weight == targets.weight[0]).all()
    assert sorted(targets.index[:, 1].tolist()) == list(range(10)) != targets.index[:, 1].tolist()


def test_the_box_of_cmo_matches_cutmix() -> None:
    height, width = 32, 20
    for keep, y, x in product([0.0, 0.1, 0.34, 0.5, 0.77, 0.999, 1.0], [0, 1, 15, 31], [0, 9, 19]):
        tall, wide = int(height * (1 - keep) ** 0.5), int(width * (1 - keep) ** 0.5)
        expected = torch.zeros(height, width, dtype=torch.bool)
        expected[max(y - tall // 2, 0) : max(y + tall // 2, 0), max(x - wide // 2, 0) : max(x + wide // 2, 0)] = True
        result = box(height, width, torch.tensor(keep, dtype=torch.float64), torch.tensor(y), torch.tensor(x))
        assert torch.equal(result, expected)


def test_cmo_pastes_the_tail_onto_the_main_stream() -> None:
    torch.manual_seed(0)
    main, tail = filled([0, 0, 0]), filled([5, 6, 7])
    on = 0
    for _ in range(400):
        mixed = CMO()({"main": main, "tail": tail})["main"]
        pasted = mixed.inputs != 0
        assert torch.equal(mixed.inputs, torch.where(pasted, tail.inputs, main.inputs))
        assert (pasted == pasted[:1, :1]).all(), "a batch has one box"
        torch.testing.assert_close(mixed.targets.weight[:, 1], pasted.float().mean((1, 2, 3)), rtol=0, atol=1e-6)
        on += int(pasted.any())
    assert 140 < on < 220  # half of 400, minus boxes that round to no pixels
    untouched = CMO(probability=0.0)({"main": main, "tail": tail})["main"]
    assert torch.equal(untouched.inputs, main.inputs) and untouched.targets.weight.tolist() == [[1.0, 0.0]] * 3


@pytest.mark.parametrize(("epochs", "active"), [(200, range(3, 197)), (400, range(6, 394)), (67, range(1, 66)), (3, range(3))])
def test_cmo_leaves_the_first_and_last_epochs_alone(epochs: int, active: range) -> None:
    part = CMO(probability=1.0)
    address = part.active.data_ptr()
    for epoch in range(epochs):
        part.adapt(view(epoch, epochs))
        assert bool(part.active) == (epoch in active)
    assert part.active.data_ptr() == address, "a compiled step would not see a new tensor"
    part.active.fill_(False)
    streams = {"main": filled([1, 2]), "tail": filled([3, 4])}
    assert torch.equal(part(streams)["main"].inputs, streams["main"].inputs)
    assert "active" in part.state_dict()
