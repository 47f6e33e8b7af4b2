"""Export of trained models: one graph of preparation, network and post-hoc part, as ONNX or torch.export, or weights alone."""

from __future__ import annotations

import io
import json
import logging
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from copy import deepcopy
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from ltrun import __version__
from ltrun.config.bind import public_name
from ltrun.data.decoding import Decoding
from ltrun.engine.model import Model
from ltrun.engine.predictors import PLAIN
from ltrun.errors import ConfigError
from ltrun.metrics import Shots
from ltrun.parts import Network
from ltrun.results.schema import LISTS

IMAGES, FEATURES, OUTPUTS = "images", "features", ("probabilities", "logits")
RUNTIME = {"precision": "fp32", "channels_last": False}  # of an exported model
NEEDS = {".onnx": ("onnx", "onnxscript", "onnxruntime"), ".pt2": (), ".safetensors": ("safetensors",)}  # suffix -> packages
EVENLY = "of the features of a video's n frames, take {0} rows, numbers floor(i * (n - 1) / ({0} - 1)) for i from 0"
JSON = "ltrun.json"  # the extra file of a .pt2
MOST_ONNX = 2**31 - 2**20  # bytes that an ONNX file holds without files beside it
DECISION = "each class with a probability above 0.5, any number of them"  # of several labels
Scorer = Callable[[Tensor], Tensor]  # inputs, as `stand_in` makes them -> probabilities (B, C)


class Graph(nn.Module):
    """Stored images (B, channels, H, W) uint8, or features of videos (B, frames, D) float32 -> probabilities and logits (B, C)
    float32, in this order.

    The logits are the scores of the row; their softmax, or for several labels their sigmoid, are the probabilities.
    """

    def __init__(self, model: Model):
        super().__init__()
        self.prepare, self.task = deepcopy(model.context.prepare), model.context.task
        self.network, self.part = cast(nn.Module, deepcopy(model.evaluated)), deepcopy(model.part)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        outputs = cast(Network, self.network).predict(self.prepare(images))
        scores = self.task.scores(outputs) if self.part is None else self.part(outputs.only(self.part.reads))
        logits = scores.float()
        return self.task.probabilities(logits), logits


def input_of(model: Model) -> str:
    """Returns the name of the graph's input."""
    return FEATURES if model.of_videos else IMAGES


def random_inputs(model: Model, rows: int) -> Tensor:
    """Returns inputs of the graph, equal on every call: any pixels, or any features that are not negative."""
    shape, generator = (rows, *model.context.input_shape), torch.Generator().manual_seed(0)
    if model.of_videos:
        return torch.rand(shape, generator=generator)
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator)


def refuse_missing(suffix: str) -> None:
    """Raises ConfigError if a format needs packages that are not installed, or cannot be imported."""
    if missing := [name for name in NEEDS[suffix] if find_spec(name) is None]:
        raise ConfigError(f"--to: {suffix} needs {' and '.join(missing)}: pip install 'ltrun[export]'")
    for name in NEEDS[suffix]:
        try:
            import_module(name)
        except Exception as error:  # a broken installation raises errors of any kind
            reason = str(error).partition("\n")[0]
            raise ConfigError(f"--to: {suffix} needs {name}, which cannot be imported ({reason}): install it again") from None


def write(model: Model, file: Path, facts: Mapping[str, str]) -> Scorer:
    """Writes a model, on the CPU in float32, with its metadata. Returns the model that the file holds, as read from there.

    Raises ConfigError for a model that cannot be exported.
    """
    if file.suffix == ".safetensors":
        return _safetensors(model, file, facts)
    with _silent():
        program = _program(model)
        if file.suffix == ".pt2":
            made = io.BytesIO()  # into a file, torch would hide the reason of an OSError
            torch.export.save(program, made, extra_files={JSON: json.dumps(dict(facts))})
            file.write_bytes(made.getbuffer())
            module = torch.export.load(file).module()
            return lambda inputs: module(inputs)[0]
        return _onnx(program, file, facts, input_of(model))


def _program(model: Model) -> torch.export.ExportedProgram:
    """Traces the graph with a free number of inputs. Raises ConfigError, which names the part that cannot be traced."""
    graph = Graph(model).eval()
    inputs = random_inputs(model, 3)

    def traced(module: nn.Module) -> torch.export.ExportedProgram:
        return torch.export.export(module, (inputs,), dynamic_shapes={IMAGES: {0: torch.export.Dim("batch", min=1)}})

    try:
        return traced(graph)
    except Exception as error:  # tracing raises errors of any kind
        said = str(error).strip().partition("\n")[0]
    if graph.part is None:
        raise ConfigError(f"this network cannot be exported as a graph ({said}); .safetensors holds its weights")
    name = public_name(type(graph.part))
    graph.part = None
    try:
        traced(graph)
    except Exception:
        raise ConfigError(f"this network cannot be exported as a graph ({said}); .safetensors holds its weights") from None
    raise ConfigError(
        f"row '{model.predictor}' cannot be exported, because {name} is no pure function of tensors ({said}): give "
        f"--predictor {PLAIN} for the network's own prediction"
    )


