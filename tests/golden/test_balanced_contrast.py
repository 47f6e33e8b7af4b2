"""GPaCo, BCL, ProCo, GML and DRO-LT: the original authors' numbers, or the definition's where their code is defective."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from ltrun.representation import BCL, DROLT, GPaCo, ProCo
from ltrun.representation.bcl import balanced_contrast
from ltrun.representation.bessel import log_bessel
from ltrun.representation.dro_lt import dro_lt
from ltrun.representation.gml import mixture_contrast
from ltrun.representation.paco import paco
from ltrun.representation.proco import START, Means, concentrations, proco_logits
from ltrun.transfer.ride_distillation import distilled
from ltrun.types import Batch, ClassStats, Clock, Labels, Outputs
from tests.support.cases import blind_view
from tests.support.golden import Golden, close, every_case

DTYPES = [(torch.float64, 1e-9), (torch.float32, 2e-5)]
MULTI_TASK = "MultiTaskBLoss alpha=0.3 T=0.1"
TABLE = "log I_nu(k) - k and log I_{nu+1}(k) - k: exact values (arbitrary precision) and how far the original recurrence is off"
EPOCH = "after the start of the next epoch"


def batch(labels: Tensor) -> Batch:
    return Batch(torch.empty(len(labels), 0), Labels.hard(labels), torch.arange(len(labels)))


def leaf(values: Any, dtype: torch.dtype) -> Tensor:
    return torch.tensor(values, dtype=dtype, requires_grad=True)


def compare(loss: Tensor, leaves: dict[str, Tensor], expected: dict[str, Any], rtol: float) -> None:
    assert loss.item() == pytest.approx(expected["loss"], rel=rtol)
    known = {name: x for name, x in leaves.items() if f"grad_{name}" in expected}
    for name, gradient in zip(known, torch.autograd.grad(loss, list(known.values())), strict=True):
        close(gradient, expected[f"grad_{name}"], rtol)


@pytest.mark.parametrize(("dtype", "rtol"), DTYPES)
def test_gpaco(golden: Golden, dtype: torch.dtype, rtol: float) -> None:
    """Both views are anchors, so the first 8 of 20 rows. The multi-task loss is a contrast without class entries."""
    data = golden("gpaco")
    inputs, counts = data["inputs"], torch.tensor(data["inputs"]["cls_num_list"])
    labels, log_prior = torch.tensor(inputs["labels"]), (counts / counts.sum(dtype=dtype) + 1e-9).log()
    with every_case(data, {}) as take:
        for name in [case["name"] for case in data["cases"]]:
            case = take(name)
            hyper = case["hyperparameters"]
            leaves = {"features": leaf(inputs["features_raw"], dtype), "sup_logits": leaf(inputs["sup_logits"], dtype)}
            rows, logits = F.normalize(leaves["features"]), leaves["sup_logits"]
            split = (rows[:8], rows[8:], labels[:8], labels[8:])
            if name == MULTI_TASK:
                contrast = paco(logits[:, :0], *split, alpha=1.0, beta=0.0, temperature=hyper["temperature"])
                loss = F.cross_entropy(logits, labels[:8]) + hyper["alpha"] * contrast
            else:
                values = [hyper[key] for key in ("alpha", "beta", "gamma", "temperature", "smooth")]
                loss = paco((logits + log_prior) / hyper["supt"], *split, *values)
                loss = hyper["temperature"] / hyper["base_temperature"] * loss
            compare(loss, leaves, case["outputs"], rtol)


@pytest.mark.parametrize(("dtype", "rtol"), DTYPES)
def test_gpaco_beside_the_cases_of_paco(golden: Golden, dtype: torch.dtype, rtol: float) -> None:
    data = golden("paco")
    inputs, counts = data["inputs"], torch.tensor(data["inputs"]["cls_num_list"])
    labels, queue_labels = torch.tensor(inputs["labels"]), torch.tensor(inputs["queue_labels"])
    log_prior = (counts / counts.sum(dtype=dtype) + 1e-9).log()
    queue = F.normalize(torch.tensor(inputs["queue_features"], dtype=dtype))
    cases = [case for case in data["cases"] if case["name"].startswith("GPaCo")]
    assert len(cases) == 2
    for case in cases:
        hyper = case["hyperparameters"]
        leaves = {name: leaf(inputs[name], dtype) for name in ("logits", "logits_b", "features", "features_view2")}
        logits, rows = (torch.cat([leaves[name] for name in names]) for names in (list(leaves)[:2], list(leaves)[2:]))
        arguments = {key: hyper[key] for key in ("alpha", "temperature", "smooth")}
        loss = paco(logits + log_prior, F.normalize(rows), queue, labels.repeat(2), queue_labels, **arguments)
        compare(loss, leaves, case["outputs"], rtol)


def test_the_part_gpaco_takes_both_views_and_its_queue(golden: Golden) -> None:
    data = golden("gpaco")
    inputs, case = data["inputs"], data["cases"][0]
    hyper, labels = case["hyperparameters"], torch.tensor(inputs["labels"])
    term = GPaCo(**{key: hyper[key] for key in ("alpha", "temperature")}, queue=12, dim=6, stats=ClassStats(torch.tensor(
        inputs["cls_num_list"])))  # fmt: skip
    leaves = {
        name: leaf(inputs[key], torch.float32) for name, key in (("features", "features_raw"), ("sup_logits", "sup_logits"))
    }
    rows = F.normalize(leaves["features"])
    term.after_step({"key": Outputs(embedding=rows[8:].detach())}, {"key": batch(labels[8:])})
    outputs = {
        name: Outputs(logits=leaves["sup_logits"][half], embedding=rows[:8][half])
        for name, half in (("main", slice(0, 4)), ("key", slice(4, 8)))
    }
    loss = term(outputs, {"main": batch(labels[:4]), "key": batch(labels[4:8])})
    assert loss.item() == pytest.approx(case["outputs"]["loss"], rel=2e-5)
    close(torch.autograd.grad(loss, leaves["sup_logits"])[0], case["outputs"]["grad_sup_logits"], 2e-5)


@pytest.mark.parametrize(("dtype", "rtol"), DTYPES)
def test_bcl(golden: Golden, dtype: torch.dtype, rtol: float) -> None:
    data = golden("bcl")
    inputs, labels = data["inputs"], torch.tensor(data["inputs"]["labels"])
    with every_case(data, {}) as take:
        for temperature in (0.1, 0.07):
            names = ("features", "features_view2", "centers")
            leaves = {name: leaf(inputs[name], dtype) for name in names}
            first, second, centres = (F.normalize(x) for x in leaves.values())
            loss = balanced_contrast(torch.cat([first, second]), centres, labels.repeat(2), temperature)
            compare(loss, leaves, take(f"BalSCL T={temperature}")["outputs"], rtol)


def test_the_part_bcl_passes_class_weights_through_its_perceptron(golden: Golden) -> None:
    inputs = golden("bcl")["inputs"]
    labels, head = torch.tensor(inputs["labels"]), leaf(inputs["centers"], torch.float32)
    first, second = (F.normalize(torch.tensor(inputs[name])) for name in ("features", "features_view2"))
    term = BCL(temperature=0.1, hidden=16, dim=8, features=8)
    outputs = {"first": Outputs(embedding=first, head=head), "second": Outputs(embedding=second, head=head)}
    loss = term(outputs, {"first": batch(labels), "second": batch(labels)})
    centres = F.normalize(term.centres(head), dim=1)
    assert loss.item() == pytest.approx(balanced_contrast(torch.cat([first, second]), centres, labels.repeat(2), 0.1).item())
    assert torch.autograd.grad(loss, head)[0].any(), "the contrast trains the classifier's weights too"


def proco_case(data: dict[str, Any], case: dict[str, Any], dtype: torch.dtype) -> tuple[Any, Any, Any, dict[str, Tensor]]:
    inputs = {role: torch.tensor(data["inputs"][name]) for role, name in case["inputs"].items()}
    start = torch.tensor(data["inputs"][case["inputs"]["initial_mean"]], dtype=dtype)
    counts = inputs["cls_num_list"]
    leaves = {name: leaf(data["inputs"][case["inputs"][name]], dtype) for name in ("view1", "view2")}
    return inputs, counts, start, leaves


@pytest.mark.parametrize(("dtype", "rtol"), [(torch.float64, 1e-9), (torch.float32, 1e-4)])
def test_proco(golden: Golden, dtype: torch.dtype, rtol: float) -> None:
    """The original's recurrence is off in two cases: there the values of exact Bessel functions count."""
    data = golden("proco")
    with every_case(data, {EPOCH: "compared in test_proco_at_an_epoch", TABLE: "compared in test_bessel_functions"}) as take:
        for name in [case["name"] for case in data["cases"] if case["name"] not in (EPOCH, TABLE)]:
            case = take(name)
            temperature, original = case["hyperparameters"]["temperature"], case["outputs"]
            inputs, counts, start, leaves = proco_case(data, case, dtype)
            expected, log_prior = original.get("exact", original), (counts / counts.sum(dtype=torch.float64)).log()
            means, losses = Means(start, torch.zeros(len(counts), dtype=dtype)), []
            for view, x in enumerate(leaves.values(), 1):
                means = means.of_more(F.normalize(x).detach(), inputs["labels"])
                logits = proco_logits(F.normalize(x), means.values, temperature)
                close(logits, expected[f"contrast_logits{view}"], rtol)
                losses.append(F.cross_entropy(logits + log_prior, inputs["labels"]))
                if view == 1:
                    close(concentrations(means.values), expected["kappa_after_view1"], rtol)
            nu, kappa = start.shape[1] / 2 - 1, concentrations(means.values)
            close(kappa, expected["kappa"], rtol)
            close(log_bessel(kappa.double(), nu), expected["logC"], rtol)
            close(means.values, expected["mean"], rtol)
            assert means.amounts.tolist() == expected["amount"]
            compare(torch.stack(losses).mean(), leaves, expected, rtol)
            if "exact" in original:
                theirs = torch.tensor(original["contrast_logits1"], dtype=torch.float64)
                exact = torch.tensor(expected["contrast_logits1"], dtype=torch.float64)
                assert (exact - theirs).abs().max() > 1e-7


