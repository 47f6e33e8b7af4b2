"""Range loss, class rectification, OLTR's memory and NPE's modules: edges of a batch, independent sums, what is detached."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import product

import pytest
import torch
from torch import Tensor

from ltrun.classifier import Linear, MetaEmbedding, PriorEstimator
from ltrun.classifier.meta_embedding import reachability
from ltrun.errors import ConfigError
from ltrun.loss import Classification
from ltrun.network.modulated import Modulated, ModulatedAttention
from ltrun.representation import CRL, DiscriminativeCentroids, RangeLoss
from ltrun.representation.class_rectification import imbalance, minority, rectification
from ltrun.representation.npe import sunk
from ltrun.representation.range_loss import intra, nearest_centres, range_loss
from ltrun.types import Batch, ClassStats, Clock, Labels, Outputs, View
from tests.support.narrow import present
from tests.support.networks import backbone, make_head

DOUBLE = torch.float64


def draw(rows: int, columns: int, seed: int = 0) -> Tensor:
    return torch.randn(rows, columns, dtype=DOUBLE, generator=torch.Generator().manual_seed(seed))


# ------------------------------------------------------------------------------------------------------------- range loss


@pytest.mark.parametrize("k", [1, 2, 3, 50])
def test_ranges_are_those_of_each_class_alone(k: int) -> None:
    features, labels = draw(12, 4), torch.tensor([3, 0, 3, 3, 0, 7, 3, 0, 1, 1, 3, 0])
    expected = 0.0
    for label in labels.unique():
        rows = features[labels == label]
        apart = torch.pdist(rows).square().sort(descending=True).values[:k]
        expected += len(apart) / (1 / apart).sum().item() if len(apart) else 0.0
    assert intra(features, labels, k).item() == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("labels", [[4], [2, 2], [0, 1], [0, 0, 0, 1], [5, 5, 5]])
@pytest.mark.parametrize("apart", [0.0, 1.0, 1e4])
def test_the_range_loss_is_finite_for_every_batch(labels: list[int], apart: float) -> None:
    """One image, one class, images that are equal: no pair, no second centre, a distance of 0."""
    features = (apart * draw(len(labels), 3)).requires_grad_()
    loss = range_loss(features, torch.tensor(labels))
    loss.backward()
    assert loss.isfinite() and present(features.grad).isfinite().all()


def test_one_class_has_no_nearest_centre_and_one_image_no_range() -> None:
    assert not nearest_centres(draw(3, 2), torch.tensor([1, 1, 1]))[1]
    assert range_loss(draw(1, 2), torch.tensor([1])).item() == 0
    assert intra(draw(3, 2), torch.tensor([0, 1, 2]), 2).item() == 0


@pytest.mark.parametrize(
    ("make", "name"),
    [
        (lambda: RangeLoss(k=0), "k"),
        (lambda: RangeLoss(margin=-1.0), "margin"),
        (lambda: RangeLoss(alpha=-1.0), "alpha"),
        (lambda: DiscriminativeCentroids(weight=-1.0, network=None), "weight"),  # type: ignore[arg-type]
        (lambda: MetaEmbedding(scale=0.0, head=Linear(features=2, num_classes=2)), "scale"),
        (lambda: PriorEstimator(0, head=Linear(features=2, num_classes=2)), "modules"),
        (lambda: rectifier(eta=2.0), "eta"),
        (lambda: rectifier(k=0), "k"),
    ],
)
def test_a_senseless_value_is_refused_by_name(make: Callable[[], object], name: str) -> None:
    with pytest.raises(ConfigError, match=f"^{name}"):
        make()


# -------------------------------------------------------------------------------------------------------------------- CRL


def rectifier(eta: float = 0.01, k: int = 3) -> CRL:
    return CRL(eta, k, stats=ClassStats(torch.tensor([8, 4, 2, 0])), classify=Classification())


def enumerated(probabilities: Tensor, labels: list[int], k: int, margin: float) -> float:
    """The mean over triplets, one by one."""
    sizes = {c: labels.count(c) for c in labels}
    small, filled = set(), 0
    for c in sorted(sizes, key=lambda c: (sizes[c], c)):
        filled += sizes[c]
        if filled <= len(labels) / 2:
            small.add(c)
    hinges = []
    for a, c in enumerate(labels):
        score = probabilities[:, c].tolist()
        same = sorted(score[i] for i in range(len(labels)) if labels[i] == c and i != a)[:k]
        others = sorted((score[i] for i in range(len(labels)) if labels[i] != c), reverse=True)[:k]
        if c in small:
            hinges += [max(0.0, margin + abs(score[a] - p) - (score[a] - n)) for p, n in product(same, others)]
    return sum(hinges) / max(1, len(hinges))


@pytest.mark.parametrize("k", [1, 3, 20])
@pytest.mark.parametrize("margin", [0.0, 0.5])
def test_class_rectification_is_the_mean_over_its_triplets(k: int, margin: float) -> None:
    labels = [0] * 9 + [1] * 4 + [2] * 3 + [3] * 2 + [4]
    probabilities = (2 * draw(len(labels), 6)).softmax(1)
    found = rectification(probabilities, torch.tensor(labels), k, margin)
    assert found.item() == pytest.approx(enumerated(probabilities, labels, k, margin), rel=1e-9)


@pytest.mark.parametrize("labels", [[0], [0, 0], [0, 1], [0, 0, 0, 1]])
def test_without_triplets_class_rectification_is_0_and_finite(labels: list[int]) -> None:
    logits = draw(len(labels), 3).requires_grad_()
    loss = rectification(logits.softmax(1), torch.tensor(labels))
    loss.backward()
    assert loss.item() == 0 and present(logits.grad).isfinite().all()


def test_the_smallest_classes_fill_at_most_half_of_the_batch() -> None:
    labels = torch.tensor([0, 0, 0, 0, 1, 1, 2, 2, 3, 3])
    assert minority(labels).tolist() == [False] * 4 + [True] * 4 + [False] * 2  # of equal classes the lower numbers


def test_imbalance_is_the_share_that_would_change_class() -> None:
    assert imbalance(torch.tensor([5, 5])) == 0 and imbalance(torch.tensor([9, 1])) == pytest.approx(0.4)
    assert rectifier(eta=0.5).weight == pytest.approx(0.5 * imbalance(torch.tensor([8, 4, 2, 0])))


def test_with_eta_0_class_rectification_is_the_classification_loss() -> None:
    logits, labels = draw(6, 4).float(), torch.tensor([0, 0, 0, 1, 1, 2])
    streams = {"main": Batch(torch.empty(6, 0), Labels.hard(labels), torch.arange(6))}
    plain = Classification()(outputs := {"main": Outputs(logits=logits)}, streams)
    torch.testing.assert_close(rectifier(eta=0.0)(outputs, streams), plain)


# ------------------------------------------------------------------------------------------------------------------- OLTR


def memory_view(labels: Tensor, features: Tensor) -> View:
    def images(rows: Tensor, split: str = "train") -> Batch:
        return Batch(features[rows], Labels.hard(labels[rows]), rows)

    stats = ClassStats(torch.bincount(labels, minlength=4))
    predict = lambda inputs: Outputs(features=inputs)  # noqa: E731
    return View(Clock("memory", 0, 3), stats, images, predict, torch.Generator(), labels, lambda batch: batch)


def test_the_memory_starts_as_the_class_means_and_keeps_what_it_learns() -> None:
    labels = torch.arange(600) % 3  # the fourth class has no images
    features = draw(600, 5).float()
    head = MetaEmbedding(head=Linear(features=5, num_classes=4))
    head.adapt(memory_view(labels, features))
    for c in range(3):
        torch.testing.assert_close(head.centroids[c], features[labels == c].mean(0))
    torch.testing.assert_close(head.centroids[3], features.mean(0))
    with torch.no_grad():
        head.centroids.add_(1)
    learnt = head.centroids.clone()
    head.adapt(memory_view(labels, features))
    assert torch.equal(head.centroids, learnt)


def test_the_classifier_sees_the_memory_detached_and_a_feature_on_a_centroid_is_finite() -> None:
    head = MetaEmbedding(head=Linear(features=4, num_classes=3))
    with torch.no_grad():
        head.centroids.copy_(torch.randn(3, 4))
    features = head.centroids.detach().clone().requires_grad_()
    logits = head(features)
    logits.square().sum().backward()
    assert logits.isfinite().all() and present(features.grad).isfinite().all() and head.centroids.grad is None


def test_reachability_falls_with_the_distance_to_the_nearest_centroid() -> None:
    centroids = torch.tensor([[0.0, 0.0], [100.0, 0.0]])
    found = reachability(torch.tensor([[1.0, 0.0], [0.0, 2.0], [96.0, 0.0]]), centroids, 10.0)
    torch.testing.assert_close(found, torch.tensor([[10.0], [5.0], [2.5]]))


def test_modulated_attention_starts_as_the_identity_and_spreads_one_unit_over_the_map() -> None:
    layer, maps = ModulatedAttention(4, 3, 2), torch.randn(5, 4, 3, 2)
    torch.testing.assert_close(layer(maps), maps)
    torch.testing.assert_close(layer.parts(maps)[0].sum((1, 2, 3)), torch.ones(5))


def test_the_modulated_network_starts_as_the_plain_one() -> None:
    body = backbone()
    network = Modulated(backbone=body, make_head=make_head, input_shape=torch.Size((3, 8, 8))).eval()
    images = torch.randn(2, 3, 8, 8)
    torch.testing.assert_close(network.encode(images), body(images))
    assert network.modulation.spatial.out_features == 4  # 2 x 2 positions of images of 8 pixels
    assert [place for place, _ in network.pieces()][-1] == "features"


# -------------------------------------------------------------------------------------------------------------------- NPE


def test_modules_sink_for_the_label_alone() -> None:
    priors = draw(10, 4).view(2, 5, 4).requires_grad_()
    labels = torch.tensor([0, 1, 2, 3, 0])
    sunk(priors, labels).sum().backward()
    given = present(priors.grad)
    assert (given[:, torch.arange(5), labels] > 0).all() and (given != 0).sum() == 10
    assert sunk(torch.zeros(3, 1, 4), torch.tensor([2])).item() == pytest.approx(3 * math.log(2))


def test_the_modules_change_the_prediction_and_never_the_training() -> None:
    head, features = PriorEstimator(2, head=Linear(features=5, num_classes=4)), torch.randn(3, 5)
    torch.testing.assert_close(head(features), head.head(features))
    with torch.no_grad():
        head.weight.normal_()
        head.bias.normal_()
    torch.testing.assert_close(head(features), head.head(features))
    head.eval()
    added = head(features) - head.head(features)
    torch.testing.assert_close(added.sum(1), torch.zeros(3), atol=1e-5, rtol=0)  # centred over the classes
    shifted = head(features) - features @ head.classes.T
    torch.testing.assert_close(shifted, shifted[:1].expand(3, -1))  # a product with `classes` plus a bias
