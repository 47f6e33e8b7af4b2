"""Mixers of pairs of images: labels mixed in the same shares as the pixels, random draws, the epochs in which CMO acts."""

from collections.abc import Callable
from itertools import product

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from ltrun.augmentation import CMO, CutMix, MAMix, Mixup, Remix, UniMix, mamix
from ltrun.augmentation.cutmix import box
from ltrun.augmentation.mixup import mixup
from ltrun.errors import ConfigError
from ltrun.parts import Mixer
from ltrun.targets import one_label
from ltrun.types import Batch, ClassStats, Labels
from tests.support.photographs import batch_of, view

PASTES = {"cmo", "always", "cutmix"}  # a box of an image that has a box counts for its whole area
STATS = ClassStats(torch.tensor([500, 299, 179, 107, 64, 38, 23, 13, 8, 5]))
MIXERS: dict[str, Callable[[], Mixer]] = {
    "mixup": Mixup,
    "cmo": CMO,
    "always": lambda: CMO(probability=1.0),
    "cutmix": lambda: CutMix(probability=1.0),
    "unimix": lambda: UniMix(stats=STATS),
    "remix": lambda: Remix(tau=0.0, stats=STATS),  # no pair is unequal enough
    "mamix": lambda: MAMix(omega=0.0, stats=STATS),  # no class is rarer
}


def filled(labels: list[int]) -> Batch:
    """Images filled with the number of their label."""
    index = torch.tensor(labels)
    return batch_of(index.float()[:, None, None, None].expand(-1, 3, 16, 12), index)


def expectation(targets: Labels) -> Tensor:
    return (targets.index * targets.weight).sum(1)


@settings(deadline=None, max_examples=60)
@given(
    chain=st.lists(st.sampled_from([*MIXERS]), min_size=1, max_size=3).filter(
        lambda names: sum(n in PASTES for n in names) < 2
    ),
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
        columns = columns + 1 if name in ("cmo", "always") else 2 * columns
    targets = one_label(mixed.targets)
    assert targets.index.shape == targets.weight.shape == (len(labels), columns)
    assert (targets.weight >= 0).all()
    torch.testing.assert_close(targets.weight.sum(1), torch.ones(len(labels)), rtol=0, atol=1e-5)
    torch.testing.assert_close(mixed.inputs.mean((1, 2, 3)), expectation(targets), rtol=0, atol=1e-4)


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


def test_cutmix_pastes_one_box_of_a_partner_onto_half_of_the_batches() -> None:
    torch.manual_seed(0)
    main = filled(list(range(8)))
    on = 0
    for _ in range(400):
        mixed = CutMix()({"main": main})["main"]
        pasted = mixed.inputs != main.inputs
        partner = mixed.targets.index[:, 1]
        assert sorted(partner.tolist()) == list(range(8))
        changed = partner != torch.arange(8)
        assert torch.equal(mixed.inputs[pasted], partner[:, None, None, None].expand_as(pasted)[pasted].float())
        area = pasted[changed].float().mean((1, 2, 3))
        torch.testing.assert_close(mixed.targets.weight[changed, 1], area, rtol=0, atol=1e-6)
        on += int(pasted.any())
    assert 140 < on < 220


def test_remix_gives_the_label_to_the_rarer_class_of_an_unequal_pair_alone() -> None:
    torch.manual_seed(0)
    part, seen = Remix(stats=STATS), set()
    for _ in range(60):
        mixed = part({"main": filled([0, 9, 1])})["main"]
        index = mixed.targets.index
        keep = (mixed.inputs.mean((1, 2, 3)) - index[:, 1]) / (index[:, 0] - index[:, 1])
        for (own, other), share, image in zip(index.tolist(), mixed.targets.weight[:, 0].tolist(), keep, strict=True):
            if 9 in (own, other) and own != other:
                rare = image if own == 9 else 1 - image
                expected = float(own == 9) if rare > 0.5 else float(image)
                assert share == pytest.approx(expected, abs=1e-5)
                seen.add(rare.item() > 0.5)
    assert seen == {True, False}


def test_the_label_of_mamix_turns_where_the_powers_of_the_counts_say() -> None:
    partner = torch.linspace(0, 1, 101, dtype=torch.float64)
    for own, other, omega in ((500, 5, -0.25), (5, 500, -0.25), (7, 7, -0.25), (500, 5, 0.0), (500, 5, 0.7)):
        turn = own**omega / (own**omega + other**omega)
        share = mamix.label_share(1 - partner, torch.tensor(own), torch.tensor(other), omega)
        before, after = 1 - partner / (2 * turn), (1 - partner) / (2 * (1 - turn))
        torch.testing.assert_close(share, torch.where(partner < turn, before, after), rtol=1e-9, atol=1e-12)
    half = mamix.label_share(torch.tensor(0.5), torch.tensor(5), torch.tensor(5), -0.25)
    assert half == 0.5, "the authors' code raises where the partner's share is the turning point"
    extreme = mamix.label_share(torch.tensor([0.0, 0.5, 1.0]), torch.tensor(5), torch.tensor(500), -1e6)
    assert extreme.tolist() == [0.0, 0.75, 1.0], "the label turns where the partner is the whole image"


def test_unimix_draws_partners_in_favour_of_rare_classes_and_a_share_for_each_row() -> None:
    torch.manual_seed(0)
    labels = [0] * 3 + [9]
    part = UniMix(tau=-0.5, stats=STATS)
    mixed = [part({"main": filled(labels)})["main"].targets for _ in range(600)]
    rare = torch.stack([targets.index[:, 1] == 9 for targets in mixed]).float().mean()
    assert rare == pytest.approx(10 / 13, abs=0.03), "an image of class 9 has ten times the weight of one of class 0"
    assert len(mixed[0].weight[:, 0].unique()) == 4
    shares = torch.stack([targets.weight[3, 0] for targets in mixed if targets.index[3, 1] == 0])
    assert shares.mean() > 0.5, "the rarer class has the larger share"


def test_a_label_share_of_its_own_leaves_the_pixels_alone() -> None:
    batch = filled([1, 2])
    mixed = mixup(batch, torch.tensor([1, 0]), torch.tensor(0.25), torch.tensor([1.0, 0.0]))
    assert mixed.inputs.mean((1, 2, 3)).tolist() == [1.75, 1.25]
    assert one_label(mixed.targets).weight.tolist() == [[1.0, 0.0], [0.0, 1.0]]


@pytest.mark.parametrize(
    ("make", "argument"),
    [
        (lambda: CutMix(probability=1.5), "probability"),
        (lambda: CutMix(beta=0.0), "beta"),
        (lambda: Remix(kappa=0.5, stats=STATS), "kappa"),
        (lambda: Remix(tau=2.0, stats=STATS), "tau"),
        (lambda: MAMix(alpha=0.0, stats=STATS), "alpha"),
        (lambda: UniMix(alpha=-1.0, stats=STATS), "alpha"),
    ],
)
def test_values_without_sense_are_refused_by_name(make: Callable[[], Mixer], argument: str) -> None:
    with pytest.raises(ConfigError, match=f"^{argument} must"):
        make()