def test_the_defective_values_of_proco_are_not_ours(golden: Golden) -> None:
    data = golden("proco")
    case = next(case for case in data["cases"] if case["name"].startswith("p=16"))
    inputs, counts, start, leaves = proco_case(data, case, torch.float64)
    means = Means(start, torch.zeros(len(counts), dtype=torch.float64)).of_more(
        F.normalize(leaves["view1"]).detach(), inputs["labels"]
    )
    logits = proco_logits(F.normalize(leaves["view1"]), means.values, case["hyperparameters"]["temperature"])
    apart = (logits - torch.tensor(case["outputs"]["contrast_logits1"], dtype=torch.float64)).abs().max()
    assert apart > 0.05


def test_the_part_proco_adds_each_view_to_the_statistics_of_the_next(golden: Golden) -> None:
    """Loss and state of the term, of two views in turn, without gradient to the statistics; then the start of an epoch."""
    data = golden("proco")
    case = data["cases"][0]
    inputs, counts, start, leaves = proco_case(data, case, torch.float32)
    term = ProCo(temperature=0.1, dim=64, stats=ClassStats(counts))
    term.means.copy_(start)
    buffers = [buffer.data_ptr() for buffer in term.buffers()]
    embeddings = [F.normalize(x) for x in leaves.values()]
    outputs = dict(zip(("first", "second"), [Outputs(embedding=x) for x in embeddings], strict=True))
    streams = dict.fromkeys(outputs, batch(inputs["labels"]))
    compare(term(outputs, streams), leaves, case["outputs"], 1e-4)
    assert not term.amounts.any(), "the forward pass stores nothing"
    term.after_step({name: output.detach() for name, output in outputs.items()}, streams)
    close(term.means, case["outputs"]["mean"], 1e-5)
    assert term.amounts.tolist() == term.next_amounts.tolist() == case["outputs"]["amount"]
    assert [buffer.data_ptr() for buffer in term.buffers()] == buffers


