"""Scaling of samplers: Python loops over no images, so a sampler executes equally many instructions for any number of rows."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch

BENCHMARKS = Path(__file__).parents[3] / "benchmarks"
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def scale() -> ModuleType:
    sys.path.insert(0, str(BENCHMARKS))
    try:
        spec = importlib.util.spec_from_file_location("scale", BENCHMARKS / "scale.py")
        assert spec and spec.loader
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    finally:
        sys.path.remove(str(BENCHMARKS))
    return module


def executed(scale: ModuleType, name: str, images: int, classes: int) -> int:
    call = scale.rows(images, classes, CPU)[name]
    call()
    with scale.counted() as count:
        call()
    return int(count[0])


def test_no_sampler_loops_over_images_or_classes(scale: ModuleType) -> None:
    names = [name for name in scale.rows(100, 10, CPU) if name != "batches of 128"]
    assert len(names) > 12
    for name in names:
        few = executed(scale, name, 2_000, 10)
        assert few > 20
        assert executed(scale, name, 8_000, 10) == few, f"{name}: Python does something for every image"
        assert executed(scale, name, 8_000, 100) == few, f"{name}: Python does something for every class"


def test_a_loop_over_images_would_be_counted(scale: ModuleType) -> None:
    def loop(n: int) -> int:
        with scale.counted() as count:
            sum(k for k in range(n))
        return int(count[0])

    assert loop(200) > loop(100) > 100


def test_the_benchmark_works(scale: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert scale.main(["--smoke", "--device", "cpu", "--json", str(tmp_path / "scale.json")]) == 0
    assert "the same everywhere" in capsys.readouterr().out
    assert '"complete": true' in (tmp_path / "scale.json").read_text()
