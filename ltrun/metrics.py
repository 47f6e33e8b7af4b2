"""Metrics of each task, costs of training and limits of the shot groups.

Records, epoch lines, model selection, tables, captions and figures read these declarations.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeGuard

SINGLE_LABEL = "single_label"  # also the task of records of format 1, which do not name a task
MULTI_LABEL = "multi_label"  # any number of labels per image
BOTH = frozenset({SINGLE_LABEL, MULTI_LABEL})
BALANCED = {SINGLE_LABEL: "macro", MULTI_LABEL: "map"}  # task -> the metric in which classes count alike
LARGEST = 1e100  # above every measurement; its square is still finite
Group = Literal["many", "medium", "few"]
GROUPS = {"many": "Many", "medium": "Medium", "few": "Few"}  # shot groups: key in a record -> heading


@dataclass(frozen=True)
class Shots:
    """Limits of the shot groups, in training images per class: more than `many`, `few` to `many`, fewer than `few`."""

    many: int = 100
    few: int = 20

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> Shots:
        """Reads `evaluation.many` and `evaluation.few` from a configuration; missing ones get their defaults."""
        node = config.get("evaluation")
        given = {name: node.get(name) for name in cls.__annotations__} if isinstance(node, Mapping) else {}
        return cls(**{name: int(value) for name, value in given.items() if is_number(value) and value % 1 == 0})

    def group(self, images: float) -> str:
        """Returns the key of the shot group of a class with this many training images."""
        many, medium, few = GROUPS
        return many if images > self.many else few if images < self.few else medium

    def ranges(self) -> dict[str, str]:
        """Returns group -> its range of training images per class: `> 100`, `20 to 100`, `< 20`."""
        return dict(zip(GROUPS, (f"> {self.many}", f"{self.few} to {self.many}", f"< {self.few}"), strict=True))


@dataclass(frozen=True)
class Metric:
    """A number that a run measures.

    name: key in a record. title: in captions. head: heading of its column. better: None if no value is better than another.
    by_shots: whether the shot groups are shown beside it, with the keys `prefix` + group. percent: whether it is a fraction of
    1 in the record and shown in percent. unit: the record's value of one displayed unit, such as 2**20 bytes for a MiB.
    complements: the metric with which it adds up to 1; the shot groups beside it are then shown as errors. of_class: title of
    the value of one class, if it differs. absent: what a mean over classes does with those without images in a split.
    of_group: the shot group that the metric itself is of, if it is of one.
    """

    name: str
    title: str
    head: str
    better: Literal["higher", "lower"] | None = "higher"
    by_shots: bool = False
    percent: bool = True
    unit: int = 1
    complements: str | None = None
    prefix: str = ""
    of_class: str = ""
    absent: str = ""
    of_group: str = ""

    @property
    def columns(self) -> dict[str, str]:
        """Key in a record -> heading, for the metric and the shot groups beside it."""
        groups = {f"{self.prefix}{group}": head for group, head in GROUPS.items()}
        return {self.name: self.head, **(groups if self.by_shots else {})}

    def group_of(self, key: str) -> str | None:
        """Returns the shot group of a column's key; None for the metric's own, unless the metric is of a group."""
        group = key.removeprefix(self.prefix)
        return group if key != self.name and group in GROUPS else self.of_group or None

    def shown(self, value: float, key: str) -> float:
        """Returns the displayed value for a record's value. key: the column's."""
        if self.complements and self.group_of(key):
            value = 1 - value
        return 100 * value if self.percent else value / self.unit

    def improves(self, value: float, best: float) -> bool:
        return value < best if self.better == "lower" else value > best


OUT = "left out"

TASKS = {
    SINGLE_LABEL: (
        Metric("accuracy", "Top-1 accuracy", "All", by_shots=True),
        Metric("error", "Top-1 error", "All", better="lower", by_shots=True, complements="accuracy"),
        Metric("macro", "Macro accuracy, also called balanced accuracy", "Macro", by_shots=True),
        Metric("ece", "Expected calibration error", "ECE", better="lower"),
    ),
    MULTI_LABEL: (
        Metric("map", "Mean average precision", "mAP", by_shots=True, of_class="Average precision", absent=OUT),
        Metric(
            "map_videolt",
            "Mean average precision by VideoLT's code",
            "mAP (VideoLT)",
            by_shots=True,
            prefix="videolt_",
            absent="counted as 0",
        ),
        Metric("micro_f1", "Micro F1, of all decisions (OF1)", "micro F1"),
        Metric("micro_precision", "Precision of all decisions (OP)", "OP"),
        Metric("micro_recall", "Recall of all labels (OR)", "OR"),
        Metric("macro_f1", "Macro F1, the mean of the classes' F1", "macro F1", absent=OUT),
        Metric("class_precision", "Mean precision of the classes (CP)", "CP", absent=OUT),
        Metric("class_recall", "Mean recall of the classes (CR)", "CR", absent=OUT),
        Metric("cf1", "CF1, the harmonic mean of CP and CR", "CF1", absent=OUT),
        Metric("accuracy_1", "Images whose likeliest class is a label", "Acc@1"),
        Metric("accuracy_5", "Images with a label among the five likeliest classes", "Acc@5"),
    ),
}
"""Task -> its metrics. The first selects models, is shown while training, and is in every record."""

STORED = {
    SINGLE_LABEL: (
        Metric("adaptive_ece", "Calibration error of bins with equally many images", "adaptive ECE", better="lower"),
        Metric(
            "classwise_ece",
            "Calibration error of the probability of each class, mean of the classes",
            "class-wise ECE",
            better="lower",
            by_shots=True,
            prefix="classwise_ece_",
        ),
        Metric("macro_f1", "Macro F1, the mean of the classes' F1", "macro F1", by_shots=True, prefix="f1_"),
        Metric("g_mean", "G-mean, the geometric mean of the classes' recall", "G-mean", by_shots=True, prefix="g_mean_"),
        Metric("harmonic", "Harmonic mean of the shot groups' accuracies", "Harmonic", by_shots=True),
        Metric(
            "auroc",
            "Area under the ROC curve of each class against the rest, mean of the classes",
            "AUROC",
            by_shots=True,
            prefix="auroc_",
        ),
        Metric(
            "open_f",
            "Open-set F-measure at threshold 0.1; of the groups the accuracy, in which rejected images are errors",
            "Open F",
            by_shots=True,
            prefix="open_",
        ),
        Metric("open_auroc", "Area under the ROC curve of the largest probability, test against open images", "Open AUROC"),
    ),
    MULTI_LABEL: (),
}
"""Task -> metrics of the test split that no record holds: `ltrun report` computes them from the predictions of a run."""

OPEN_SET = "open_f"  # the metric that `ltrun evaluate --open` prints

RATIOS = (50, 25, 10, 5, 3, 2)  # of the largest class of a shifted test set to its smallest
SHIFTS = (
    *(Metric(f"forward_{r}", f"Accuracy on test images as long-tailed as training, {r} to 1", f"F-{r}") for r in RATIOS),
    Metric("uniform", "Accuracy on a balanced test set", "Uni"),
    *(Metric(f"backward_{r}", f"Accuracy on test images with the reverse long tail, 1 to {r}", f"B-{r}") for r in RATIOS[::-1]),
)
PREDICTED = tuple(
    Metric(f"predicted_{group}", f"Predictions that are a {group}-shot class", head, better=None, of_group=group)
    for group, head in GROUPS.items()
)
RELATIVE = (
    Metric("accuracy", "Top-1 accuracy", "Acc"),
    Metric("upper", "Accuracy of the better of two balanced trainings of the same size", "UA", better=None),
    Metric("relative", "Relative accuracy, Acc / UA", "RA"),
)
SETS = {
    "shifts": ("Top-1 accuracy with other class distributions", SHIFTS),
    "predicted": ("Share of the predictions that are classes of each shot group", PREDICTED),
    "relative": ("Top-1 accuracy (Acc), that of balanced training (UA), and their ratio (RA)", RELATIVE),
}
"""Name -> title and metrics of a table of several metrics, of runs with one label per image: from the stored predictions, and
relative from further runs."""

COMPARED = {SINGLE_LABEL: ("accuracy", "error", "macro"), MULTI_LABEL: ("map",)}
"""Task -> metrics by which `ltrun compare` compares rows."""

COST = (
    Metric("seconds_per_epoch", "Time of an epoch", "s/epoch", better=None, percent=False),
    Metric("seconds", "Time of training", "s", better=None, percent=False),
    Metric("images_per_second", "Training images per second", "images/s", better=None, percent=False),
    Metric("peak_memory_bytes", "Peak memory", "peak MiB", better=None, percent=False, unit=2**20),
    Metric("parameters", "Parameters of the network", "M params", better=None, percent=False, unit=10**6),
    Metric("multiply_accumulates", "Multiply-accumulates of a prediction", "M MACs", better=None, percent=False, unit=10**6),
)
"""Costs of training and of a prediction, in a record's provenance. No value is better: machines are not compared."""


def is_number(value: object) -> TypeGuard[float]:
    """Whether a value is a finite number that can be squared and averaged; true and false are not."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < LARGEST
