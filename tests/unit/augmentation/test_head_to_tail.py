"""RSG, FASA and OFA: rows and labels that they add, what their losses train, rates and epochs, arguments without sense."""

import pytest
import torch
from torch import Tensor

from ltrun.augmentation import FASA, OFA, RSG, Confusing
from ltrun.augmentation.ofa import joined
from ltrun.augmentation.rsg import evenly, pairs
from ltrun.classifier import Linear
from ltrun.errors import ConfigError
from ltrun.network import Plain, ResNetCIFAR
from ltrun.parts import Network, Piece
from ltrun.types import Batch, ClassStats, Clock, Labels, Outputs, View
from tests.support.narrow import present
from tests.support.photographs import batch_of, view

COUNTS = ClassStats(torch.tensor([40, 20, 4, 3, 2]))
SHAPE = torch.Size((1, 8, 8))


def network() -> Network:
    torch.manual_seed(0)
    return Plain(backbone=ResNetCIFAR(8, 4, in_channels=1), make_head=lambda features: Linear(features=features, num_classes=5))


def maps(labels: list[int], channels: int = 8) -> Batch:
    return batch_of(torch.randn(len(labels), channels, 4, 4), torch.tensor(labels))


def seeing(epoch: int, logits: Tensor | None = None) -> View:
    """A view of 69 images in the order of the classes, whose logits are those of their class, (5, 5)."""
    labels = torch.arange(5).repeat_interleave(COUNTS.counts)

    def images(rows: Tensor) -> Batch:
        return Batch(labels[rows].float(), Labels.hard(labels[rows]), rows)

    def predict(inputs: Tensor) -> Outputs:
        return Outputs(logits=present(logits)[inputs.long()])

    return View(Clock("train", epoch, 10), COUNTS, images, predict, torch.Generator(), labels, lambda batch: batch)


# ------------------------------------------------------------------------------------------------------------------ RSG


def made(start: float = 0.8) -> RSG:
    return RSG(start=start, centres=3, width=6, stats=COUNTS, network=network(), input_shape=SHAPE)


def test_a_batch_comes_twice_before_rsg_starts() -> None:
    main = maps([0, 2, 1, 3, 0, 4])
    part = made()
    part.adapt(view(7, 10))
    streams, losses = part({"main": main}, "layer2")
    again = torch.arange(6).repeat_interleave(2)
    assert torch.equal(streams["main"].inputs, main.inputs[again]) and torch.equal(streams["main"].rows, again)
    assert losses["centre"] > 0 and losses["vector"] == 0


def test_new_maps_are_tail_maps_plus_moved_differences() -> None:
    main = maps([0, 2, 1, 3, 0, 4])  # of the head are class 0 alone, a fifth of the classes: two rows
    part = made()
    part.adapt(view(8, 10))
    streams, losses = part({"main": main}, "layer2")
    rows = streams["main"].rows
    assert len(rows) == 12 and set(rows.tolist()) == set(range(6))
    new = [n for n, row in enumerate(rows.tolist()) if not torch.equal(streams["main"].inputs[n], main.inputs[row])]
    assert {0, 4}.isdisjoint(rows[new].tolist()) and len(new) >= 4, "four new maps, each at least once"
    assert torch.equal(streams["main"].targets.labels, main.targets.labels[rows])
    losses["vector"].backward()
    assert part.generator.transform.weight.grad is not None and part.generator.centres.grad is None
    assert not present(part.generator.pairs.linear.weight.grad).any(), "frozen"


def test_no_loss_of_rsg_reaches_the_network() -> None:
    main = maps([0, 2, 0, 3])
    inputs = main.inputs.requires_grad_()
    for epoch in (0, 9):
        part = made()
        part.adapt(view(epoch, 10))
        streams, losses = part({"main": main}, "layer2")
        (sum(losses.values()) + 0 * streams["main"].inputs.sum()).backward()
        assert not present(inputs.grad).any()
        streams, _ = part({"main": main}, "layer2")
        streams["main"].inputs.sum().backward()
        counts = torch.bincount(streams["main"].rows, minlength=4) if epoch == 0 else None
        if counts is not None:
            assert torch.equal(present(inputs.grad)[:, 0, 0, 0], counts.float())
        inputs.grad = None


@pytest.mark.parametrize("labels", [[0, 0, 0], [2, 3, 4], [0], [3]])
@pytest.mark.parametrize("epoch", [0, 9])
def test_batches_of_one_kind_are_left_as_they_are(labels: list[int], epoch: int) -> None:
    main = maps(labels)
    part = made()
    part.adapt(view(epoch, 10))
    streams, losses = part({"main": main}, "layer2")
    assert torch.equal(streams["main"].inputs, main.inputs[torch.arange(len(labels)).repeat_interleave(2)])
    assert losses["vector"] == 0 and losses["centre"].isfinite()


