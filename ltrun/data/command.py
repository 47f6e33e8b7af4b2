"""`ltrun data`: what a data set holds, without training."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from hydra import compose, initialize_config_module
from omegaconf import OmegaConf
from rich.console import Console

from ltrun import catalogue, own_options
from ltrun.build import bind
from ltrun.compose import plugins_of
from ltrun.data.describe import describe
from ltrun.explain import explain

USAGE = "usage: ltrun data dataset=NAME [dataset.KEY=VALUE ...]"


def main(argv: Sequence[str]) -> int:
    """Prints the classes, the images of each split and the tail of a data set. Raises LtrunError."""
    if not any(word.startswith("dataset=") for word in argv):
        print(f"{USAGE}\ndata sets: {', '.join(option.name for option in catalogue.options('dataset'))}")
        return 0 if argv in (["--help"], ["-h"]) else 1
    own_options.admit(argv)
    overrides = own_options.without_flags(argv)
    config = _composed(argv, overrides)
    source = bind(config["dataset"]["source"], "dataset.source", plugins=plugins_of(config, overrides)).build({})
    many, few = config["evaluation"]["many"], config["evaluation"]["few"]
    describe(config["dataset"]["name"], source.open(torch.device("cpu")), Console(), many=many, few=few)
    return 0


def _composed(argv: Sequence[str], overrides: Sequence[str]) -> Any:
    """The resolved configuration of a command line."""
    path = ",".join(f"file://{folder.resolve()}" for folder in own_options.folders(argv))
    try:
        with initialize_config_module("ltrun.conf", version_base="1.3"):
            cfg = compose("config", [*overrides, *([f"hydra.searchpath=[{path}]"] if path else [])])
            return OmegaConf.to_container(cfg, resolve=True)
    except Exception as error:
        raise explain(error, argv) or error from None