def test_proco_at_an_epoch(golden: Golden) -> None:
    """What was collected becomes the present, and collecting begins anew; concentrations follow from the means."""
    data = golden("proco")
    case = next(case for case in data["cases"] if case["name"] == EPOCH)
    inputs = {role: torch.tensor(data["inputs"][name]) for role, name in case["inputs"].items()}
    expected = case["outputs"]
    stats = ClassStats(torch.tensor([5, 4, 3, 2, 1]))
    term = ProCo(dim=8, stats=stats)
    term.next_means.copy_(inputs["initial_mean"])
    outputs = {name: Outputs(embedding=F.normalize(inputs[view])) for name, view in (("first", "view1"), ("second", "view2"))}
    term.after_step(outputs, dict.fromkeys(outputs, batch(inputs["labels"])))
    term.adapt(blind_view(Clock("train", 1, 2), stats))
    close(term.means, expected["old_mean"], 1e-5)
    assert term.amounts.tolist() == expected["old_amount"]
    assert term.next_amounts.tolist() == expected["new_amount"]
    close(term.next_means.norm(dim=1), expected["new_mean_norm"], 1e-6)
    close(concentrations(START * F.normalize(term.next_means.double())), expected["new_kappa"], 1e-9)


def test_bessel_functions(golden: Golden) -> None:
    data = golden("proco")
    case = next(case for case in data["cases"] if case["name"] == TABLE)
    kappa = torch.tensor(data["inputs"]["kappa"], dtype=torch.float64, requires_grad=True)
    exact = torch.tensor(case["outputs"]["exact"], dtype=torch.float64)
    for values, nu in zip(exact, data["inputs"]["nu"], strict=True):
        found = torch.stack([log_bessel(kappa, order) + order * kappa.log() - kappa for order in (nu, nu + 1)])
        torch.testing.assert_close(found, values, rtol=1e-11, atol=1e-11)
        (ratio,) = torch.autograd.grad(log_bessel(kappa, nu).sum(), kappa)
        torch.testing.assert_close(ratio, (values[1] - values[0]).exp(), rtol=1e-9, atol=0)
    assert max(map(max, (row for pair in case["outputs"]["abs_difference"] for row in pair))) > 0.01, "the original is off"


