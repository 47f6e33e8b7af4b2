"""Networks and stages of SHIKE, ACE, TLC, balanced group softmax and SimCal: what learns from what, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from ltrun.classifier import DualHead, GroupedHead, Linear
from ltrun.contracts.trial import trainer
from ltrun.ensemble import ACE, BAGS, SHIKE, TLC, Paced, RIDERouting
from ltrun.ensemble.bags import kept_rows
from ltrun.ensemble.shike import hardest_negatives, mutual
from ltrun.errors import ConfigError
from ltrun.loss import Classification
from ltrun.network import Complementary, DepthFusion, Experts, ResNet, Trustworthy
from ltrun.network.depth_fusion import Aligned, Strided
from ltrun.network.resnet_cifar import Branch
from ltrun.parts import Term
from ltrun.types import Batch, ClassStats, Clock, Labels, Outputs
from tests.support.cases import bound, composed, small
from tests.support.narrow import of_type
from tests.support.networks import backbone, make_head
from tests.support.recipes import refused

STATS = ClassStats(torch.tensor([500, 200, 50, 30, 5]))
IMAGES = torch.randn(4, 3, 16, 16, generator=torch.Generator().manual_seed(0))


def experts(**changes: Any) -> Experts:
    torch.manual_seed(0)
    return Experts(**changes, backbone=backbone(), make_head=make_head)


@pytest.mark.parametrize("num_experts", [2, 3, 4])
@torch.no_grad()
def test_experts_fuse_their_maps_with_shared_maps_of_different_depth(num_experts: int) -> None:
    made = DepthFusion(num_experts, backbone=backbone(), make_head=make_head).eval()
    outputs = made.predict(IMAGES)
    conv, norm, _, first, second = made.trunk.children()
    shallow = [first(norm(conv(IMAGES)).relu())]
    shallow.append(second(shallow[0]))
    for index, (branch, aligned) in enumerate(zip(made.branches, made.shallow, strict=True)):
        maps, deep = shallow[index % 2], of_type(Branch, branch).blocks(shallow[1])
        layers = list(of_type(Aligned, aligned))
        for step, layer in enumerate(layers):
            assert isinstance(layer, Strided)
            maps = layer.bn(layer.conv(maps))
            maps = maps if step == 1 else maps.relu()  # the authors' second strided convolution has no ReLU
        features = (deep * maps).mean(dim=(2, 3))
        torch.testing.assert_close(outputs.need("experts")[index], made.heads[index](features))
        assert len(layers) == 2 - index % 2
    torch.testing.assert_close(outputs.need("logits"), outputs.need("experts").mean(dim=0))


def test_photographs_are_fused_from_three_depths() -> None:
    made = DepthFusion(3, backbone=ResNet(10, in_channels=3), make_head=make_head)
    assert [len(of_type(Aligned, aligned)) for aligned in made.shallow] == [3, 2, 1]
    assert made.predict(torch.randn(2, 3, 64, 64)).need("features").shape == (2, 3 * 512)


def test_every_expert_of_shike_learns_as_teacher_and_as_student() -> None:
    x = torch.randn(3, 4, 5, dtype=torch.float64, requires_grad=True)
    labels = torch.eye(5)[torch.arange(4)].double()
    for loss in (mutual(x), hardest_negatives(x, labels).mean()):
        (gradient,) = torch.autograd.grad(loss, x)
        assert all(one.abs().max() > 0 for one in gradient)
    (first,) = torch.autograd.grad(mutual(x[:2]), x)
    assert first[0].any() and first[1].any() and not first[2].any()


@pytest.mark.parametrize("part", [SHIKE(classify=Classification()), TLC(stats=STATS, classify=Classification())])
def test_mixed_labels_count_by_their_weight(part: Term) -> None:
    x, rows = torch.randn(3, 4, 5), torch.arange(4)
    outputs = {"main": Outputs(logits=x.mean(dim=0), experts=x)}
    one, two = Labels.hard(torch.tensor([0, 1, 2, 3])), Labels.hard(torch.tensor([4, 0, 1, 2]))
    values = [part(outputs, {"main": Batch(x, labels, rows)}) for labels in (one, two, one.mix(two, torch.full((4,), 0.3)))]
    torch.testing.assert_close(values[2], 0.3 * values[0] + 0.7 * values[1])


def test_the_second_stage_of_shike_trains_new_classifiers_alone_and_moves_statistics(tmp_path: Path) -> None:
    recipe = bound(small(composed("method=shike"), epochs=10))
    made = trainer(recipe, tmp_path)
    net = made.network()
    made.begin(net, recipe.stages[0], 0).epoch(Clock("train", 0, 9))
    run = made.begin(net, recipe.stages[1], 1)
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    run.epoch(Clock("classifier", 0, 1))
    moved = {name for name, tensor in net.state_dict().items() if not torch.equal(tensor, before[name])}
    assert {name for name in moved if "heads" in name} == {f"heads.{index}.weight" for index in range(3)}
    assert {name.rpartition(".")[2] for name in moved if "heads" not in name} == {"running_mean", "running_var"}
    (term,) = run.objective.terms.values()
    assert isinstance(term, SHIKE) and (term.hardest, term.exchange) == (0, 0)
    assert [type(adjust).__name__ for adjust in term.classify.adjusts] == ["BalancedSoftmax"]


def test_shared_layers_learn_from_the_first_expert_of_ace_alone() -> None:
    net = Complementary(experts(), stats=STATS)
    found = net.predict(IMAGES).need("experts")
    trunk = list(net.network.trunk.parameters())
    for index in range(3):
        slopes = torch.autograd.grad(found[index].sum(), trunk, retain_graph=True)
        assert all(bool(slope.any()) is (index == 0) for slope in slopes)


def test_the_logits_of_ace_have_the_scale_of_the_first_expert() -> None:
    net = Complementary(experts(), stats=STATS)
    lengths = torch.stack([of_type(Linear, head).weight.norm(dim=1) for head in net.network.heads])
    owned = torch.stack([one[own].mean() for one, own in zip(lengths, net.owns, strict=True)])
    torch.testing.assert_close(net.scales(), owned[0] / owned)


def test_each_expert_of_ace_moves_by_its_share_of_the_rate() -> None:
    """With momentum and weight decay, as SGD with a rate for each expert does."""
    paths = []
    for paced in (True, False):
        net = Complementary(experts(), stats=STATS)
        update = Paced(network=net, stats=STATS)
        assert update.shares == pytest.approx([1, 85 / 785, 5 / 785])
        shares = [1.0, *update.shares[1:]]
        rest = [*net.network.trunk.parameters()]
        groups = [(1.0, rest)] + [
            (share, [*branch.parameters(), *head.parameters()])
            for share, branch, head in zip(shares, net.network.branches, net.network.heads, strict=True)
        ]
        rate = 0.1
        given = [{"params": own, "lr": rate if paced else rate * share} for share, own in groups]
        optimizer = torch.optim.SGD(given, lr=rate, momentum=0.9, weight_decay=5e-4, nesterov=True)
        for _ in range(3):
            if paced:
                update(_Squares(net), optimizer, {})
            else:
                values = _Squares(net)({})[0]
                optimizer.zero_grad()
                values["total"].backward()
                optimizer.step()
        paths.append([parameter.detach() for parameter in net.parameters()])
    for own, expected in zip(*paths, strict=True):
        torch.testing.assert_close(own, expected, rtol=1e-4, atol=1e-6)


class _Squares(nn.Module):
    """An objective: the mean of the squared logits of all experts."""

    def __init__(self, network: Complementary):
        super().__init__()
        self.network = network

    def forward(self, streams: Any) -> tuple[dict[str, Tensor], dict[str, Any], Any]:
        return {"total": self.network.predict(IMAGES).need("experts").square().mean()}, {}, streams


@torch.no_grad()
def test_a_prediction_of_tlc_depends_on_no_other_image() -> None:
    net = Trustworthy(experts(after="stem", width=1.0)).eval()
    whole, alone = net.predict(IMAGES), net.predict(IMAGES[1:2])
    torch.testing.assert_close(alone.need("logits")[0], whole.need("logits")[1], rtol=1e-4, atol=1e-5)


def test_at_most_a_multiple_of_the_members_counts_for_the_others() -> None:
    members = torch.zeros(20, 3, dtype=torch.bool)
    members[:2, 0] = members[:, 1] = True
    keep = kept_rows(members, torch.rand(20, 3), 4.0)
    assert keep[:2, 0].all() and keep.sum(dim=0).tolist() == [2 + 8, 20, 0]
    assert kept_rows(members, torch.rand(20, 3), 8.0).sum(dim=0).tolist() == [18, 20, 0]


CLASSIFY = Classification()
HEAD = Linear(features=4, num_classes=5)


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: SHIKE(hardest=-1.0, classify=CLASSIFY), "hardest and exchange must not be negative"),
        (lambda: RIDERouting(0.0, network=experts()), "positive_weight must be above 0"),
        (lambda: ACE(-1.0, classify=CLASSIFY, network=experts()), "complement must not be negative"),
        (lambda: Complementary(experts(num_experts=2), stats=STATS), "num_experts must be 3"),
        (lambda: TLC(threshold=1.0, stats=STATS, classify=CLASSIFY), "threshold must be at least 0 and below 1"),
        (lambda: TLC(evidence=-1.0, stats=STATS, classify=CLASSIFY), "evidence must not be negative"),
        (lambda: TLC(start=2.0, stats=STATS, classify=CLASSIFY), "reweight_factor and start must lie between 0 and 1"),
        (lambda: Trustworthy(experts(), 0.0), "sharpness must be above 0"),
        (lambda: BAGS(0.0, network=experts()), "ratio must be above 0"),
        (lambda: GroupedHead([], features=4, num_classes=5, stats=STATS), "bins must be rising counts"),
        (lambda: GroupedHead([100, 10], features=4, num_classes=5, stats=STATS), "bins must be rising counts"),
        (lambda: DualHead(0, head=HEAD, stats=STATS), "below must be at least 1"),
        (lambda: DepthFusion(1, backbone=backbone(), make_head=make_head), "num_experts must be at least 2"),
    ],
)
def test_wrong_values_are_refused(make: Any, sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        make()


@pytest.mark.parametrize(
    ("words", "sentences"),
    [
        (["ensemble=ride", "decoupling=shike"], ["would replace train's network"]),
        (["classifier=bags", "margin=ldam"], ["margin=ldam has no effect beside classifier=bags"]),
        (["classifier=bags", "augmentation=mixup"], ["mixup mixes labels, which classifier=bags"]),
    ],
)
def test_combinations_that_make_no_sense_are_refused(words: list[str], sentences: list[str]) -> None:
    said = refused(composed(*words))
    assert all(sentence in said for sentence in sentences), said
