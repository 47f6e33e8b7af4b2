"""Fixed simplex, prototypes and the taxonomic classifier: angles, gradients, tables of superclasses, refusals."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from ltrun.classifier import ETF, DotRegression, Prototypes, Taxonomic
from ltrun.classifier.etf import dot_regression, simplex
from ltrun.classifier.realistic_taxonomic import class_logits, node_loss, tree_loss
from ltrun.classifier.taxonomy import tree_of
from ltrun.errors import ConfigError
from ltrun.types import Batch, ClassStats, Labels, Outputs
from tests.support.cases import assembled, bound
from tests.support.narrow import present

NAMES = ("cat", "dog", "car", "ship", "tree")
TABLE: dict[str, Any] = {"animals": ["cat", "dog"], "vehicles": ["car", "ship"], "plants": ["tree"]}


# -------------------------------------------------------------------------------------------------------------------- ETF


@pytest.mark.parametrize(("classes", "features"), [(2, 2), (3, 8), (10, 64), (10, 10)])
def test_the_vectors_have_length_1_and_equal_angles(classes: int, features: int) -> None:
    vectors = simplex(classes, features).double()
    expected = torch.full((classes, classes), -1 / (classes - 1)).double().fill_diagonal_(1)
    torch.testing.assert_close(vectors @ vectors.T, expected, atol=1e-5, rtol=0)
    torch.testing.assert_close(vectors.sum(0), torch.zeros(features).double(), atol=1e-5, rtol=0)


def test_with_fewer_features_than_classes_the_vectors_have_length_1() -> None:
    vectors = simplex(100, 64)
    torch.testing.assert_close(vectors.norm(dim=1), torch.ones(100))
    assert (vectors @ vectors.T).fill_diagonal_(0).abs().max() < 0.6


def test_nothing_trains_the_simplex_and_a_checkpoint_carries_it() -> None:
    head = ETF(features=8, num_classes=3)
    assert not list(head.parameters()) and head.state_dict().keys() == {"weight"}
    assert head.classes is head.weight


def test_dot_regression_is_the_rule_and_its_gradient_pulls_along_the_label() -> None:
    """d/dh of (w_y h - |h|)^2 / (2 |h|) with |h| detached is -(1 - cosine) w_y."""
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(6, 8, dtype=torch.float64, generator=generator).requires_grad_()
    vectors, labels = simplex(4, 8).double(), torch.tensor([0, 1, 2, 3, 0, 1])
    loss = dot_regression(features @ vectors.T, labels, features.norm(dim=1))
    own, lengths = (features * vectors[labels]).sum(1), features.norm(dim=1)
    torch.testing.assert_close(loss, (own - lengths).square() / (2 * lengths), rtol=1e-9, atol=0)
    (gradient,) = torch.autograd.grad(loss.sum(), features)
    cosines = (own / lengths).detach()
    torch.testing.assert_close(gradient, -(1 - cosines)[:, None] * vectors[labels], rtol=1e-9, atol=1e-12)
    along = 3.0 * vectors[labels]
    assert dot_regression(along @ vectors.T, labels, along.norm(dim=1)).abs().max() < 1e-12


def test_dot_regression_takes_mixed_labels_by_their_share_and_a_feature_of_length_0() -> None:
    head, labels = ETF(features=8, num_classes=3), torch.tensor([0, 1])
    features = torch.cat([torch.randn(1, 8), torch.zeros(1, 8)]).requires_grad_()
    outputs = {"main": Outputs(features=features, logits=head(features))}

    def loss(targets: Labels) -> Tensor:
        return DotRegression()(outputs, {"main": Batch(torch.empty(2, 0), targets, torch.arange(2))})

    one, other = Labels.hard(labels), Labels.hard(labels.flip(0))
    mixed = loss(one.mix(other, torch.full((2,), 0.3)))
    torch.testing.assert_close(mixed, 0.3 * loss(one) + 0.7 * loss(other))
    mixed.backward()
    assert present(features.grad).isfinite().all()


@pytest.mark.parametrize("classifier", ["etf", "etf_dot_regression"])
@pytest.mark.parametrize("decoupling", ["crt", "ssd"])
def test_no_stage_trains_a_fixed_classifier_alone(classifier: str, decoupling: str) -> None:
    with pytest.raises(ConfigError, match=rf"classifier={classifier}.*decoupling={decoupling}"):
        bound(assembled({"classifier": classifier, "decoupling": decoupling}))
    bound(assembled({"classifier": classifier, "decoupling": "lws"}))  # learns scales of the fixed classifier


# ------------------------------------------------------------------------------------------------------------- prototypes


@pytest.mark.parametrize("scale", [0.5, 2.0])
def test_prototype_logits_are_distances(scale: float) -> None:
    head, features = Prototypes(scale, features=6, num_classes=5), torch.randn(4, 6)
    apart = torch.stack([(features - prototype).square().sum(1) for prototype in head.classes], 1)
    torch.testing.assert_close(head(features), -scale * apart, rtol=1e-4, atol=1e-4)
    tied = 2 * scale * features @ head.classes.T - scale * head.classes.square().sum(1)
    torch.testing.assert_close(head(features).softmax(1), tied.softmax(1))  # a linear layer with tied biases
    with pytest.raises(ConfigError, match=r"^scale"):
        Prototypes(0.0, features=6, num_classes=5)


# --------------------------------------------------------------------------------------------------------------- Deep-RTC


def head_of(superclasses: dict[str, Any] | None = None, threshold: float = 0.0) -> Taxonomic:
    stats = ClassStats(torch.full((len(NAMES),), 3), NAMES)
    return Taxonomic(superclasses or TABLE, threshold, features=6, stats=stats)


def test_a_class_has_the_sum_of_the_logits_on_its_path() -> None:
    head, features = head_of(), torch.randn(4, 6)
    edges = head.edge_logits(features)  # 3 superclasses; then cat and dog, car and ship, tree
    expected = torch.stack([edges[:, a] + edges[:, b] for a, b in ((0, 3), (0, 4), (1, 5), (1, 6), (2, 7))], 1)
    torch.testing.assert_close(head(features), expected)
    torch.testing.assert_close(head.eval()(features), expected)
    bias = head(torch.zeros(1, 6))
    torch.testing.assert_close(features @ head.classes.T + bias, expected)


def test_an_unsure_path_ends_at_its_superclass() -> None:
    head, features = head_of(threshold=1.0).eval(), torch.randn(4, 6)
    assert (head(features) == 0).all()  # nothing is that sure, so that not even the root is passed
    head.threshold = 1e-6
    torch.testing.assert_close(head(features), head.train()(features))


def test_superclasses_nest() -> None:
    head = head_of({"living": {"animals": ["cat", "dog"], "plants": ["tree"]}, "made": {"vehicles": ["car", "ship"]}})
    assert head.paths.shape == (5, 3) and head.edges == 10
    assert head(torch.randn(2, 6)).isfinite().all()


def test_with_all_nodes_open_the_losses_are_cross_entropies() -> None:
    tree = tree_of([[-1, -2], [0, 1], [2, 3]])
    edges = torch.randn(5, 6, dtype=torch.float64)
    labels = torch.tensor([0, 1, 2, 3, 0])
    logits = class_logits(edges, torch.ones(5, 3, dtype=torch.float64), tree)
    open_gates = torch.ones(5, 3, dtype=torch.float64)
    torch.testing.assert_close(tree_loss(edges, labels, open_gates, tree), F.cross_entropy(logits, labels))
    above = F.cross_entropy(edges[:, :2], labels // 2, reduction="sum")
    below = torch.stack([F.cross_entropy(row[2 + 2 * (y // 2) :][:2], y % 2) for row, y in zip(edges, labels, strict=True)])
    torch.testing.assert_close(node_loss(edges, labels, tree), (above + below.sum()) / 10)


@pytest.mark.parametrize(
    ("table", "said"),
    [
        (None, r"this data set has none.*\+dataset\.superclasses"),
        ({"animals": ["cat", "dgo"]}, "'dgo' for animals; did you mean 'dog'"),
        ({"animals": ["cat", "dog"]}, "car, ship, tree are missing"),
        ({"animals": [*NAMES, "cat"]}, "'cat' again for animals"),
        ({"animals": []}, "for animals"),
        ({"animals": "cat"}, "for animals"),
    ],
)
def test_a_table_that_does_not_fit_the_classes_is_refused(table: dict[str, Any] | None, said: str) -> None:
    with pytest.raises(ConfigError, match=f"^superclasses .*{said}"):
        Taxonomic(table, features=6, stats=ClassStats(torch.full((5,), 3), NAMES))
