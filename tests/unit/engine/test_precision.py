"""Precision of a run: the flags that each precision sets on CUDA, and the scaled loss of fp16."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

from ltrun.engine.checkpoint import Checkpoints
from ltrun.engine.precision import FIRST, PATIENCE, Precision, Scaler
from ltrun.errors import ConfigError
from ltrun.optimizer import SGD
from ltrun.parts import Descent
from tests.support.cases import CPU, FP32, bound, changed, composed, differing, small, snapshot, trainer
from tests.support.training import mine, node


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    flags = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    yield
    torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = flags


@pytest.mark.parametrize(("name", "convolutions"), [("fp32", False), ("tf32", True)])
@pytest.mark.parametrize("before", [False, True])
def test_tf32_rounds_in_convolutions_alone(name: Any, convolutions: bool, before: bool) -> None:
    """Matrix products belong to heads, losses and similarities, whatever the flags were before."""
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = before
    Precision(name, torch.device("cuda"))
    assert torch.backends.cudnn.allow_tf32 is convolutions
    assert torch.backends.cuda.matmul.allow_tf32 is False


# ------------------------------------------------------------------------------------------------------------- fp16


@pytest.fixture
def fp16(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets a CPU compute in fp16, as torch's kernels can, only slowly."""
    monkeypatch.setattr("ltrun.engine.precision.has_fp16", lambda device: True)


def test_fp16_is_refused_where_the_device_converts_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cpu._is_amx_fp16_supported", lambda: False)
    with pytest.raises(ConfigError, match=r"runtime\.precision: this cpu device does not compute in fp16"):
        Precision("fp16", CPU)
    assert FP32.scaler() is None


def test_the_scale_multiplies_gradients_and_not_the_loss() -> None:
    scaler, x = Scaler(), torch.tensor(3.0, requires_grad=True)
    loss = scaler(x.square())
    loss.backward()
    assert loss.item() == 9 and x.grad is not None and x.grad.item() == 6 * FIRST


def test_the_scale_grows_after_many_good_steps_and_halves_after_a_bad_one() -> None:
    scaler, good, bad = Scaler(), torch.tensor(1.0), torch.tensor(torch.inf)
    for _ in range(PATIENCE - 1):
        assert [float(each) for each in scaler.seen(good)] == [FIRST, 0]
    divisor, skipped = scaler.seen(bad)
    assert (divisor.item(), skipped.item(), scaler.scale.item()) == (FIRST, 1, FIRST / 2)
    for _ in range(PATIENCE):
        scaler.seen(good)
    assert scaler.scale.item() == FIRST


@pytest.mark.parametrize("words", [(), ("optimizer=adamw", "optimizer.clip=1.0"), ("method=paco",)])
def test_a_scaled_loss_trains_the_same_network(words: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The scale is a power of two, so without underflow only clipping rounds in another way."""
    recipe = bound(small(composed(*words), epochs=2))
    plain = snapshot(trainer(recipe, tmp_path / "plain").run())
    monkeypatch.setattr(Precision, "scaler", lambda self: Scaler())
    scaled = snapshot(trainer(recipe, tmp_path / "scaled").run())
    for name, tensor in plain.items():
        torch.testing.assert_close(scaled[name], tensor, rtol=1e-4, atol=1e-5, msg=name)


def test_a_training_in_fp16_keeps_its_scale_in_the_checkpoint(fp16: None, tmp_path: Path) -> None:
    recipe = bound(small(composed("method=crt"), epochs=2))
    made = trainer(recipe, tmp_path, precision="fp16")
    first = snapshot(made.network())
    network = made.run()
    assert differing(snapshot(network), first) and all(tensor.isfinite().all() for tensor in snapshot(network).values())
    state = Checkpoints(tmp_path).load(CPU, lambda sentence: None)
    assert state is not None and state["module"]["objective.scaler.scale"] == FIRST


class Other:
    """An optimizer that knows nothing of a scaled loss."""

    def build(self, parameters: Mapping[str, torch.nn.Parameter]) -> Descent:
        made = SGD().build(parameters)
        del made.scaling
        return made


def test_optimizers_and_updates_that_need_true_gradients_are_refused(fp16: None, tmp_path: Path) -> None:
    composition = small(composed("method=erm"), epochs=1)
    with pytest.raises(ConfigError, match="FusedSGD has no attribute `scaling`"):
        trainer(mine(changed(composition, optimizer=node(Other))), tmp_path / "a", precision="fp16").run()
    with pytest.raises(ConfigError, match="Bilevel needs its true gradient"):
        trainer(bound(small(composed("method=meta_weight_net"), epochs=1)), tmp_path / "b", precision="fp16").run()
