"""Nearest neighbours and the forms of the nearest class mean, against votes counted one by one and scikit-learn."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from ltrun.contracts.stand_ins import Split
from ltrun.errors import ConfigError
from ltrun.posthoc import KNN, NCM
from ltrun.types import Outputs

LABELS = torch.tensor([0] * 20 + [1] * 8 + [2] * 3)  # no image of class 3


def drawn(rows: int, seed: int) -> Tensor:
    return torch.randn(rows, 6, generator=torch.Generator().manual_seed(seed)) + 1


def fitted(part: KNN | NCM) -> KNN | NCM:
    part.fit({"train": Split(Outputs(features=drawn(len(LABELS), 0)), LABELS)})
    return part


@pytest.mark.parametrize("balanced", [False, True])
@pytest.mark.parametrize("k", [1, 5, 500])
def test_the_most_similar_images_vote(k: int, balanced: bool) -> None:
    known, asked = (F.normalize(x.double(), dim=1).numpy() for x in (drawn(len(LABELS), 0), drawn(7, 1)))
    scores = fitted(KNN(k, 0.07, balanced, num_classes=4))(Outputs(features=drawn(7, 1)))
    counts = Counter(LABELS.tolist())
    for row, score in zip(asked, scores.double(), strict=True):
        similarity, won = known @ row, np.zeros(4)
        for place in np.argsort(-similarity)[:k]:
            label = int(LABELS[place])
            won[label] += np.exp(similarity[place] / 0.07) / (counts[label] if balanced else 1)
        np.testing.assert_allclose(score.softmax(0).numpy(), won / won.sum(), rtol=1e-3, atol=1e-6)


def test_dividing_votes_lets_rare_classes_win() -> None:
    plain, balanced = (fitted(KNN(31, 1.0, flag, num_classes=4))(Outputs(features=drawn(50, 2))) for flag in (False, True))
    assert (plain.argmax(1) == 0).all() and (balanced.argmax(1) != 0).any()


@pytest.mark.parametrize(("k", "temperature"), [(0, 0.07), (5, 0.0)])
def test_a_senseless_value_is_refused_by_name(k: int, temperature: float) -> None:
    with pytest.raises(ConfigError, match=r"^k must"):
        KNN(k, temperature, num_classes=4)


@pytest.mark.parametrize(("centre", "unit"), [(False, False), (False, True), (True, True), (True, False)])
def test_every_form_of_the_nearest_class_mean(centre: bool, unit: bool) -> None:
    from sklearn.neighbors import NearestCentroid

    known, asked = drawn(len(LABELS), 0).numpy(), drawn(40, 1).numpy()
    shift = known.mean(0) if centre else 0
    known, asked = (x - shift for x in (known, asked))
    if unit:
        known, asked = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (known, asked))
    expected = NearestCentroid().fit(known, LABELS.numpy()).predict(asked)
    scores = fitted(NCM(centre=centre, unit=unit, num_classes=4))(Outputs(features=drawn(40, 1)))
    assert scores.argmax(1).tolist() == expected.tolist()
    means = np.stack([known[LABELS.numpy() == c].mean(0) for c in range(3)])
    np.testing.assert_allclose(scores[:, :3], -((asked[:, None] - means) ** 2).sum(2), rtol=1e-4, atol=1e-4)
