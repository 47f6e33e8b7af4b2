"""Networks of timm: vision transformers, ConvNeXt, Swin and a thousand more, with or without pre-trained weights."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from difflib import get_close_matches
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from ltrun.backbone import Preprocessing
from ltrun.errors import ConfigError
from ltrun.network.run_weights import of_run
from ltrun.network.weights import KEY, opened, refuse_misfit
from ltrun.parts import Backbone

LISTED = re.compile(r"(Missing|Unexpected) keys \((.*?)\)")  # in what timm logs of a file of weights
NEW = ("fc_norm",)  # modules that a network may have in place of its file's: normalisation after average pooling


class Timm(Backbone):
    """images (B, in_channels, H, W) -> features (B, D): a model of timm without its classifier.

    name: of a model, without weights, such as vit_base_patch16_224; weights: null, a file, a name that timm gives weights of
    this model, such as augreg_in21k, or a run of ltrun. arguments: further arguments of timm.create_model, such as
    {drop_path_rate: 0.1}. A model for one size of images, as vision transformers are, is built for the size of the data set;
    timm interpolates its position embeddings. sha256: the first digits of the file's SHA-256, which ltrun fills in.

    Wightman, 2019, PyTorch image models, https://github.com/huggingface/pytorch-image-models.
    """

    pixels = (32, 1024)

    def __init__(
        self,
        name: str,
        arguments: Any = None,
        weights: str | None = None,
        sha256: str | None = None,
        download: bool = False,
        *,
        in_channels: int,
        input_shape: torch.Size,
    ):
        super().__init__()
        timm = _timm()
        published = _published(name)
        path, tensors = opened(weights, sha256, download, published) if weights is not None else (None, {})
        if of_run(weights):
            tensors = {name.removeprefix("model."): tensor for name, tensor in tensors.items()}
        given = _further(arguments)
        if len(input_shape) == 3 and min(input_shape[1:]) > 1 and "img_size" not in given:  # stand-ins for data have 1 pixel
            config = _config(name, weights)
            size = tuple(input_shape[1:])
            if config.fixed_input_size and size != tuple(config.input_size[1:]):
                given["img_size"] = size
        if weights in published:
            name = f"{name}.{weights}"
        if path is not None:
            given |= {"pretrained": True, "pretrained_cfg_overlay": {"state_dict": tensors}}
        seen = {"missing": list[str](), "unexpected": list[str]()}
        try:
            with _watched(seen):
                self.model: nn.Module = timm.create_model(name, num_classes=0, in_chans=in_channels, **given)
        except (TypeError, ValueError, RuntimeError, AssertionError, KeyError) as error:
            told = " ".join(str(error).split())[:200]
            what = f"{KEY}: {path.name} does not fit" if path else "network.name: for these images timm cannot build"
            raise ConfigError(f"{what} {name} ({told})") from None
        if path is not None:
            own = {key.partition(".")[0] for key in self.model.state_dict()}
            missing = [key for key in seen["missing"] if key.partition(".")[0] not in NEW]
            refuse_misfit(path, missing, [key for key in seen["unexpected"] if key.partition(".")[0] in own])
        self.features = int(getattr(self.model, "head_hidden_size", None) or self.model.num_features)

    @classmethod
    def published(cls, arguments: Mapping[str, Any]) -> Mapping[str, str]:
        return _published(arguments["name"])

    @classmethod
    def preprocessing(cls, arguments: Mapping[str, Any]) -> Preprocessing | None:
        if arguments.get("weights") is None or of_run(arguments["weights"]):
            return None
        config = _config(arguments["name"], arguments["weights"])
        return Preprocessing(tuple(config.mean), tuple(config.std), config.input_size[-1], config.interpolation)

    def forward(self, images: Tensor) -> Tensor:
        features: Tensor = self.model(images)
        return features


def _timm() -> ModuleType:
    try:
        import timm
    except ImportError:
        raise ConfigError("network=timm needs timm, which is not installed: pip install 'ltrun[pretrained]'") from None
    return timm


def _further(arguments: Any) -> dict[str, Any]:
    if arguments is not None and not isinstance(arguments, Mapping):
        raise ConfigError(f"arguments must map names of timm.create_model's arguments to values, got {arguments!r}")
    given = dict(arguments or {})
    for key in ("num_classes", "in_chans", "pretrained", "pretrained_cfg", "pretrained_cfg_overlay", "checkpoint_path"):
        if key in given:
            raise ConfigError(f"arguments.{key}: ltrun sets '{key}' itself; remove it")
    return {key: tuple(value) if isinstance(value, list) else value for key, value in given.items()}


def _checked(name: str) -> str:
    """Raises ConfigError for a model that timm does not have, and for a name with the name of weights behind a dot."""
    timm = _timm()
    if timm.is_model(name):
        base, _, weights = name.partition(".")
        if not weights:
            return name
        raise ConfigError(f"network.name: {name} names weights too; write network.name={base} network.weights={weights}")
    near = get_close_matches(name, timm.list_models(), cutoff=0.5)
    way_out = f"nearest: {', '.join(near)}" if near else "timm.list_models() has all"
    raise ConfigError(f"network.name: timm has no model '{name}'; {way_out}")


def _config(name: str, weights: str | None) -> Any:
    """Returns what timm knows of a model's images, for named weights or for those that it takes by default."""
    named = f"{name}.{weights}" if weights in _published(name) else name
    return _timm().models.get_pretrained_cfg(named)


def _published(name: str) -> dict[str, str]:
    """Returns name -> URL of the weights that timm has for a model."""
    models, found = _timm().models, {}
    for model in models.list_models(f"{_checked(name)}.*", pretrained=True, include_tags=True):
        config = models.get_pretrained_cfg(model)
        file = config.hf_hub_filename or "model.safetensors"
        url = f"https://huggingface.co/{config.hf_hub_id}/resolve/main/{file}" if config.hf_hub_id else config.url
        if url:
            found[model.partition(".")[2]] = url
    return found


@contextmanager
def _watched(seen: Mapping[str, list[str]]) -> Iterator[None]:
    """Notes the keys of a file of weights that timm found missing or unexpected, which it only logs."""

    class Note(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            for kind, keys in LISTED.findall(record.getMessage()):
                seen[kind.lower()].extend(keys.split(", "))

    logger, note = logging.getLogger("timm.models._builder"), Note(logging.INFO)
    level, passes = logger.level, logger.propagate
    logger.addHandler(note)
    logger.setLevel(logging.INFO)
    logger.propagate = False
    try:
        yield
    finally:
        logger.removeHandler(note)
        logger.setLevel(level)
        logger.propagate = passes
