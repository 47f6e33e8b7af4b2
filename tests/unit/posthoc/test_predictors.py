"""Post-hoc predictors from features, heads and experts: logit adjustment, tau-normalisation, NCM, SADE's aggregation."""

from collections.abc import Callable, Iterator

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from ltrun.errors import ConfigError
from ltrun.logit_adjustment import LogitAdjustment as TrainingLogitAdjustment
from ltrun.parts import PostHoc
from ltrun.posthoc import NCM, LogitAdjustment, SADEAggregation, TauNorm
from ltrun.types import ClassStats, Outputs

STATS = ClassStats(torch.tensor([500, 60, 9, 1, 0]))


class Split:
    """A split with given outputs: one for the plain images, and one for each epoch of augmented images."""

    def __init__(self, plain: Outputs | None = None, views: list[Outputs] | None = None, labels: Tensor | None = None):
        self.plain, self.views, self.given, self.asked = plain, views or [], labels, []  # type: ignore[var-annotated]

    def outputs(self, augment: bool = False, epoch: int = 0) -> Outputs:
        self.asked.append((augment, epoch))
        chosen = self.views[epoch % len(self.views)] if augment else self.plain
        assert chosen is not None
        return chosen

    def batches(self, augment: bool = False, epoch: int = 0) -> Iterator[Outputs]:
        yield self.outputs(augment, epoch)

    @property
    def labels(self) -> Tensor:
        if self.given is None:
            raise PermissionError("test labels")
        return self.given


def features_of(labels: Tensor, noise: float = 0.3) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    centres = torch.randn(5, 16, generator=generator) + 2
    return centres[labels] + noise * torch.randn(len(labels), 16, generator=generator)


def test_post_hoc_and_training_adjustment_cancel() -> None:
    """The signs are opposite: training adds the log prior to the logits, the post-hoc form subtracts it."""
    logits = torch.randn(3, 5)
    added = TrainingLogitAdjustment(1.0, stats=STATS)(logits, torch.zeros(3, dtype=torch.long), Outputs(logits=logits))
    torch.testing.assert_close(LogitAdjustment(1.0, stats=STATS)(Outputs(logits=added)), logits)
    even = LogitAdjustment(stats=STATS)(Outputs(logits=torch.zeros(1, 5)))
    assert (even[0, :4].diff() > 0).all() and even.isfinite().all()  # the rarer, the likelier


def test_tau_norm_removes_the_norms_of_class_weights() -> None:
    directions = F.normalize(torch.randn(5, 8), dim=1)
    lengths = torch.tensor([4.0, 3.0, 2.0, 1.0, 0.5])[:, None]
    features = torch.randn(6, 8)
    outputs = Outputs(features=features, head=lengths * directions)
    torch.testing.assert_close(TauNorm(1.0)(outputs), features @ directions.T)
    torch.testing.assert_close(TauNorm(0.0)(outputs), features @ (lengths * directions).T)
    assert TauNorm(1.0)(Outputs(features=features, head=torch.zeros(5, 8))).isfinite().all()


@pytest.mark.parametrize("distance", ["l2", "cosine"])
@pytest.mark.parametrize("centre", [True, False])
def test_ncm_predicts_the_class_with_the_nearest_mean(distance: str, centre: bool) -> None:
    labels = torch.tensor([0] * 40 + [1] * 10 + [2] * 4 + [3])
    train = Split(Outputs(features=features_of(labels)), labels=labels)
    part = NCM(distance, centre, num_classes=5)  # type: ignore[arg-type]
    part.fit({"train": train})
    assert part.sees == {"train"} and train.asked == [(False, 0)]  # un-augmented

    test = features_of(torch.arange(4).repeat(5), noise=0.5)
    scores = part(Outputs(features=test))
    assert scores.isfinite().all() and 4 not in scores.argmax(1)  # class 4 had no training image
    assert scores.argmax(1).tolist() == torch.arange(4).repeat(5).tolist()
    shift = train.outputs().features.mean(0) if centre else 0.0  # type: ignore[union-attr]
    unit = F.normalize(features_of(labels) - shift, dim=1)
    for c in range(4):
        mean, x = unit[labels == c].mean(0), F.normalize(test - shift, dim=1)
        expected = -(x - mean).square().sum(1) if distance == "l2" else F.cosine_similarity(x, mean[None])
        torch.testing.assert_close(scores[:, c], expected)


def test_ncm_agrees_with_scikit_learn() -> None:
    neighbors = pytest.importorskip("sklearn.neighbors")
    labels = torch.tensor([0] * 30 + [1] * 10 + [2] * 5 + [3] * 2)
    unit = F.normalize(features_of(labels, 3.0), dim=1)
    test = F.normalize(features_of(torch.arange(4).repeat(50), 3.0), dim=1)
    part = NCM(centre=False, num_classes=4)
    part.fit({"train": Split(Outputs(features=unit), labels=labels)})
    reference = neighbors.NearestCentroid().fit(unit.numpy(), labels.numpy()).predict(test.numpy())
    assert part(Outputs(features=test)).argmax(1).tolist() == reference.tolist()


def views(stable: int, num_experts: int = 3, rows: int = 300) -> list[Outputs]:
    """Two views of the same images: expert `stable` predicts the same on both, the others guess anew."""
    generator = torch.Generator().manual_seed(0)
    logits = 3 * torch.randn(2, num_experts, rows, 5, generator=generator)
    logits[1, stable] = logits[0, stable]
    return [Outputs(experts=view) for view in logits]


@pytest.mark.parametrize("stable", [0, 2])
def test_sade_trusts_the_stable_expert(stable: int) -> None:
    split = Split(views=views(stable))
    part = SADEAggregation(lr=0.5)
    with torch.no_grad():  # evaluation fits without gradients
        part.fit({"test_inputs": split})
    weights = part.trust.softmax(0)
    assert weights.argmax() == stable and weights[stable] > 0.6
    assert part.sees == {"test_inputs"}  # `fit` read no labels, or Split would have raised
    assert split.asked[:4] == [(True, 0), (True, 1), (True, 2), (True, 3)]  # two new views an epoch
    experts = torch.randn(3, 4, 5)
    expected = sum(w * z for w, z in zip(weights, experts, strict=True))
    torch.testing.assert_close(part(Outputs(experts=experts)), expected)
    assert not part.trust.requires_grad


def test_sade_stops_once_an_expert_has_almost_no_weight() -> None:
    eager, patient = Split(views=views(0)), Split(views=views(0))
    SADEAggregation(epochs=50, lr=2.0).fit({"test_inputs": eager})
    SADEAggregation(epochs=50, lr=2.0, stop=0.0).fit({"test_inputs": patient})
    assert len(eager.asked) < len(patient.asked) == 100


def test_sade_does_not_depend_on_the_default_generator() -> None:
    learnt = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        part = SADEAggregation()
        part.fit({"test_inputs": Split(views=views(1, num_experts=2))})
        learnt.append(part.trust)
    assert learnt[0].shape == (2,) and torch.equal(*learnt)


@pytest.mark.parametrize(
    ("make", "argument"),
    [
        (lambda: TauNorm(-1.0), "tau"),
        (lambda: SADEAggregation(epochs=0), "epochs"),
        (lambda: SADEAggregation(lr=0.0), "lr"),
        (lambda: SADEAggregation(momentum=1.0), "momentum"),
    ],
)
def test_a_senseless_value_is_refused_by_name(make: Callable[[], PostHoc], argument: str) -> None:
    with pytest.raises(ConfigError, match=f"^{argument}"):
        make()
