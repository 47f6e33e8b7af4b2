"""Contracts of heads and post-hoc parts: for each a part that breaks it, and the sentence that reports it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from ltrun.contracts import heads
from ltrun.contracts.library import Choice
from ltrun.errors import ConfigError
from ltrun.parts import Evidence, Head, PostHoc
from ltrun.types import ClassStats, Outputs
from tests.support.mypackage import option, sentence_of, target


class Scaled(Head):
    """Linear, without a bias."""

    provides = frozenset({"products"})

    def __init__(self, *, features: int, num_classes: int):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(num_classes, features) * 0.1)

    def forward(self, features: Tensor) -> Tensor:
        return features @ self.weight.T

    @property
    def classes(self) -> Tensor:
        return self.weight


class Normed(Scaled):
    def forward(self, features: Tensor) -> Tensor:
        return features / features.norm(dim=1, keepdim=True) @ self.weight.T


class Widening(Scaled):
    def forward(self, features: Tensor) -> Tensor:
        return super().forward(features).double()


class Narrow(Scaled):
    def forward(self, features: Tensor) -> Tensor:
        return super().forward(features)[:, 1:]


class Rooted(Scaled):
    def forward(self, features: Tensor) -> Tensor:
        return super().forward(features.abs().sqrt())


class Learnt(Scaled):
    def __init__(self, *, features: int, num_classes: int):
        super().__init__(features=features, num_classes=num_classes)
        self.shift = nn.Parameter(torch.zeros(()))

    def forward(self, features: Tensor) -> Tensor:
        return super().forward(features) + self.shift.abs().sqrt()


class Turned(Scaled):
    @property
    def classes(self) -> Tensor:
        return self.weight.T


class Looped(Scaled):
    def forward(self, features: Tensor) -> Tensor:
        return torch.stack([features @ row for row in self.weight], 1)


def heading(folder: Path, part: type[Head]) -> Choice:
    return option(folder, "classifier", {"head": target(part)})


def test_all_contracts_of_a_correct_head_hold(tmp_path: Path) -> None:
    contracts = list(heads.of_a_head(heading(tmp_path, Scaled)))
    assert len(contracts) == 3
    for contract in contracts:
        contract.check()


@pytest.mark.parametrize(
    ("part", "said"),
    [
        (Normed, "Normed: logits are not finite for zero features in torch.float32; do not divide by a norm that may be 0"),
        (Widening, "Widening returns torch.float64 for ordinary features in torch.float32; return the type of the features"),
        (Narrow, "Narrow returns (1, 4) where (B, C) is (1, 5); return one logit per class"),
        (Rooted, "Rooted: the gradient of the features is not finite for zero features"),
        (Learnt, "Learnt: the gradient of 'shift' is not finite for ordinary features"),
        (Turned, "Turned.classes has shape (16, 5), where (C, D) is (5, 16); return one weight vector per class"),
    ],
)
def test_logits_gradients_or_weights_of_a_wrong_value_shape_or_type_are_reported(
    part: type[Head], said: str, tmp_path: Path
) -> None:
    assert said in sentence_of(heads.head_stays_finite, heading(tmp_path, part), torch.float32)


@pytest.mark.parametrize(
    ("part", "said"), [(Looped, "without a loop over them"), (Narrow, "logits of 3 classes have the shape (4, 2)")]
)
def test_a_head_with_a_loop_over_classes_is_reported(part: type[Head], said: str, tmp_path: Path) -> None:
    assert said in sentence_of(heads.head_takes_no_loop, heading(tmp_path, part))


class Shifted(PostHoc):
    """Adds `shift` to all logits."""

    sees = frozenset({"train"})

    def __init__(self, shift: float = 0.0, *, stats: ClassStats):
        super().__init__()
        self.shift, self.counts = shift, stats.counts

    def fit(self, splits: Mapping[str, Evidence]) -> None:
        splits["train"].outputs().need("logits")

    def forward(self, outputs: Outputs) -> Tensor:
        return outputs.need("logits") + self.shift


class ByCount(Shifted):
    def forward(self, outputs: Outputs) -> Tensor:
        return outputs.need("logits") - self.counts.double().log()


class Lifting(Shifted):
    def forward(self, outputs: Outputs) -> Tensor:
        return outputs.need("logits") - 9 * (self.counts + 0.01).log()


class One(Shifted):
    def forward(self, outputs: Outputs) -> Tensor:
        return outputs.need("logits")[:, 0]


class Grown(Shifted):
    def __init__(self, shift: float = 0.0, *, stats: ClassStats):
        super().__init__(shift, stats=stats)
        self.weight = nn.Parameter(torch.zeros(()))

    def forward(self, outputs: Outputs) -> Tensor:
        return outputs.need("logits") + self.weight


class ClassByClass(Shifted):
    def forward(self, outputs: Outputs) -> Tensor:
        logits = outputs.need("logits")
        return torch.stack([logits[:, c] + 0 for c in range(logits.shape[1])], 1)


class Exploding(Shifted):
    def forward(self, outputs: Outputs) -> Tensor:
        return outputs.need("logits") * torch.tensor(10.0) ** self.shift


class Nameless(Shifted):
    def __init__(self, shift: float = 0.0, *, stats: ClassStats):
        super().__init__(shift, stats=stats)
        if shift:
            raise ConfigError("no such value")


def predicting(folder: Path, part: type[PostHoc], **arguments: float) -> Choice:
    return option(folder, "posthoc", {"predictors": {"row": target(part, **arguments)}})


def test_all_contracts_of_a_correct_post_hoc_part_hold(tmp_path: Path) -> None:
    contracts = list(heads.of_a_predictor(predicting(tmp_path, Shifted, shift=0.0)))
    assert len(contracts) == 5
    for contract in contracts:
        contract.check()


@pytest.mark.parametrize(
    ("part", "said"),
    [
        (ByCount, "posthoc.predictors.row: tests.unit.contracts.test_heads.ByCount: scores are not finite for a batch of 1"),
        (One, "returns scores of shape (1,) for a batch of 1 in torch.float32; return one score per class: (1, 5)"),
        (Grown, "scores carry a gradient for a batch of 1 in torch.float32; keep learnt values in a buffer"),
    ],
)
def test_scores_of_a_wrong_value_or_shape_or_with_a_gradient_are_reported(
    part: type[PostHoc], said: str, tmp_path: Path
) -> None:
    assert said in sentence_of(heads.scores_stay_finite, predicting(tmp_path, part), torch.float32)


class Fitting(Shifted):
    """Reads the labels of the training split, which `fit` may."""

    def fit(self, splits: Mapping[str, Evidence]) -> None:
        assert len(splits["train"].labels) == len(splits["train"].outputs().need("logits"))


def test_all_contracts_of_a_post_hoc_part_that_fits_to_labels_hold(tmp_path: Path) -> None:
    for contract in heads.of_a_predictor(predicting(tmp_path, Fitting)):
        contract.check()


def test_a_post_hoc_part_with_a_loop_over_classes_is_reported(tmp_path: Path) -> None:
    assert "without a loop over them" in sentence_of(heads.scores_take_no_loop, predicting(tmp_path, ClassByClass))


def test_a_post_hoc_part_that_lifts_a_class_without_images_is_reported(tmp_path: Path) -> None:
    sentence = sentence_of(heads.empty_is_not_lifted, predicting(tmp_path, Lifting))
    assert "Lifting predicts a class without training images for 100% of the images" in sentence


@pytest.mark.parametrize(
    ("part", "said"),
    [
        (
            Exploding,
            "posthoc.predictors.row.shift=60: the scores of row are not finite; refuse such a value in the",
        ),
        (Nameless, "posthoc.predictors.row.shift=1e-06 is refused by a sentence that does not name 'shift'"),
    ],
)
def test_an_extreme_argument_with_infinite_scores_or_a_vague_refusal_is_reported(
    part: type[PostHoc], said: str, tmp_path: Path
) -> None:
    assert said in sentence_of(heads.extremes_score_finite, predicting(tmp_path, part, shift=0.0))
