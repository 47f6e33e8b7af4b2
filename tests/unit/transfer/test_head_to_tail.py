"""FTL and GIST: features that are replaced, the state between epochs, what each loss trains, arguments without sense."""

from fnmatch import fnmatch

import pytest
import torch
from torch import Tensor

from ltrun.classifier import GISTHead
from ltrun.errors import ConfigError
from ltrun.loss import Classification
from ltrun.network import Plain, ResNetCIFAR
from ltrun.transfer import FTL, GIST
from ltrun.types import Batch, ClassStats, Clock, Labels, Outputs, View
from tests.support.cases import composed
from tests.support.narrow import present
from tests.support.photographs import batch_of

COUNTS = ClassStats(torch.tensor([40, 20, 4, 3, 0]))
FEATURES = torch.randn(67, 6, generator=torch.Generator().manual_seed(0)) * torch.tensor([5, 3, 1, 0.1, 0.1, 0.1])
LABELS = torch.arange(5).repeat_interleave(COUNTS.counts)


def seen(part: FTL) -> FTL:
    """The part before an epoch of training on FEATURES."""

    def images(rows: Tensor) -> Batch:
        return Batch(rows, Labels.hard(LABELS[rows]), rows)

    def predict(inputs: Tensor) -> Outputs:
        return Outputs(features=FEATURES[inputs])

    part.adapt(View(Clock("train", 0, 1), COUNTS, images, predict, torch.Generator(), LABELS, lambda batch: batch))
    return part


def ftl(**given: float) -> FTL:
    return seen(FTL(**given, stats=COUNTS, features=6))


def test_centres_and_directions_are_of_the_whole_training_set() -> None:
    part = ftl()
    for c in range(4):
        torch.testing.assert_close(part.centres[c], FEATURES[c == LABELS].mean(0))
    assert not part.centres[4].any()
    head = LABELS < 2
    variation = (FEATURES - part.centres[LABELS])[head]
    _, singular, rows = torch.linalg.svd(variation.double(), full_matrices=False)
    kept = rows[: int((singular.square().cumsum(0) / singular.square().sum() < 0.95).sum()) + 1]
    assert 1 <= len(kept) < 6
    torch.testing.assert_close(part.projection, (kept.T @ kept).float(), rtol=1e-4, atol=1e-5)


def test_tail_features_beside_head_features_are_replaced() -> None:
    part = ftl(share=1.0)
    main, source = (batch_of(torch.randn(5, 6), torch.tensor(labels)) for labels in ([2, 3, 0, 2, 3], [0, 1, 0, 3, 0]))
    main.inputs.requires_grad_()
    streams, losses = part({"main": main, "source": source}, "features")
    assert losses == {} and set(streams) == {"main"}
    found = streams["main"].inputs
    for row, replaced in enumerate([True, True, False, False, True]):
        tail, head = int(main.targets.labels[row]), int(source.targets.labels[row])
        virtual = part.centres[tail] + (source.inputs[row] - part.centres[head]) @ part.projection
        torch.testing.assert_close(found[row], virtual if replaced else main.inputs[row])
    found.sum().backward()
    assert present(main.inputs.grad)[:, 0].tolist() == [0, 0, 1, 1, 0]


def test_half_of_the_tail_features_are_replaced() -> None:
    torch.manual_seed(0)
    part = ftl(share=0.5)
    main, source = batch_of(torch.zeros(2000, 6), torch.full((2000,), 3)), batch_of(torch.zeros(2000, 6))
    inputs = part({"main": main, "source": source}, "features")[0]["main"].inputs
    assert float(inputs.any(1).float().mean()) == pytest.approx(0.5, abs=0.04)


def test_features_of_several_experts_are_one_feature() -> None:
    main, source = batch_of(torch.randn(2, 3, 2), torch.tensor([2, 0])), batch_of(torch.randn(2, 3, 2))
    found = ftl(share=1.0)({"main": main, "source": source}, "features")[0]["main"].inputs
    assert found.shape == (2, 3, 2) and torch.equal(found[1], main.inputs[1]) and not torch.equal(found[0], main.inputs[0])


def test_the_offsets_of_gist_learn_from_instance_sampled_images_alone() -> None:
    torch.manual_seed(0)
    network = Plain(
        backbone=ResNetCIFAR(8, 4, in_channels=1), make_head=lambda features: GISTHead(features=features, num_classes=5)
    )
    streams = {
        name: batch_of(torch.randn(6, 1, 8, 8), torch.tensor(labels))
        for name, labels in {"main": [0, 0, 0, 1, 1, 2], "balanced": [0, 1, 2, 3, 3, 2]}.items()
    }
    classify = Classification()
    trained = {}
    for weight in (0.0, 0.5):
        outputs = {name: network.predict(batch.inputs) for name, batch in streams.items()}
        value = GIST(weight, classify=classify, network=network)(outputs, streams)
        network.zero_grad()
        value.backward()
        trained[weight] = {name: p.grad.clone() for name, p in network.head.named_parameters() if p.grad is not None}
        balanced = classify.loss(outputs["balanced"].need("logits"), streams["balanced"].targets, outputs["balanced"])
        values = (value.detach(), balanced.detach()) if weight else (value.detach(), torch.zeros(()))
        trained[weight]["loss"] = values[0] - weight * values[1]
    torch.testing.assert_close(trained[0.0]["offsets"], trained[0.5]["offsets"])
    torch.testing.assert_close(trained[0.0]["loss"], trained[0.5]["loss"])
    assert trained[0.5]["offsets"].any() and trained[0.5]["balanced"].any() and not trained[0.0]["balanced"].any()


def test_the_stage_before_the_offsets_trains_all_else() -> None:
    """The parameters of transformers have further names than weight and bias."""
    patterns = composed("method=gist")[0]["stages"]["without_offsets"]["trainable"]
    others = ("conv.weight", "norm.bias", "cls_token", "pos_embed", "blocks.0.ls1.gamma")
    names = [*(f"backbone.{name}" for name in others), *(f"head.{name}" for name in ("balanced", "instance", "tau_instance"))]
    head = GISTHead(features=4, num_classes=3)
    assert {"head.offsets"} == {
        name
        for name in (*names, *(f"head.{name}" for name, _ in head.named_parameters()))
        if not any(fnmatch(name, pattern) for pattern in patterns)
    }


def test_values_without_sense_are_refused() -> None:
    for name, value in {"share": 1.5, "energy": 0.0, "head_share": 0.0}.items():
        with pytest.raises(ConfigError, match=f"^{name} must"):
            FTL(**{name: value}, stats=COUNTS, features=6)
    for name, wrong in {"shapes": 0, "scale": 0.0}.items():
        with pytest.raises(ConfigError, match=f"^{name} must"):
            GISTHead(**{name: wrong}, features=6, num_classes=5)  # type: ignore[arg-type]
