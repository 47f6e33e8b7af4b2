"""SHIKE, RIDE's router and balanced group softmax against the original authors' numbers."""

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from ltrun.classifier import GroupedHead
from ltrun.classifier.bags import grouped, log_totals, merged
from ltrun.ensemble import BAGS, SHIKE
from ltrun.ensemble.bags import group_losses, kept_rows
from ltrun.ensemble.ride_routing import routing, worth_asking
from ltrun.ensemble.shike import shike
from ltrun.logit_adjustment import BalancedSoftmax
from ltrun.loss import Classification
from ltrun.network.routed_experts import Router, routed
from ltrun.types import Batch, ClassStats, Labels, Outputs
from tests.support.golden import Golden, close, every_case

SHIKE_CASES = [
    "3 experts, stage one, logits times 1.0",
    "2 experts, stage one, logits times 1.0",
    "3 experts, stage one, logits times 0.2",
    "2 experts, stage two (balanced), logits times 1.0",
]
ROUTING_CASES = ["2 experts, pos_weight 20.0", "4 experts, pos_weight 20.0", "3 experts, pos_weight 1.0"]
ASSIGNMENT, LOSS, THIRD_PARTY = (
    "group assignment and label remap (1231-wide tables cut to the 13 ids used)",
    "loss and merged scores, others_sample_ratio 8 (no random drop in this batch)",
    "eqlv2 repo GroupSoftmax group assignment (0-based ids, background last)",
)
RTOL = 1e-9


def taken(golden: Golden, file: str, name: str) -> tuple[dict[str, Any], dict[str, Any]]:
    data = golden(file)
    return data["inputs"], next(case for case in data["cases"] if case["name"] == name)


def leaf(values: Any) -> Tensor:
    return torch.tensor(values, dtype=torch.float64, requires_grad=True)


def streams(labels: Tensor) -> dict[str, Batch]:
    return {"main": Batch(torch.empty(len(labels), 0), Labels.hard(labels), torch.arange(len(labels)))}


@pytest.mark.parametrize(
    ("file", "names"),
    [("shike", SHIKE_CASES), ("ride_routing", ROUTING_CASES), ("bags", [ASSIGNMENT, LOSS, THIRD_PARTY])],
)
def test_every_case_is_covered(golden: Golden, file: str, names: list[str]) -> None:
    with every_case(golden(file), {}) as take:
        for name in names:
            take(name)


@pytest.mark.parametrize("name", SHIKE_CASES)
def test_shike(golden: Golden, name: str) -> None:
    """The authors' weights, 10 and 1, belong to means over rows and classes: here C-ths of them weigh means over rows."""
    inputs, case = taken(golden, "shike", name)
    labels, outputs, hyper = torch.tensor(inputs["labels"]), case["outputs"], case["hyperparameters"]
    leaves = [leaf(inputs[key]) for key in case["inputs"]["logits"]]
    experts = torch.stack(leaves) * hyper["scale"]
    stats = ClassStats(torch.tensor(inputs["cls_num_list"]))
    weights = (0.0, 0.0) if hyper["balance"] else (10 / 10, 1 / 10)
    adjusts = [BalancedSoftmax(stats=stats).double()] if hyper["balance"] else []
    term = SHIKE(*weights, classify=Classification(adjusts=adjusts))
    output = Outputs(logits=experts.mean(dim=0), experts=experts)
    loss = term({"main": output}, streams(labels))
    rtol = 1e-7 if hyper["balance"] else RTOL  # the logarithms of the counts are held in float32
    close(loss, outputs["loss"], rtol)
    close(output.need("logits"), outputs["output"], RTOL)
    for key, gradient in zip(case["inputs"]["logits"], torch.autograd.grad(loss, leaves), strict=True):
        close(gradient, outputs[f"grad_{key}"], rtol)


def test_shike_in_its_second_stage_in_float64(golden: Golden) -> None:
    inputs, case = taken(golden, "shike", SHIKE_CASES[-1])
    counts, labels = torch.tensor(inputs["cls_num_list"]).double(), torch.tensor(inputs["labels"])
    leaves = [leaf(inputs[key]) for key in case["inputs"]["logits"]]

    def base(logits: Tensor) -> Tensor:
        return F.cross_entropy(logits + counts.log(), labels)

    loss = shike(torch.stack(leaves), Labels.hard(labels), base, 0.0, 0.0)
    close(loss, case["outputs"]["loss"], RTOL)
    for key, gradient in zip(case["inputs"]["logits"], torch.autograd.grad(loss, leaves), strict=True):
        close(gradient, case["outputs"][f"grad_{key}"], RTOL)


