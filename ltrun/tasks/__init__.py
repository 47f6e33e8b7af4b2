"""Tasks by name: what the labels of a data set are, and how predictions are measured."""

from ltrun.metrics import MULTI_LABEL, SINGLE_LABEL
from ltrun.tasks.base import Task
from ltrun.tasks.multi_label import MultiLabel
from ltrun.tasks.single_label import SingleLabel

TASKS: dict[str, Task] = {SINGLE_LABEL: SingleLabel(), MULTI_LABEL: MultiLabel()}
