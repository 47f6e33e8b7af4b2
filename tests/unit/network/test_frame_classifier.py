"""The frame classifier: the mean of the frames' logits, as the authors compute it."""

import pytest
import torch

from ltrun.classifier import Linear
from ltrun.errors import ConfigError
from ltrun.network import FrameClassifier, Plain


def made(dropout: float = 0.5) -> Plain:
    torch.manual_seed(0)
    backbone = FrameClassifier(12, dropout, input_shape=torch.Size((150, 7)))
    return Plain(backbone=backbone, make_head=lambda features: Linear(features=features, num_classes=5)).double()


@pytest.mark.parametrize("training", [False, True])
def test_logits_are_the_mean_of_the_logits_of_the_frames(training: bool) -> None:
    network, videos = made().train(training), torch.randn(3, 9, 7).double()
    torch.manual_seed(1)
    found = network.predict(videos).need("logits")
    torch.manual_seed(1)
    backbone = network.backbone
    assert isinstance(backbone, FrameClassifier)
    frames = network.head(backbone.dropout(backbone.fc(videos).relu()).flatten(0, 1)).view(3, 9, 5)
    torch.testing.assert_close(found.double(), frames.mean(1), rtol=1e-5, atol=1e-6)


def test_the_width_comes_from_the_data_and_any_number_of_frames_passes() -> None:
    network = made()
    assert (network.backbone.fc.in_features, network.features) == (7, 12)  # type: ignore[union-attr]
    assert all(network.encode(torch.randn(2, frames, 7).double()).shape == (2, 12) for frames in (1, 60, 150))
    with pytest.raises(ValueError, match=r"\(videos, frames, features\), got \(2, 7\)"):
        network.encode(torch.randn(2, 7).double())


def test_bad_values() -> None:
    with pytest.raises(ConfigError, match="hidden must be at least 1, got 0"):
        FrameClassifier(0, input_shape=torch.Size((1, 7)))
    with pytest.raises(ConfigError, match=r"dropout must be a share .* below 1, got 1"):
        FrameClassifier(4, 1.0, input_shape=torch.Size((1, 7)))