@pytest.mark.parametrize("name", ROUTING_CASES)
def test_routing(golden: Golden, name: str) -> None:
    inputs, case = taken(golden, "ride_routing", name)
    roles, outputs, labels = case["inputs"], case["outputs"], torch.tensor(inputs["labels"])
    experts = torch.stack([torch.tensor(inputs[key], dtype=torch.float64) for key in roles["logits"]])
    maps = [torch.tensor(inputs[key], dtype=torch.float64) for key in roles["feature_map"]]
    router = Router([6] * len(experts), case["hyperparameters"]["top"], 10).double()
    state = {"output.weight": inputs["shared_weight"], "output.bias": inputs["shared_bias"]}
    for index, (weight, bias) in enumerate(zip(roles["hidden_weight"], roles["hidden_bias"], strict=True)):
        state |= {f"hidden.{index}.weight": inputs[weight], f"hidden.{index}.bias": inputs[bias]}
    router.load_state_dict({key: torch.tensor(value, dtype=torch.float64) for key, value in state.items()})

    def asks(index: int) -> Tensor:
        mean = experts[: index + 1].sum(dim=0) / (index + 1)
        return router(index, maps[index].mean(dim=(2, 3)), mean)

    found = torch.stack([asks(index) for index in range(len(experts) - 1)])
    close(found, outputs["router_logits"], RTOL)
    worth = worth_asking(experts, labels)
    assert worth.int().tolist() == torch.tensor(outputs["target"]).int().tolist()
    loss = routing(found, worth, case["hyperparameters"]["pos_weight"])
    close(loss, outputs["loss"], RTOL)
    loss.backward()
    close(router.output.weight.grad, outputs["grad_shared_weight"], RTOL)  # type: ignore[arg-type]
    for index, hidden in enumerate(router.hidden):
        close(hidden.weight.grad, outputs[f"grad_hidden_weight{index}"], RTOL)  # type: ignore[arg-type]
    close(experts.mean(dim=0), outputs["mean_output"], RTOL)
    output, used = routed(experts, found > 0)
    close(output, outputs["routed_output"], RTOL)
    assert used.tolist() == [int(number) for number in torch.tensor(outputs["experts_used"]).flatten().tolist()]


def counts_of(inputs: dict[str, Any]) -> Tensor:
    (key,) = [name for name in inputs if name.startswith("instance_counts")]
    return torch.tensor(inputs[key])


def test_groups_of_bags(golden: Golden) -> None:
    """Without the detectors' background and foreground, which are a group of their own in both originals."""
    inputs, case = taken(golden, "bags", ASSIGNMENT)
    groups = grouped(counts_of(inputs), [10, 100, 1000])
    assert [(group.nonzero()[:, 0] + 1).tolist() for group in groups] == case["outputs"]["groups"]
    remapped = case["outputs"]["label2binlabel[group][category id 0..12]"][1:]
    assert [[int(at > 0) for at in row[1:]] for row in remapped] == groups.int().tolist()
    _, other = taken(golden, "bags", THIRD_PARTY)
    assert groups.int().argmax(dim=0).tolist() == other["outputs"]["group_ids"][:-1]
    sizes = other["outputs"]["n_cls_group"]
    assert groups.sum(dim=1).tolist() == sizes[:-1] and other["outputs"]["number of logits"] == sum(sizes) + len(sizes)


def test_bags_with_the_background_as_one_more_group(golden: Golden) -> None:
    """The background is the only class of its group, and the foreground its others; columns are ordered otherwise."""
    inputs, case = taken(golden, "bags", LOSS)
    x, labels, outputs = leaf(inputs["bags_logits"]), torch.tensor(inputs["bags_labels"]), case["outputs"]
    starts = [2, 5, 9, 14]
    others = x[:, [1, *starts]]
    logits = x[:, [0, *(column for column in range(2, 18) if column not in starts)]]
    foreground = F.pad(grouped(counts_of(inputs), [10, 100, 1000]), (1, 0))
    groups = torch.cat([torch.eye(13)[:1].bool(), foreground])
    members = groups[:, labels].T
    keep = kept_rows(members, torch.rand(members.shape), 8.0)
    expected = torch.tensor(outputs["weights"]).T.bool()
    assert torch.equal(keep, expected)
    losses = group_losses(logits, others, labels, groups, keep)
    close(losses, outputs["loss_per_group"], RTOL)
    close(losses.sum(), outputs["loss"], RTOL)
    close(torch.autograd.grad(losses.sum(), x, retain_graph=True)[0], outputs["grad_bags_logits"], RTOL)
    probabilities = merged(logits, others, groups).exp()
    is_foreground = (others[:, 0] - log_totals(logits, others, groups)[:, 0]).exp()
    scores = torch.cat([probabilities[:, :1], probabilities[:, 1:] * is_foreground[:, None]], dim=1)
    close(scores, outputs["merged_scores"], RTOL)


def test_the_head_and_the_term_of_bags_are_those_functions() -> None:
    torch.manual_seed(0)
    stats = ClassStats(torch.tensor([500, 120, 99, 10, 9, 3]))
    head, features, labels = GroupedHead(features=4, num_classes=6, stats=stats), torch.randn(9, 4), torch.arange(9) % 6
    assert [group.nonzero()[:, 0].tolist() for group in head.groups] == [[4, 5], [2, 3], [0, 1]]
    logits, others = head(features), head.others(features)
    network = torch.nn.ModuleDict({"head": head})
    term = BAGS(ratio=100.0, network=network)  # type: ignore[arg-type]
    loss = term({"main": Outputs(features=features, logits=logits)}, streams(labels))
    everyone = torch.ones(9, 3, dtype=torch.bool)
    torch.testing.assert_close(loss, group_losses(logits, others, labels, head.groups, everyone).sum())
    torch.testing.assert_close(head.eval()(features), merged(logits, others, head.groups))
