"""One training step, compiled or replayed: it computes the same as an eager step, or names the part that prevents it."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import ltrun.engine.step
from ltrun.data import Resident
from ltrun.engine.evidence import SplitEvidence
from ltrun.engine.precision import Precision
from ltrun.engine.step import captured, culprit, own_stream
from ltrun.errors import ConfigError
from ltrun.network import ResNetCIFAR
from ltrun.network.fold import fold, folded
from ltrun.parts import Term
from ltrun.types import Batch, Labels, Outputs, Streams
from tests.support.cases import CPU, bound, changed, composed, context, differing, digits, normaliser, small, snapshot, trainer

HERE = __name__
SOME = ["erm", "ldam_drw", "crt", "cmo", "paco", "sade", "bbn", "meta_weight_net"]


class Impatient(Term):
    """Reads its value on the host, as no captured or traced step can."""

    def forward(self, outputs: Mapping[str, Outputs], streams: Streams) -> Tensor:
        logits = outputs["main"].logits
        assert logits is not None
        return logits.square().mean() * (1.0 if logits.sum().item() > 0 else 2.0)


@pytest.fixture
def traced(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Traces as runtime.compile=true does, without the half minute of code generation."""
    monkeypatch.setattr(ltrun.engine.step, "BACKEND", "eager")
    torch.compiler.reset()
    yield
    torch.compiler.reset()


def trained(composition: Any, folder: Path, **settings: Any) -> tuple[dict[str, Tensor], list[str]]:
    warnings: list[str] = []
    network = trainer(bound(composition, ("tests",)), folder, warn=warnings.append, **settings).run()
    return snapshot(network), warnings


@pytest.mark.slow
@pytest.mark.usefixtures("traced")
@pytest.mark.parametrize("method", ["ldam_drw", "cmo", "sade"])
def test_a_step_compiles_to_one_graph_and_computes_the_same(method: str, tmp_path: Path) -> None:
    composition = small(composed(f"method={method}"), epochs=2)
    compiled, warnings = trained(composition, tmp_path / "compiled", compile=True)
    plain, _ = trained(composition, tmp_path / "plain", compile=False)
    assert warnings == [] and not differing(compiled, plain)


@pytest.mark.slow
@pytest.mark.usefixtures("traced")
def test_a_part_that_cannot_be_compiled_is_named_once_and_trains_eagerly(tmp_path: Path) -> None:
    node = {"_target_": f"{HERE}.Impatient"}
    composition = changed(small(composed(), epochs=2), representation__terms={"impatient": {"part": node}})
    compiled, warnings = trained(composition, tmp_path / "compiled", compile=True)
    plain, silent = trained(composition, tmp_path / "plain", compile=False)
    assert len(warnings) == 1 and "runtime.compile" in warnings[0] and "Impatient" in warnings[0] and silent == []
    assert not differing(compiled, plain)


def test_a_part_is_named_even_if_a_library_raises_an_error_of_its_own() -> None:
    streams = {"main": Batch(torch.zeros(2, 3), Labels.hard(torch.zeros(2, dtype=torch.int64)), torch.arange(2))}

    @contextmanager
    def library() -> Iterator[None]:
        try:
            yield
        finally:
            raise RuntimeError("it failed")

    with pytest.raises(RuntimeError, match="it failed") as raised, library():
        Impatient().forward({}, streams)
    assert culprit(raised.value, []) == "Impatient"


def test_a_failed_attempt_leaves_no_trace(tmp_path: Path) -> None:
    """Weights, statistics, momentum, the monitor and the random state are restored before the eager step."""
    made = trainer(bound(small(composed("method=ldam_drw"))), tmp_path)
    run = made.begin(made.network(), made.recipe.stages[0], 0)
    batch = {"main": next(made.context.splits.train.open([torch.arange(16)]))}
    warned: list[str] = []
    step, twin = run.step, copy.deepcopy(run.state_dict())
    step.warn = warned.append
    state = torch.get_rng_state()
    step(batch)
    expected, counted = snapshot(run), run.monitor.sums.clone()
    run.load_state_dict(twin)
    run.monitor.begin()
    for buffer in run.optimizer.state_dict()["momentum"]:
        buffer.zero_()
    torch.set_rng_state(state)

    def half(streams: Streams) -> None:
        step.take(streams)
        raise RuntimeError("no\nmore")

    step._attempt(half, batch)
    assert warned == ["runtime.compile: a part cannot be compiled or captured (no); steps run eagerly"]
    assert not differing(snapshot(run), expected) and torch.equal(run.monitor.sums, counted)


# ------------------------------------------------------------------------------------------------------------ arithmetic


