"""Transfer of knowledge: pre-training, distillation from teachers, transfer from head to tail classes, self-training."""

__all__: list[str] = []