def test_pairs_go_through_the_larger_group_in_slices() -> None:
    head = torch.tensor([True, False, True, True, False, True, True])
    heads, tails, number = pairs(head, 1.0)
    assert number == 4 and heads[:4].tolist() == [0, 2, 3, 5] and tails[:4].tolist() == [1, 4, 1, 4]
    heads, tails, number = pairs(~head, 0.5)
    assert number == 2 and heads[:2].tolist() == [1, 4] and tails[:2].tolist() == [0, 2]


def test_rows_are_repeated_evenly_and_without_bias() -> None:
    torch.manual_seed(0)
    total = torch.zeros(7)
    for _ in range(3000):
        counts = torch.bincount(evenly(10, torch.tensor(7)), minlength=7)
        assert counts.min() >= 1 and counts.max() <= 2 and counts.sum() == 10
        total += counts
    torch.testing.assert_close(total / 3000, torch.full((7,), 10 / 7), rtol=0.04, atol=0)


# ----------------------------------------------------------------------------------------------------------------- FASA


def fasa(net: Network) -> FASA:
    return FASA(stats=COUNTS, features=16, network=net)


def step(part: FASA, net: Network, labels: list[int]) -> Tensor:
    torch.manual_seed(1)
    streams = {"main": batch_of(torch.randn(len(labels), 1, 8, 8), torch.tensor(labels))}
    outputs = {"main": net.predict(streams["main"].inputs)}
    value = part(outputs, streams)
    part.after_step({"main": outputs["main"].detach()}, streams)
    return value


def test_virtual_features_train_the_classifier_alone_from_the_second_epoch() -> None:
    net = network()
    part = fasa(net)
    part.rates.fill_(1.0)
    part.adapt(seeing(0))
    assert step(part, net, [0, 0, 1, 2]) == 0
    part.adapt(seeing(1))
    step(part, net, [0, 0, 1, 2]).backward()
    trained = {name for name, parameter in net.named_parameters() if parameter.grad is not None and parameter.grad.any()}
    assert trained == {"head.weight", "head.bias"}
    assert part.seen.tolist() == [True, True, True, False, False]


def test_the_initial_rates_make_one_virtual_feature_a_step() -> None:
    part = fasa(network())
    torch.testing.assert_close(part.rates.sum(), torch.tensor(1.0))
    torch.testing.assert_close(part.rates[4] / part.rates[0], torch.tensor(20.0))


def test_the_moments_take_in_a_tenth_of_each_batch() -> None:
    net = network().eval()
    part = fasa(net)
    features = torch.randn(6, 16)
    streams = {"main": batch_of(torch.zeros(3, 1, 8, 8), torch.tensor([0, 0, 3]))}
    for some in (features[:3], features[3:]):
        part.after_step({"main": Outputs(features=some, logits=torch.zeros(3, 5))}, streams)
    first, second = features[:2].mean(0), features[3:5].mean(0)
    torch.testing.assert_close(part.mean[0], 0.9 * first + 0.1 * second)
    torch.testing.assert_close(part.variance[0], 0.9 * features[:2].var(0) + 0.1 * features[3:5].var(0))


def test_rates_follow_the_training_loss_between_epochs() -> None:
    part = fasa(network())
    part.mean.copy_(torch.tensor([0.0, 0.1, 5.0, 5.1, 5.2])[:, None].expand(5, 16))
    before = part.rates.clone()
    for epoch, losses in enumerate(([1.0, 1, 1, 1, 1], [0.5, 1, 1, 1, 1.5], [0.5, 1, 1, 1, 1.5])):
        part.adapt(seeing(epoch))
        part.losses.copy_(2 * torch.tensor(losses))
        part.rows.fill_(2.0)
        if epoch == 1:
            assert torch.equal(part.rates, before), "nothing to compare with"
    torch.testing.assert_close(part.rates / before, torch.tensor([1.1, 1.1, 0.9, 0.9, 0.9]))
    kept = part.rates.clone()
    part.adapt(seeing(3))
    assert torch.equal(part.rates, kept) and not part.rows.any()


# ------------------------------------------------------------------------------------------------------------------ OFA


