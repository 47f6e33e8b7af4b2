"""Weights of runs: the backbone of a model or a checkpoint, branches that begin with it, and runs that are refused."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from ltrun.config.compose import _weights
from ltrun.errors import ConfigError
from ltrun.network import ResNet, ResNetCIFAR
from ltrun.network.run_weights import RUN, backbone_in, marked
from ltrun.network.weights import sha256

PREFIXES = ("backbone.", "network.backbone.", "objective.network.network.backbone.")


def model(path: Path, prefix: str = "backbone.", seed: int = 5) -> dict[str, Tensor]:
    """Writes a model of ltrun with a backbone and a head; returns the backbone's tensors."""
    torch.manual_seed(seed)
    backbone = ResNetCIFAR(8, 4, in_channels=1).state_dict()
    state = {f"{prefix}{name}": tensor for name, tensor in backbone.items()} | {"head.linear.weight": torch.zeros(3, 16)}
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save({"fingerprint": "0", "seed": 0, "input_shape": (1, 8, 8), "network": state, "posthoc": {}}, path)
    return backbone


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LTRUN_CACHE", str(tmp_path / "cache"))


@pytest.mark.parametrize("prefix", PREFIXES)
def test_a_network_begins_with_the_backbone_of_a_run(tmp_path: Path, prefix: str) -> None:
    path = tmp_path / "model.pth"
    backbone = model(path, prefix)
    assert marked(path) == f"{RUN}{path}"
    made = ResNetCIFAR(8, 4, weights=f"{RUN}{path}", sha256=sha256(path)[:8], in_channels=1)
    assert all(torch.equal(value, backbone[name]) for name, value in made.state_dict().items())
    _, branches = made.fork("layer1", 2)
    for branch in branches:
        assert torch.equal(dict(branch.named_parameters())["blocks.0.conv1.weight"], backbone["layer2.0.conv1.weight"])
    with pytest.raises(ConfigError, match=r"network\.weights: model\.pth is for another network: it lacks layer1\.1\.conv1"):
        ResNetCIFAR(14, 4, weights=f"{RUN}{path}", in_channels=1)
    with pytest.raises(ConfigError, match="weights for colour images do not fit grey ones"):
        ResNetCIFAR(8, 4, weights=f"{RUN}{path}", in_channels=3)
    with pytest.raises(ConfigError, match="is another file than the run's"):
        ResNetCIFAR(8, 4, weights=f"{RUN}{path}", sha256="00000000", in_channels=1)


def test_images_are_prepared_as_the_data_set_says() -> None:
    """Also where the file is gone."""
    assert ResNet.preprocessing({"depth": 18, "weights": f"{RUN}/gone/model.pth"}) is None
    assert ResNet.preprocessing({"depth": 18, "weights": "/gone/model.pth"}) is not None


def test_other_files_are_not_taken_for_those_of_a_run(tmp_path: Path) -> None:
    path = tmp_path / "model.pth"
    torch.save({"network": {"conv1.weight": torch.zeros(1)}}, path)
    assert marked(path) == str(path)
    path.write_bytes(b"no weights")
    assert marked(path) == str(path)
    assert marked(tmp_path / "gone.pth") == str(tmp_path / "gone.pth")


def test_branches_are_no_network_to_begin_with(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"model\.pth holds the branches of an ensemble"):
        backbone_in({"trunk.conv1.weight": torch.zeros(1)}, tmp_path / "model.pth")


def test_a_label_names_the_run_and_not_its_folder() -> None:
    for place in (
        "/o/digits_lt/erm/a616a304/seed0",
        "digits_lt/erm/a616a304/seed0/model.pth",
        "o/digits_lt/erm/a616a304/seed0/",
    ):
        assert _weights(place) == "erm/a616a304/seed0"
    assert _weights("o/digits_lt/erm/a616a304/seed0/0-train-2.pt") == "erm/a616a304/seed0/0-train-2.pt"
    assert _weights("/deep/r50.pth") == "r50.pth"
