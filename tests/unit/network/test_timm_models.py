"""Models of timm: tiny vision transformers, sizes of images, files of weights, names that do not exist."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from ltrun.classifier import Linear
from ltrun.errors import ConfigError
from ltrun.network import Bilateral, Plain, Timm
from ltrun.network.fold import folded
from tests.support.narrow import present
from tests.support.networks import make_head

pytest.importorskip("timm", reason="timm is not installed: pip install 'ltrun[pretrained]'")

VIT = "vit_base_patch16_224"
TINY = {"patch_size": 4, "depth": 2, "embed_dim": 32, "num_heads": 2}


@pytest.fixture(autouse=True)
def caches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setenv("LTRUN_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))


def tiny(side: int = 32, channels: int = 3, arguments: dict[str, Any] | None = None, **given: Any) -> Timm:
    shape = torch.Size((channels, side, side))
    return Timm(VIT, TINY | (arguments or {}), **given, in_channels=channels, input_shape=shape)


def test_a_tiny_vision_transformer_learns_at_the_size_of_the_data_set() -> None:
    """29,152 weights without a classifier, as timm counts them; the usual model takes 224 pixels."""
    made = tiny()
    assert sum(parameter.numel() for parameter in made.parameters()) == 29_152 and made.features == 32
    network = Plain(backbone=made, make_head=make_head).train()
    present(network.predict(torch.randn(4, 3, 32, 32)).logits).square().sum().backward()
    assert all(present(parameter.grad).isfinite().all() for parameter in network.parameters())


@pytest.mark.parametrize("name", ["resnet18", "mobilenetv3_small_050", "convnext_atto"])
@torch.no_grad()
def test_any_model_gives_features_of_the_length_that_it_states(name: str) -> None:
    made = Timm(name, in_channels=3, input_shape=torch.Size((3, 64, 64))).eval()
    features = made(torch.randn(2, 3, 64, 64))
    assert features.shape == (2, made.features)
    assert Linear(features=made.features, num_classes=3)(features).shape == (2, 3)


def test_a_stand_in_of_one_pixel_builds_the_model_for_its_usual_size() -> None:
    made = Timm("vit_tiny_patch16_224", in_channels=3, input_shape=torch.Size((3, 1, 1)))
    assert made.model.get_parameter("pos_embed").shape == (1, 197, 192)


# --------------------------------------------------------------------------------------------------------------- weights


def saved(made: Timm, path: Path, **further: torch.Tensor) -> str:
    torch.save({"state_dict": made.model.state_dict() | further}, path)
    return str(path)


def test_the_weights_of_a_file_are_taken_and_its_classifier_is_left_out(tmp_path: Path) -> None:
    first = tiny()
    path = saved(first, tmp_path / "vit.pth", **{"head.weight": torch.zeros(10, 32), "head.bias": torch.zeros(10)})
    for name, tensor in tiny(weights=path).state_dict().items():
        assert torch.equal(tensor, first.state_dict()[name]), name
    assert not torch.equal(tiny().model.get_parameter("pos_embed"), first.model.get_parameter("pos_embed"))


def test_position_embeddings_are_interpolated_to_larger_images(tmp_path: Path) -> None:
    first = tiny()
    second = tiny(48, weights=saved(first, tmp_path / "vit.pth"))
    assert first.model.get_parameter("pos_embed").shape[1:] == (65, 32)
    assert second.model.get_parameter("pos_embed").shape[1:] == (145, 32)
    name = "blocks.0.attn.qkv.weight"
    assert torch.equal(second.model.get_parameter(name), first.model.get_parameter(name))


def test_weights_do_not_change_later_random_draws(tmp_path: Path) -> None:
    path, draws = saved(tiny(), tmp_path / "vit.pth"), []
    for given in (None, path):
        torch.manual_seed(0)
        tiny(weights=given)
        draws.append(torch.rand(3))
    assert torch.equal(*draws)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"depth": 3}, r"it lacks blocks\.2\.norm1\.weight, blocks\.2\.norm1\.bias and 10 more"),
        ({"depth": 1}, r"it has blocks\.1\.norm1\.weight, blocks\.1\.norm1\.bias and 10 more"),
        ({"embed_dim": 64}, r"vit.pth does not fit vit_base_patch16_224 \(.*size mismatch for cls_token"),
    ],
)
def test_weights_of_another_model_are_refused(arguments: dict[str, Any], words: str, tmp_path: Path) -> None:
    path = saved(tiny(), tmp_path / "vit.pth")
    with pytest.raises(ConfigError, match=f"^network.weights: .*{words}"):
        tiny(weights=path, arguments=arguments)


def test_weights_of_another_kind_of_model_are_refused(tmp_path: Path) -> None:
    path = saved(tiny(), tmp_path / "vit.pth")
    with pytest.raises(ConfigError, match=r"vit.pth is for another network: it lacks conv1\.weight, bn1\.weight and \d+ more"):
        Timm("resnet18", weights=path, in_channels=3, input_shape=torch.Size((3, 32, 32)))


def test_average_pooling_may_add_its_own_normalisation(tmp_path: Path) -> None:
    made = tiny(weights=saved(tiny(), tmp_path / "vit.pth"), arguments={"global_pool": "avg"})
    assert isinstance(made.model.get_submodule("fc_norm"), nn.LayerNorm)


def test_named_weights_are_looked_for_in_both_caches(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as raised:
        Timm(VIT, weights="augreg_in21k", in_channels=3, input_shape=torch.Size((3, 224, 224)))
    said = str(raised.value)
    assert "looked for vit_base_patch16_224.augreg_in21k.safetensors in" in said and "\n" not in said
    assert "model.safetensors of timm/vit_base_patch16_224.augreg_in21k in the cache of huggingface_hub" in said
    revision = tmp_path / "hub" / "models--timm--vit_base_patch16_224.augreg_in21k" / "snapshots" / "abc"
    revision.mkdir(parents=True)
    (revision.parents[1] / "refs").mkdir()
    (revision.parents[1] / "refs" / "main").write_text("abc")
    (revision / "model.safetensors").write_bytes(b"hello")
    with pytest.raises(ConfigError, match=r"snapshots/abc/model\.safetensors holds no plain weights"):
        Timm(VIT, weights="augreg_in21k", in_channels=3, input_shape=torch.Size((3, 224, 224)))


def test_a_model_says_which_images_its_weights_expect() -> None:
    assert Timm.preprocessing({"name": VIT}) is None
    found = present(Timm.preprocessing({"name": VIT, "weights": "augreg_in21k"}))
    assert (found.mean, found.std, found.size, found.interpolation) == ((0.5,) * 3, (0.5,) * 3, 224, "bicubic")
    clip = present(Timm.preprocessing({"name": "vit_base_patch16_clip_224", "weights": "openai"}))
    assert clip.mean == pytest.approx((0.4815, 0.4578, 0.4082), abs=1e-4)
    of_a_file = present(Timm.preprocessing({"name": "resnet18", "weights": "/somewhere/resnet18.pth"}))
    assert of_a_file.mean == pytest.approx((0.485, 0.456, 0.406))


# ------------------------------------------------------------------------------------------------------------ what is refused


@pytest.mark.parametrize(
    ("name", "arguments", "words"),
    [
        ("vit_base_patch16_24", None, "name: timm has no model 'vit_base_patch16_24'; nearest: vit_base_patch16_224, "),
        ("vit_tiny_patch16_224.augreg_in21k", None, "network.name=vit_tiny_patch16_224 network.weights=augreg_in21k"),
        (VIT, {"wrong": 3}, "for these images timm cannot build vit_base_patch16_224 .*unexpected keyword argument 'wrong'"),
        (VIT, {"num_classes": 3}, "arguments.num_classes: ltrun sets 'num_classes' itself; remove it"),
        (VIT, [3], r"arguments must map names .*, got \[3\]"),
    ],
)
def test_a_model_that_cannot_be_built_is_refused(name: str, arguments: Any, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        Timm(name, arguments, in_channels=3, input_shape=torch.Size((3, 32, 32)))(torch.randn(1, 3, 32, 32))


def test_without_timm_a_sentence_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(ConfigError, match=r"needs timm, which is not installed: pip install 'ltrun\[pretrained\]'"):
        tiny()


def test_it_cannot_be_forked_and_folding_leaves_it_as_it_is() -> None:
    with pytest.raises(ConfigError, match="Timm cannot be forked into branches; choose ensemble=none"):
        Bilateral(backbone=tiny(), make_head=make_head)
    network, images = Plain(backbone=tiny(), make_head=make_head).eval(), torch.randn(2, 3, 32, 32)
    torch.testing.assert_close(folded(network).predict(images).logits, network.predict(images).logits)