def _onnx(program: torch.export.ExportedProgram, file: Path, facts: Mapping[str, str], name: str) -> Scorer:
    import onnxruntime

    if sum(t.numel() * t.element_size() for t in program.state_dict.values()) > MOST_ONNX:
        raise ConfigError("--to: an ONNX file holds at most 2 GB of weights; export to .pt2")
    names = {"input_names": [name], "output_names": list(OUTPUTS)}
    made = torch.onnx.export(program, dynamo=True, verbose=False, external_data=False, **names)  # type: ignore[arg-type]
    assert made is not None
    made.model.metadata_props.update(facts)
    made.save(file, external_data=False)
    session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    return lambda inputs: torch.from_numpy(session.run([OUTPUTS[0]], {name: inputs.numpy()})[0])


def _safetensors(model: Model, file: Path, facts: Mapping[str, str]) -> Scorer:
    """Writes the network's weights as ltrun names them, and the post-hoc part's as `posthoc.NAME`."""
    from safetensors.torch import load_file, save

    copy = deepcopy(model)
    modules = {"": cast(nn.Module, copy.network), **({"posthoc.": copy.part} if copy.part is not None else {})}
    state = {f"{prefix}{name}": tensor for prefix, module in modules.items() for name, tensor in module.state_dict().items()}
    file.write_bytes(save({name: tensor.detach().contiguous().clone() for name, tensor in state.items()}, dict(facts)))
    read = load_file(file)
    for prefix, module in modules.items():
        module.load_state_dict({name: read[f"{prefix}{name}"] for name in module.state_dict()})
    return lambda inputs: copy.context.task.probabilities(copy.scores(inputs))


def facts_of(model: Model, licence: str | None) -> dict[str, str]:
    """Returns the metadata of an exported model: name -> text, or JSON."""
    record, shape = model.record, model.context.input_shape
    shots = Shots.of(record.config)
    counts = record.classes["counts"]
    groups = [shots.group(count) for count in counts]
    run = {
        "dataset": record.dataset, "method": record.label, "seed": record.seed, "fingerprint": record.fingerprint,
        "selection": record.selection, "command": list(record.command), "config": record.config, "data": record.data,
        "stages": record.stages, "provenance": record.provenance,
        "results": {
            split: {name: value for name, value in metrics.items() if name not in LISTS}
            for split, metrics in record.predictors[model.predictor]["splits"].items()
        },
    }  # fmt: skip
    found: dict[str, Any] = {
        "ltrun": __version__,
        "class_names": list(model.names),
        "training_images": counts,
        "shot_groups": {"of_classes": groups} | {group: f"{images} images" for group, images in shots.ranges().items()},
        **({"task": record.task, "decision": DECISION} if model.several else {}),
        "input": {"name": input_of(model), "type": "float32" if model.of_videos else "uint8", "shape": ["batch", *shape]}
        | ({} if model.of_videos else {"range": [0, 255], "normalised": "in the graph"}),
        "outputs": {name: {"type": "float32", "shape": ["batch", len(counts)]} for name in OUTPUTS},
        **({"view": {"steps": [EVENLY.format(shape[0])]}} if model.of_videos else _of_images(model)),
        "predictor": model.predictor,
        "saw": record.predictors[model.predictor]["sees"],
        "licence": licence or "not stated; the images, and weights that the network began with, may have licences of their own",
        "record": run,
    }
    return {name: value if isinstance(value, str) else json.dumps(value, ensure_ascii=False) for name, value in found.items()}


def _of_images(model: Model) -> dict[str, Any]:
    """Returns how an image file becomes an input, its size, and the mean and deviation that the graph applies."""
    how, shape, prepare = model.view, model.context.input_shape, model.recipe.prepare.arguments
    return {
        "view": {**{key: value for key, value in vars(how).items() if value is not None}, "steps": steps_of(how, shape[0])},
        "size": list(shape[1:]),
        "mean": prepare.get("mean"),
        "std": prepare.get("std"),
    }


def steps_of(how: Decoding, channels: int) -> list[str]:
    """Returns, step by step, how an image file becomes an input of the graph."""
    size = f"{how.size} x {how.size}"
    if how.resize is not None:
        scaled = f"scale the shorter side to {how.resize} pixels, bilinear with antialiasing, and cut out the centre, {size}"
    elif how.stretch:
        scaled = f"scale it to {size} whatever its shape, bilinear with antialiasing"
    elif how.crop:
        scaled = f"cut out the centre square and scale it to {size}, bicubic with antialiasing"
    else:
        scaled = f"use images of {size} alone"
    return [
        *(["turn it as its EXIF orientation says"] if how.upright else []),
        "convert it to RGB of 8 bits, with transparent pixels on white",
        scaled,
        *(["convert it to grey, ITU-R 601-2 luma"] if channels == 1 else []),
    ]


@contextmanager
def _silent() -> Iterator[None]:
    """Silences the warnings and log lines of exporters."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "torch.export", "onnxscript", "onnx_ir")]
    before = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, before, strict=True):
            logger.setLevel(level)
