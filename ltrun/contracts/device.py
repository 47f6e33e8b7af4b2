"""Steps that a GPU can replay: none looks at a value on the host. An imagined device refuses whatever would."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from ltrun.contracts.contract import BrokenContract, Contract, require
from ltrun.contracts.imagined import DEVICE, Imagined, imagined_cuda
from ltrun.contracts.library import Choice
from ltrun.contracts.training import quick, within
from ltrun.contracts.trial import differing, digits, normaliser, snapshot, some_of, trainer
from ltrun.data import Resident
from ltrun.recipe.stage import Recipe

WAYS = {
    "makes the host wait": "use no .item(), no `if` on a tensor and no mask as an index",
    "learning rate is not a tensor": "give the optimizer a rate that is a tensor, which a captured step reads anew",
}
EPOCHS = 6  # so that full batches and the last, smaller ones are captured and replayed, and deferred parts switch meanwhile


def of_a_step(choice: Choice) -> Iterator[Contract]:
    """The contract of an option whose steps a GPU replays as one graph."""
    yield Contract(
        "no step looks at a value on the host, and a GPU has the results of a CPU",
        within(lambda folder: device_has_the_bits_of_the_host(choice.library.bound(quick(choice, EPOCHS)), folder)),
    )


def unevaluated(network: nn.Module) -> dict[str, dict[str, Any]]:
    return {"val": {"accuracy": 0.0}}


def on_host(recipe: Recipe, folder: Path, **more: Any) -> dict[str, Tensor]:
    return snapshot(trainer(recipe, folder, evaluate=unevaluated, **more).run())


def on_device(recipe: Recipe, folder: Path, **more: Any) -> dict[str, Tensor]:
    """The state of a network that was trained there. `imagined_cuda` is around it."""
    train, _ = digits()
    settings: dict[str, Any] = {
        "device": DEVICE, "train_set": Resident(train.images.to(DEVICE), train.targets.to(DEVICE)),
        "prepare": normaliser().to(DEVICE), "precision": "fp32", "evaluate": unevaluated,
    }  # fmt: skip
    state = snapshot(trainer(recipe, folder, **(settings | more)).run())
    stray = {name for name, tensor in state.items() if not isinstance(tensor, Imagined)}
    require(not stray, f"{some_of(stray)} lies on the host after a training on a device; register it as a buffer")
    return {name: tensor.cpu() for name, tensor in state.items()}


def device_has_the_bits_of_the_host(recipe: Recipe, folder: Path) -> None:
    """Nothing waits, nothing warns. Raises BrokenContract."""
    warned: list[str] = []
    try:
        with imagined_cuda():
            found = on_device(recipe, folder / "device", warn=warned.append)
    except RuntimeError as error:
        if "found some of the host" not in str(error):
            raise
        raise BrokenContract(
            f"a step mixes tensors of the host with those of a device ({error}); make a tensor on the device of the inputs, "
            "device=logits.device, and keep what lasts in self.register_buffer"
        ) from error
    for sentence in warned:
        way = next((f"; {way}" for reason, way in WAYS.items() if reason in sentence), "")
        raise BrokenContract(f"a training on a device warns: {sentence}{way}")
    named = differing(found, on_host(recipe, folder / "host"))
    require(
        not named,
        f"a CPU and a replayed step give other values of {some_of(named)}: a Python number that changes, or a seed of its own, "
        "is frozen there; keep numbers in self.register_buffer, written in place, and set no seed",
    )