@pytest.mark.parametrize(("dtype", "rtol"), DTYPES)
def test_gml(golden: Golden, dtype: torch.dtype, rtol: float) -> None:
    """The divergence is of logits 30 times the cosines, so is the cross-entropy; the second sum moves the temperature alone."""
    data = golden("gml")
    inputs = data["inputs"]
    labels, key_labels, index, key_index, counts = (
        torch.tensor(inputs[name]) for name in ("labels", "key_labels", "query_index", "key_index", "cls_num_list")
    )
    log_prior, own = (counts / counts.sum(dtype=dtype)).log(), index[:, None] == key_index
    with every_case(data, {}) as take:
        for name in [case["name"] for case in data["cases"]]:
            case = take(name)
            hyper = case["hyperparameters"]
            leaves = {
                "query": leaf(inputs["query_raw"], dtype),
                "key": leaf(inputs["key_raw"], dtype),
                "cosine_logits": leaf(inputs["cosine_logits"], dtype),
                "log_T_c": leaf([math.log(hyper["T_c"])], dtype),
            }
            query, key, temperature = F.normalize(leaves["query"]), F.normalize(leaves["key"]), leaves["log_T_c"].exp()
            shape = mixture_contrast(query, key, labels, key_labels, torch.zeros_like(own), log_prior, temperature.detach())
            width = mixture_contrast(query.detach(), key.detach(), labels, key_labels, own, log_prior, temperature)
            logits, teacher = 30 * leaves["cosine_logits"], 30 * torch.tensor(inputs["teacher_logits"], dtype=dtype)
            loss = hyper["gamma"] * F.cross_entropy(logits + log_prior, labels) + hyper["beta"] * (shape + width)
            compare(loss + hyper["alpha"] * distilled(logits, teacher, 4.0), leaves, case["outputs"], rtol)


@pytest.mark.parametrize(("dtype", "rtol"), DTYPES)
def test_dro_lt(golden: Golden, dtype: torch.dtype, rtol: float) -> None:
    """Where the original confuses the distances of classes, the definition's values count, and differ from the original's."""
    data = golden("dro_lt")
    inputs = data["inputs"]
    weights = torch.tensor(inputs["class_weight"], dtype=dtype)
    with every_case(data, {}) as take:
        for name in [case["name"] for case in data["cases"]]:
            case = take(name)
            hyper, expected = case["hyperparameters"], case["outputs"].get("intended", case["outputs"])
            assert hyper["temperature"] == hyper["base_temperature"]
            names = ("features", "prototype_features", "epsilon")
            leaves = {role: leaf(inputs[role], dtype) for role in names}
            own = F.one_hot(torch.tensor(inputs["prototype_labels"])).to(dtype)
            loss = dro_lt(
                leaves["features"],
                torch.tensor(inputs[case["inputs"]["labels"]]),
                own.T @ leaves["prototype_features"] / own.sum(dim=0)[:, None],
                leaves["epsilon"] if hyper["use_epsilon"] else None,
                hyper["temperature"],
                weights if hyper["use_weights"] else None,
            )
            compare(loss, leaves, expected, rtol)
            if expected is not case["outputs"]:
                assert loss.item() != pytest.approx(case["outputs"]["loss"], rel=1e-2)


def test_the_part_dro_lt_learns_a_distance_for_each_class(golden: Golden) -> None:
    inputs = golden("dro_lt")["inputs"]
    labels, features = torch.tensor(inputs["labels"]), torch.tensor(inputs["features"])
    term = DROLT(temperature=0.5, epsilon=0.25, features=4, stats=ClassStats(torch.tensor([3, 2, 2, 3, 2])))
    term.prototypes.copy_(torch.randn(5, 4))
    loss = term({"main": Outputs(features=features)}, {"main": batch(labels)})
    pure = dro_lt(features, labels, term.prototypes, torch.full((5,), 0.25), 0.5)
    assert loss.item() == pytest.approx(pure.item())
    (gradient,) = torch.autograd.grad(loss, term.epsilon)
    assert (gradient != 0).tolist() == [True, True, False, True, True], "class 2 is not in the batch"