@pytest.mark.parametrize("method", ["erm", "sade", "paco", "bbn"])
def test_folding_normalisations_into_convolutions_keeps_the_logits(method: str, tmp_path: Path) -> None:
    made = trainer(bound(small(composed(f"method={method}"), epochs=2)), tmp_path)
    network = made.run().eval()
    images = made.context.prepare(digits()[1].images)
    copy_of = folded(network)
    with torch.no_grad():
        expected, found = network.predict(images), copy_of.predict(images)
    assert expected.logits is not None and found.logits is not None
    torch.testing.assert_close(found.logits, expected.logits, rtol=1e-4, atol=1e-4)

    def normalisations(module: nn.Module) -> int:
        return sum(isinstance(m, nn.BatchNorm2d) for m in module.modules())

    assert normalisations(copy_of) < normalisations(network)


def test_a_folded_convolution_agrees_in_double_precision() -> None:
    torch.manual_seed(0)
    conv, bn = nn.Conv2d(3, 4, 3, bias=True).double(), nn.BatchNorm2d(4).double()
    bn.weight.data.uniform_(-1, 2)
    bn.bias.data.normal_()
    bn.running_mean, bn.running_var = torch.randn(4).double(), torch.rand(4).double() + 0.1
    x = torch.randn(2, 3, 6, 6).double()
    weight, bias = fold(conv, bn)
    torch.testing.assert_close(nn.functional.conv2d(x, weight, bias), bn.eval()(conv(x)), rtol=1e-12, atol=1e-12)


def test_evaluation_leaves_the_network_alone() -> None:
    made = trainer(bound(small(composed())), Path("unused"))
    network = made.network().train()
    before = snapshot(network)
    SplitEvidence(network, context(), digits()[1]).outputs()
    assert not differing(snapshot(network), before) and network.training


def test_bf16_computes_the_backbone_in_bf16_and_the_rest_in_float32(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("ltrun.engine.precision.has_bf16", lambda device: True)
    settings: Any = {"precision": "bf16", "evaluate": lambda network: {"val": {"accuracy": 0.0}}}
    made = trainer(bound(small(composed("method=paco"), epochs=1)), tmp_path, **settings)
    seen: dict[str, torch.dtype] = {}

    def look(module: nn.Module, inputs: Any, output: Any) -> None:
        if isinstance(output, Tensor):
            seen[type(module).__name__] = output.dtype

    hooks = [nn.modules.module.register_module_forward_hook(look)]
    network = made.run()
    for hook in hooks:
        hook.remove()
    assert seen["Conv2d"] == seen["ResNetCIFAR"] == torch.bfloat16
    assert seen["Linear"] == seen["Projector"] == torch.float32
    assert all(parameter.dtype == torch.float32 for parameter in network.parameters())


@pytest.mark.parametrize(("name", "said"), [("tf32", "CUDA devices"), ("bf16", "does not compute in bf16")])
def test_a_precision_that_a_cpu_lacks_is_refused(name: Any, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ltrun.engine.precision.has_bf16", lambda device: False)
    with pytest.raises(ConfigError, match=f"runtime.precision.*{said}"):
        Precision(name, CPU)


def test_convolutions_keep_channels_last() -> None:
    network = ResNetCIFAR(8, width=4, in_channels=3).to(memory_format=torch.channels_last)
    seen: list[bool] = []
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            module.register_forward_hook(lambda m, i, o: seen.append(o.is_contiguous(memory_format=torch.channels_last)))
    network(torch.rand(2, 3, 16, 16).contiguous(memory_format=torch.channels_last))
    assert len(seen) == 7 and all(seen)


# ------------------------------------------------------------------------------------------------------------- on a GPU

needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


@needs_cuda
@pytest.mark.parametrize("method", SOME)
def test_a_replayed_step_agrees_with_an_eager_step(method: str, tmp_path: Path) -> None:
    device = torch.device("cuda")
    train, _ = digits()
    store = Resident(train.images.to(device), train.targets.to(device))
    settings = {
        "device": device, "train_set": store, "prepare": normaliser().to(device), "precision": "fp32",
        "evaluate": lambda network: {"val": {"accuracy": 0.0}},
    }  # fmt: skip
    composition = small(composed(f"method={method}"), epochs=6)
    torch.backends.cudnn.deterministic = True
    with own_stream(device):
        replayed, warnings = trained(composition, tmp_path / "graph", compile="auto", **settings)
        plain, _ = trained(composition, tmp_path / "plain", compile=False, **settings)
    assert warnings == []
    for name, tensor in plain.items():
        torch.testing.assert_close(replayed[name], tensor, rtol=1e-4, atol=1e-5)


@needs_cuda
def test_a_replayed_graph_runs_what_was_captured_and_a_failed_capture_leaves_the_device_usable() -> None:
    with own_stream(torch.device("cuda")):
        number = torch.ones((), device="cuda")
        graph = captured(lambda: number.add_(1))
        assert number.item() == 1, "a capture computes nothing"
        graph.replay()
        graph.replay()
        assert number.item() == 3
        with pytest.raises(RuntimeError):
            captured(number.item)
        assert number.add_(1).item() == 4
