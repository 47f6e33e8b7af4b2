"""Contract of steps that a GPU replays as one graph: no step reads a value on the host. It needs no GPU."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from ltrun.contracts.contract import BrokenContract, Contract, require
from ltrun.contracts.imagined import DEVICE, Imagined, imagined_cuda
from ltrun.contracts.library import Choice
from ltrun.contracts.training import quick, within
from ltrun.contracts.trial import differing, digits, prepared, snapshot, some_of, trainer
from ltrun.data import Resident
from ltrun.metrics import TASKS
from ltrun.recipe.stage import Recipe

ON_DEVICE = (
    "build the optimizer with lr=torch.tensor(lr, device=...) on the device of the parameters, which a captured step reads; "
    "an optimizer of torch.optim also needs fused=True and capturable=True"
)
WAYS = {  # words of a warning -> the way out
    "makes the host wait": "use no .item(), no `if` on a tensor and no mask as an index",
    "learning rate is not a tensor": ON_DEVICE,
    "capturable is False": ON_DEVICE,
}
MIXED = {  # words of an error -> its cause and the way out
    "of the host": (
        "a step mixes tensors of the host with those of a device",
        "make a tensor on the device of the inputs, device=logits.device, and keep tensors that last in self.register_buffer",
    ),
    "has no NumPy array": ("a step turns a tensor into a NumPy array", "compute by torch"),
    "generator of the device": (
        "a sampler draws on a device by a generator of the host",
        "take the labels to the generator: targets.labels.to(generator.device)",
    ),
}
EPOCHS = 6  # enough to capture and replay full and last batches, and for deferred parts to switch in between


def of_a_step(choice: Choice) -> Iterator[Contract]:
    """Yields the contract of every option that takes part in a training step."""
    yield Contract(
        "no step reads a value on the host, and a replayed step gives the results of a CPU",
        within(lambda folder: device_has_the_bits_of_the_host(choice.library.bound(quick(choice, EPOCHS)), folder)),
    )


def unevaluated(network: nn.Module) -> dict[str, dict[str, Any]]:
    return {"val": {metrics[0].name: 0.0 for metrics in TASKS.values()}}


def on_host(recipe: Recipe, folder: Path, **more: Any) -> dict[str, Tensor]:
    return snapshot(trainer(recipe, folder, evaluate=unevaluated, **more).run())


def on_device(recipe: Recipe, folder: Path, **more: Any) -> dict[str, Tensor]:
    """Returns the state of the network after training on the imagined device; call it within `imagined_cuda`."""
    videos = recipe.backbone.target.videos
    train, _ = digits(recipe.task, videos)
    settings: dict[str, Any] = {
        "device": DEVICE, "train_set": Resident(train.pixels.to(DEVICE), train.targets.to(DEVICE)),
        "prepare": prepared(videos).to(DEVICE), "precision": "fp32", "evaluate": unevaluated,
    }  # fmt: skip
    state = snapshot(trainer(recipe, folder, **(settings | more)).run())
    stray = {name for name, tensor in state.items() if not isinstance(tensor, Imagined)}
    require(
        not stray, f"{some_of(stray)}: on the host after a training on a device; register the tensor by self.register_buffer"
    )
    return {name: tensor.cpu() for name, tensor in state.items()}


def device_has_the_bits_of_the_host(recipe: Recipe, folder: Path) -> None:
    """Checks that a run on the imagined device never waits and never warns, and ends with the same bits as a run on the CPU."""
    warned: list[str] = []
    try:
        with imagined_cuda():
            found = on_device(recipe, folder / "device", warn=warned.append)
    except (RuntimeError, TypeError) as error:
        cause, way = next((told for words, told in MIXED.items() if words in str(error)), ("", ""))
        if not cause:
            raise
        raise BrokenContract(f"{cause} ({error}); {way}") from error
    for sentence in warned:
        way = next((f"; {way}" for reason, way in WAYS.items() if reason in sentence), "")
        raise BrokenContract(f"a training on a device warns: {sentence}{way}")
    named = differing(found, on_host(recipe, folder / "host"))
    require(
        not named,
        f"a replayed step gives other values of {some_of(named)} than a CPU: the captured step has frozen a Python number, a "
        "tensor of the host or a seed; keep values that change in self.register_buffer, write them in place, and set no seed",
    )
