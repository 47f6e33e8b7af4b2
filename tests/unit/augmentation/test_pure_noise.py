"""OPeN: which images become noise, when, and what the noise looks like."""

import pytest
import torch

from ltrun.augmentation import OPeN
from ltrun.errors import ConfigError
from ltrun.types import ClassStats
from tests.support.photographs import batch_of, view

STATS = ClassStats(torch.tensor([100, 50, 10, 0]))


def test_rare_classes_become_noise_from_the_start_of_oversampling_on() -> None:
    torch.manual_seed(0)
    part = OPeN(delta=0.5, stats=STATS)
    images = batch_of(torch.full((3000, 1, 4, 4), 7.0), torch.arange(3).repeat(1000))
    key = batch_of(torch.zeros(1, 1, 4, 4))
    part.adapt(view(159, 200))
    early = part({"main": images, "key": key})["main"]
    assert early.generated is not None and not early.generated.any() and torch.equal(early.inputs, images.inputs)
    part.adapt(view(160, 200))
    streams = part({"main": images, "key": key})
    late = streams["main"]
    assert streams["key"] is key and late.generated is not None
    assert torch.equal(late.targets.labels, images.targets.labels), "labels stay"
    share = [float(late.generated[label::3].float().mean()) for label in range(3)]
    assert share == pytest.approx([0, 0.25, 0.45], abs=0.05)
    noise = late.inputs[late.generated]
    assert noise.mean() == pytest.approx(0, abs=0.02) and noise.std() == pytest.approx(1, abs=0.02)
    assert (late.inputs[~late.generated] == 7).all()


def test_values_without_sense_are_refused_by_name() -> None:
    for arguments, said in (({"delta": 1.5}, "delta must"), ({"start": -1.0}, "start must")):
        with pytest.raises(ConfigError, match=f"^{said}"):
            OPeN(**arguments, stats=STATS)
