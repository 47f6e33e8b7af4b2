"""Files of pre-trained weights: where they are looked for, which are refused, what of them is taken."""

from __future__ import annotations

import hashlib
import pickle
import socket
import urllib.request
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any, NoReturn

import pytest
import torch
import torchvision
from safetensors.torch import save_file
from torch import Tensor

from ltrun.errors import ConfigError
from ltrun.network import ResNet, weights
from ltrun.network.resnet import PUBLISHED

Tensors = dict[str, Tensor]


@pytest.fixture(autouse=True)
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of torch's hub cache, empty. No socket can be opened."""

    def refuse(*_: object, **__: object) -> NoReturn:
        raise OSError("no network here")

    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setenv("LTRUN_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(socket, "create_connection", refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)
    folder = tmp_path / "torch" / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    return folder


def trained(depth: int = 10, seed: int = 7) -> Tensors:
    """The state of a network that torch's seed 0 does not make."""
    torch.manual_seed(seed)
    return ResNet(depth, in_channels=3).state_dict()


def loaded(**given: Any) -> Tensors:
    torch.manual_seed(0)
    return ResNet(**{"depth": 10, "in_channels": 3} | given).state_dict()


def same(one: Tensors, other: Tensors) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def save(content: object, path: Path) -> str:
    torch.save(content, path)
    return str(path)


# ------------------------------------------------------------------------------------------------------- what is taken


WRAPPED: dict[str, Callable[[Tensors], object]] = {
    "as it is": lambda state: state,
    "below state_dict": lambda state: {"epoch": 3, "state_dict": state},
    "below model": lambda state: {"model": state, "optimizer": {}},
    "of DataParallel": lambda state: {"state_dict": {f"module.{name}": tensor for name, tensor in state.items()}},
    "with a prefix": lambda state: {f"network.backbone.{name}": tensor for name, tensor in state.items()},
    "with a classifier": lambda state: state | {"fc.weight": torch.zeros(1000, 512), "fc.bias": torch.zeros(1000)},
    "of an old torch": lambda state: {name: tensor for name, tensor in state.items() if "num_batches" not in name},
}


@pytest.mark.parametrize("how", WRAPPED)
def test_the_weights_of_a_file_replace_the_initial_ones(how: str, tmp_path: Path) -> None:
    state = trained()
    path = save(WRAPPED[how](state), tmp_path / "resnet10.pth")
    assert same(loaded(weights=path), state) and not same(loaded(), state)


def test_safetensors_are_read(tmp_path: Path) -> None:
    save_file(trained(), tmp_path / "resnet10.safetensors")
    assert same(loaded(weights=str(tmp_path / "resnet10.safetensors")), trained())


def test_weights_do_not_change_later_random_draws(tmp_path: Path) -> None:
    """A head is drawn after the network: with weights it starts as it does from scratch."""
    path = save(trained(), tmp_path / "resnet10.pth")
    draws = []
    for given in ({}, {"weights": path}):
        loaded(**given)
        draws.append(torch.rand(3))
    assert torch.equal(*draws)


def test_the_classifier_of_a_file_is_found() -> None:
    state = trained()
    assert weights.classifier_of(state) is None
    assert weights.classifier_of(state | {"fc.weight": torch.zeros(7, 512)}) == ("fc.weight", 7)
    assert weights.classifier_of(state | {"head.fc.weight": torch.zeros(9, 512)}) == ("head.fc.weight", 9)


def test_branches_of_full_width_start_as_the_pretrained_layers(tmp_path: Path) -> None:
    """As SADE does for Places-LT. From scratch, and with another width, each branch is drawn anew."""
    state, path = trained(), save(trained(), tmp_path / "resnet10.pth")
    for given, width, kept in ((path, 1.0, True), (path, 0.75, False), (None, 1.0, False)):
        trunk, branches = ResNet(10, weights=given, in_channels=3).fork("layer2", 2, width)
        for branch in branches:
            assert all(torch.equal(t, state[name]) for name, t in branch.state_dict().items()) is kept
        assert torch.equal(trunk.state_dict()["layer1.0.conv1.weight"], state["layer1.0.conv1.weight"]) is bool(given)
        assert all(parameter.requires_grad for branch in branches for parameter in branch.parameters())


# ------------------------------------------------------------------------------------------------- where it is looked for


def test_the_published_files_are_torchvisions() -> None:
    names = {1: "resnet{0}", 32: "resnext{0}_32x{1}d", 64: "resnext{0}_64x{1}d"}
    for (depth, groups, width), files in PUBLISHED.items():
        known = torchvision.models.get_model_weights(names[groups].format(depth, width))
        urls = ResNet.published({"depth": depth, "groups": groups, "width_per_group": width})
        assert {entry.name: entry.url for entry in known} == urls and [weights.file_of(url) for url in urls.values()] == [
            *files.values()
        ]


def test_a_name_and_a_file_name_are_found_in_the_hub_cache(hub: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    digits = placed(hub, trained(18))
    monkeypatch.setitem(PUBLISHED, (18, 1, 64), {"IMAGENET1K_V1": f"resnet18-{digits}.pth"})
    for name in ("IMAGENET1K_V1", f"resnet18-{digits}.pth"):
        assert same(loaded(depth=18, weights=name), trained(18))


def placed(hub: Path, state: Tensors) -> str:
    """Saves weights below the name that their SHA-256 gives them. Returns its digits."""
    content = BytesIO()
    torch.save(state, content)
    digits = hashlib.sha256(content.getvalue()).hexdigest()[:8]
    (hub / f"resnet18-{digits}.pth").write_bytes(content.getvalue())
    return digits


def test_a_file_with_the_digits_of_another_is_refused(hub: Path) -> None:
    save(trained(18), hub / "resnet18-f37072fd.pth")
    with pytest.raises(ConfigError, match="is damaged or another file: its name says f37072fd, and its SHA-256 begins"):
        loaded(depth=18, weights="IMAGENET1K_V1")


@pytest.mark.parametrize("download", [False, True])
def test_missing_weights_are_one_sentence_without_a_network(hub: Path, download: bool) -> None:
    with pytest.raises(ConfigError) as raised:
        loaded(depth=152, weights="IMAGENET1K_V1", download=download)
    said = str(raised.value)
    assert said.startswith("network.weights: ") and "\n" not in said
    assert all(words in said for words in ("resnet152-394f9c45.pth", str(hub), "https://", "network.weights=PATH"))
    assert ("no network here" in said) is download and ("network.download=true" in said) is not download
    assert list(hub.glob("*.tmp")) == []


def test_missing_weights_are_downloaded_once_where_that_is_asked_for(hub: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = (hub / f"resnet18-{placed(hub, trained(18))}.pth").read_bytes()
    name = f"resnet18-{hashlib.sha256(content).hexdigest()[:8]}.pth"
    (hub / name).unlink()
    asked: list[str] = []

    def answer(url: str, timeout: float) -> BytesIO:
        asked.append(url)
        return BytesIO(content)

    monkeypatch.setitem(PUBLISHED, (18, 1, 64), {"IMAGENET1K_V1": name})
    monkeypatch.setattr(urllib.request, "urlopen", answer)
    for _ in range(2):
        assert same(loaded(depth=18, weights="IMAGENET1K_V1", download=True), trained(18))
    assert asked == [f"https://download.pytorch.org/models/{name}"]


def test_a_download_of_another_file_is_refused_and_not_kept(hub: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(urllib.request, "urlopen", lambda url, timeout: BytesIO(b"<html>not found</html>"))
    with pytest.raises(ConfigError, match=r"could not be fetched \(the answer is another file"):
        loaded(depth=18, weights="IMAGENET1K_V1", download=True)
    assert [path.name for path in hub.iterdir() if not path.name.startswith(".")] == []


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("IMAGENET1K_V9", "there is no file IMAGENET1K_V9; known: IMAGENET1K_V1, IMAGENET1K_V2"),
        ("folder/resnet50.pth", "there is no file folder/resnet50.pth; give the path"),
        (
            "resnet50.pth",
            "resnet50.pth is not here: looked for resnet50.pth in .*checkpoints; put the file there, or give its path",
        ),
    ],
)
def test_a_name_that_nothing_has_is_refused(name: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        loaded(depth=50, weights=name)


def test_a_file_is_hashed_again_only_after_it_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, hashed = tmp_path / "weights.pth", list[int]()
    path.write_bytes(b"one")
    whole = hashlib.file_digest

    def counted(*given: Any) -> Any:
        hashed.append(1)
        return whole(*given)

    monkeypatch.setattr(hashlib, "file_digest", counted)
    first = [weights.sha256(path) for _ in range(3)]
    assert first == [hashlib.sha256(b"one").hexdigest()] * 3 and len(hashed) == 1
    path.write_bytes(b"two!")
    assert weights.sha256(path) == hashlib.sha256(b"two!").hexdigest() and len(hashed) == 2


# ------------------------------------------------------------------------------------------------------ what is refused


def content(kind: str) -> bytes:
    made = BytesIO()
    if kind == "code":
        torch.save({"hook": print}, made)
    if kind == "TorchScript":
        torch.jit.save(torch.jit.trace(torch.nn.Linear(1, 1), torch.zeros(1, 1)), made)
    if kind == "no tensors":
        torch.save({"epoch": 1}, made)
    if kind == "a list":
        torch.save([1, 2], made)
    given = {
        "page": b"\n<!DOCTYPE html><html>404</html>",
        "pointer": b"version https://git-lfs.github.com/spec/v1\noid sha256:0",
        "text": b"hello",
        "empty": b"",
        "pickle": pickle.dumps({"hook": print}, protocol=4),
    }
    return given.get(kind, made.getvalue())


@pytest.mark.filterwarnings("ignore:`torch.jit")
@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("page", "is a web page, which a server sent in place of the weights"),
        ("pointer", "is a pointer of Git LFS"),
        ("text", "holds no plain weights"),
        ("empty", "is empty; get the file again"),
        ("code", "holds more than tensors, such as a whole model, and reading it could run code"),
        ("pickle", "holds more than tensors, such as a whole model, and reading it could run code"),
        ("TorchScript", "is a TorchScript archive, which holds code"),
        ("no tensors", "holds no weights, but the keys epoch"),
        ("a list", "holds no weights, but list"),
    ],
)
def test_a_file_without_plain_weights_is_refused_by_name(kind: str, words: str, tmp_path: Path) -> None:
    path = tmp_path / "resnet10.pth"
    path.write_bytes(content(kind))
    with pytest.raises(ConfigError, match=f"^network.weights: .*resnet10.pth {words}"):
        loaded(weights=str(path))


def test_damaged_safetensors_are_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "a.safetensors").write_bytes(b"hello")
    with pytest.raises(ConfigError, match=r"a\.safetensors holds no plain weights"):
        loaded(weights=str(tmp_path / "a.safetensors"))


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"depth": 18}, r"lacks layer1\.1\.conv1\.weight, layer1\.1\.bn1\.weight and \d+ more; choose"),
        ({"depth": 50}, r"lacks layer1\.0\.conv3\.weight"),
        ({"stem": "cifar"}, r"conv1\.weight has the shape \(64, 3, 7, 7\), and \(64, 3, 3, 3\) in this network"),
        ({"in_channels": 1}, r"conv1\.weight has the shape .*; weights for colour images do not fit grey ones"),
    ],
)
def test_weights_of_another_network_are_refused_by_their_first_keys(given: dict[str, Any], words: str, tmp_path: Path) -> None:
    path = save(trained(), tmp_path / "resnet10.pth")
    with pytest.raises(ConfigError, match=f"resnet10.pth is for another network: .*{words}"):
        loaded(**given, weights=path)


def test_weights_of_a_deeper_network_are_refused(tmp_path: Path) -> None:
    """Its names hold all of the shallower network's."""
    path = save(trained(18), tmp_path / "resnet18.pth")
    with pytest.raises(ConfigError, match=r"for another network: it has layer1\.1\.conv1\.weight, layer1\.1\.bn1\.weight and"):
        loaded(weights=path)


def test_another_file_than_a_runs_own_is_refused(tmp_path: Path) -> None:
    path = save(trained(), tmp_path / "resnet10.pth")
    own = weights.sha256(Path(path))
    assert same(loaded(weights=path, sha256=own[:8]), trained())
    with pytest.raises(ConfigError, match=f"is another file than the run's: its SHA-256 begins with {own[:8]}, not with"):
        loaded(weights=path, sha256="0" * 8)
