"""The image kernel gives the bits of crop, flip and normalise, alone and in trainings; a GPU's code has no fused product.

Triton interprets the kernel on the CPU in a process of its own, because it decides when it is imported.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from itertools import product
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
import torch

from ltrun.augmentation.crop_flip import CropFlip, crop_flip
from ltrun.contracts.device import on_device
from ltrun.contracts.imagined import imagined_cuda
from ltrun.data import Normalise, Resident
from ltrun.types import Labels
from tests.support.cases import bound, composed, differing, small, snapshot, trainer

pytest.importorskip("triton")

HERE = __name__
SIZES = {"square": (8, 8), "wide": (5, 13), "two blocks": (33, 31)}  # the last has more values than a program writes
CASES = list(product((1, 3), SIZES, (True, False), (0, 4), (True, False)))  # channels, size, channels_last, padding, flip
WORDS = {  # words of a training -> calls of the kernel: streams with crop and flip alone, in three steps an epoch
    "method=cmo": 6,
    "method=crt": 6,
    "method=meta_weight_net": 6,
    "augmentation=cutout": 0,
}


def told_by(function: str, folder: Path, **environment: str) -> Any:
    """Returns what a function of this module returns in a new process. Its argument is a folder."""
    code = f"import json, sys, {HERE} as here; print(json.dumps(here.{function}(sys.argv[1])))"
    own = {"TRITON_CACHE_DIR": str(folder / "triton"), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", code, str(folder)], capture_output=True, text=True, env=os.environ | own | environment
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


# ------------------------------------------------------------------------------------------- in the process that interprets


def pixels(folder: str, device: str = "cpu") -> dict[str, list[bool]]:
    """Case -> whether the results have the same bits and strides, for a late batch, and for one that has its images."""
    return {str(case): [_agrees(*case, late, device) for late in (True, False)] for case in CASES}


def _agrees(channels: int, size: str, channels_last: bool, padding: int, flip: bool, late: bool, device: str) -> bool:
    generator = torch.Generator().manual_seed(7)
    images = torch.randint(0, 256, (9, channels, *SIZES[size]), dtype=torch.uint8, generator=generator).to(device)
    index = torch.randperm(9, generator=generator).to(device) if channels == 3 else None  # as a store on a CPU has
    store = Resident(images, Labels.hard(torch.arange(9, device=device)), index)
    rows = torch.tensor([8, 0, 3, 3, 5, 1, 7], device=device)
    mean, std = [0.4914, 0.4822, 0.4465][:channels], [0.2023, 0.1994, 0.2010][:channels]
    prepare = Normalise(mean, std, in_channels=channels, channels_last=channels_last).to(device)
    augment = CropFlip(padding, flip)
    fused = augment.fused_with(prepare)
    assert fused is not None
    torch.manual_seed(3)
    expected, after = prepare(augment(next(store.open([rows]))).inputs), torch.rand(1)
    torch.manual_seed(3)
    found, later = fused(next(store.open([rows], late=late))), torch.rand(1)
    same = torch.equal(found.inputs, expected) and found.inputs.stride() == expected.stride()
    return same and torch.equal(found.rows, rows) and torch.equal(found.targets.labels, rows) and torch.equal(after, later)


def trainings(folder: str) -> dict[str, list[Any]]:
    """Words -> the tensors that differ with and without the lever, the warnings, and the calls of the kernel."""
    from ltrun.kernels import images

    found = {}
    for words in WORDS:
        warned: list[str] = []
        recipe = bound(small(composed(words), epochs=1))
        plain = snapshot(trainer(recipe, Path(folder, words, "plain")).run())
        with patch.object(images, "crop_flip_normalise", wraps=images.crop_flip_normalise) as kernel:
            made = trainer(recipe, Path(folder, words, "lever"), warn=warned.append, levers=["image_kernel"])
            found[words] = [sorted(differing(snapshot(made.run()), plain)), warned, kernel.call_count]
    return found


# ------------------------------------------------------------------------------------------------- in one that compiles


def assembler(folder: str) -> dict[str, list[int]]:
    """'side by side' or 'apart', by how the channels lie -> products, sums, and fused products, for an H100."""
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    from ltrun.kernels.images import BLOCK, ROUNDING, _kernel

    sizes = {"CHANNELS": 3, "HEIGHT": 32, "WIDTH": 32, "BLOCK": BLOCK}
    pointers = {"pixels": "*u8", "flip": "*i1", "scale": "*fp32", "shift": "*fp32", "out": "*fp32"}
    pointers |= dict.fromkeys(("places", "top", "left"), "*i64")
    signature = {name: pointers.get(name, "constexpr") for name in _kernel.arg_names}
    found = {}
    for name, last in {"side by side": True, "apart": False}.items():
        source = ASTSource(_kernel, signature, sizes | {"LAST": last})
        made = triton.compile(source, target=GPUTarget("cuda", 90, 32), options=ROUNDING)
        found[name] = [len(re.findall(rf"\b{operation}\S*\.f32", made.asm["ptx"])) for operation in ("mul", "add", "fma")]
    return found


# ---------------------------------------------------------------------------------------------------------------- tests


@pytest.fixture(scope="module")
def agreeing(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return told_by("pixels", tmp_path_factory.mktemp("pixels"), TRITON_INTERPRET="1")


@pytest.mark.parametrize("case", CASES, ids=str)
def test_the_kernel_has_the_bits_layout_and_draws_of_crop_flip_and_normalise(case: Any, agreeing: Any) -> None:
    assert agreeing[str(case)] == [True, True]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_gpu_gives_the_same_bits_too() -> None:
    assert pixels("", "cuda") == {str(case): [True, True] for case in CASES}


def test_trainings_with_the_kernel_have_the_bits_of_trainings_without(tmp_path: Path) -> None:
    """Streams with further augmentations keep their path, as under augmentation=cutout."""
    found = told_by("trainings", tmp_path, TRITON_INTERPRET="1")
    assert found == {words: [[], [], calls] for words, calls in WORDS.items()}


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a real CUDA device")
def test_a_captured_step_has_the_kernel_read_by_the_row_numbers_of_each_replay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Operations of torch stand for the kernel, which an imagined device cannot run."""

    def stand_in(pixels: Any, places: Any, top: Any, left: Any, flip: Any, scale: Any, shift: Any, layout: Any) -> Any:
        assert places is not None
        return (crop_flip(pixels[places], top, left, flip) * scale + shift).contiguous(memory_format=layout)

    monkeypatch.setattr("ltrun.kernels.images.crop_flip_normalise", stand_in)
    recipe, warned = bound(small(composed("method=cmo"), epochs=6)), list[str]()
    with imagined_cuda():
        found = on_device(recipe, tmp_path / "lever", levers=["image_kernel"], warn=warned.append)
        expected = on_device(recipe, tmp_path / "plain")
    assert not differing(found, expected) and warned == []


def test_a_class_derived_from_crop_and_flip_is_not_fused() -> None:
    """It may compute anything."""

    class Own(CropFlip):
        pass

    class Other(Normalise):
        pass

    usual: Any = {"mean": [0.5], "std": [0.5], "in_channels": 1, "channels_last": False}
    assert CropFlip().fused_with(Normalise(**usual)) is not None
    assert Own().fused_with(Normalise(**usual)) is None and CropFlip().fused_with(Other(**usual)) is None


def test_products_and_sums_are_rounded_each_on_a_gpu(tmp_path: Path) -> None:
    """torch multiplies and adds in two operations, and a product that is fused with its sum rounds once."""
    for products, sums, fused in told_by("assembler", tmp_path).values():
        assert products == sums > 0 and fused == 0