def test_tail_images_are_followed_by_images_of_the_classes_most_like_theirs() -> None:
    part = Confusing(fused=1, head_share=0.9, stats=COUNTS)
    assert part.tail.tolist() == [False, False, True, True, True]
    logits = torch.zeros(5, 5)
    logits[0, 2] = logits[1, 3] = logits[0, 4] = 9
    part.adapt(seeing(0, logits))
    labels = torch.arange(5).repeat_interleave(COUNTS.counts)
    rows = part.draw(Labels.hard(labels), Clock("train", 0, 10), torch.Generator().manual_seed(0))
    assert len(rows) >= 69 and len(rows) % 18 == 0
    tail, others = labels[rows].view(-1, 2).unbind(1)
    assert set(tail.tolist()) == {2, 3, 4}
    assert set(zip(tail.tolist(), others.tolist(), strict=True)) == {(2, 0), (3, 1), (4, 0)}
    assert sorted(rows.view(-1, 2)[:9, 0].tolist()) == list(range(60, 69)), "each tail image once a round"
    part.adapt(seeing(1))  # a view without logits
    assert part.confusing[2:, 0].tolist() == [0, 1, 0]


def test_fused_maps_have_the_label_of_the_tail_map_before_them() -> None:
    net = network()
    part = OFA(stats=COUNTS, network=net)
    assert part.points == ("layer3",)
    main, other = maps([0, 1, 2], 16), maps([1, 3, 0, 1, 2, 0], 16)
    streams, losses = part({"main": main, "fused": other}, "layer3")
    assert losses == {} and set(streams) == {"main"}
    found = streams["main"]
    assert found.targets.labels.tolist() == [0, 1, 2, 1, 3, 3, 3, 2, 2]
    assert found.rows.tolist() == [0, 1, 2, 0, 1, 1, 1, 4, 4]
    assert torch.equal(found.inputs[:3], main.inputs)
    for row in (0, 1, 4):  # no tail map before the first; tail maps themselves
        assert torch.equal(found.inputs[3 + row], other.inputs[row])
    for row, before in ((2, 1), (3, 1), (5, 4)):
        pixels = found.inputs[3 + row]
        known = (pixels == other.inputs[row]) | (pixels == other.inputs[before]) | (pixels == 0)
        assert known.all() and not torch.equal(pixels, other.inputs[row])


def test_labels_with_fewer_columns_get_further_ones_of_no_weight() -> None:
    one, two = Labels.hard(torch.tensor([3])), Labels(torch.tensor([[1, 2]]), torch.tensor([[0.25, 0.75]]))
    both = joined(two, one)
    assert both.index.tolist() == [[1, 2], [3, 3]] and both.weight.tolist() == [[0.25, 0.75], [1.0, 0.0]]


# ------------------------------------------------------------------------------------------------------------- refusals


def test_values_without_sense_are_refused() -> None:
    net = network()
    given = {"stats": COUNTS, "network": net}
    for name, value in {"head_share": 1.0, "strength": 1.5, "start": 2.0, "centre": -1.0, "centres": 0, "width": 0}.items():
        with pytest.raises(ConfigError, match=rf"^([a-z]+, )?{name}\b|^[a-z_]+, {name}|^start"):
            RSG(**{name: value}, **given, input_shape=SHAPE)  # type: ignore[arg-type]
    for place in ("layer4", "features"):
        with pytest.raises(ConfigError, match=f"^point must be a place with maps.*'{place}'.*layer1, layer2, layer3$"):
            RSG(point=place, stats=COUNTS, network=net, input_shape=SHAPE)
    for name, value in {"renewal": 0.0, "up": 0.5, "down": 1.5}.items():
        with pytest.raises(ConfigError, match=name):
            FASA(**{name: value}, **given, features=16)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=r"^foreground"):
        OFA(foreground=1.5, stats=COUNTS, network=net)
    with pytest.raises(ConfigError, match=r"^fused"):
        Confusing(fused=0, stats=COUNTS)
    with pytest.raises(ConfigError, match=r"^head_share"):
        Confusing(head_share=1.0, stats=COUNTS)
    with pytest.raises(ConfigError, match=r"^head_share must leave"):
        Confusing(stats=ClassStats(torch.tensor([5, 0])))


def test_networks_without_maps_are_refused() -> None:
    class Whole(Plain):
        """A network in one piece."""

        def pieces(self) -> list[Piece]:
            return [("features", self.encode)]

    whole = Whole(
        backbone=ResNetCIFAR(8, 4, in_channels=1), make_head=lambda features: Linear(features=features, num_classes=5)
    )
    with pytest.raises(ConfigError, match=r"^network: it has no maps"):
        OFA(stats=COUNTS, network=whole)
    with pytest.raises(ConfigError, match=r"choose ensemble=none"):
        RSG(stats=COUNTS, network=whole, input_shape=SHAPE)
