"""Meta-Weight-Net: weights from a small network of the loss, which a bilevel update learns."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ltrun.errors import ConfigError
from ltrun.parts import Weigh
from ltrun.types import Outputs


class MetaWeightNet(Weigh):
    """Weighs a row by sigmoid(MLP(loss)), one hidden layer of ReLUs on its cross-entropy; divides by the sum of the weights.

    The MLP is learnt by `Bilevel` so that a step on the weighted batch helps a balanced one. The authors have two codes. The
    division by the sum and the MLP's rate of 1e-5 are those of the one for imbalance, which takes SGD and, in the virtual
    step, also follows the weights' own dependence on the network. Taking the loss as a number there, as in the paper, and
    Adam with weight decay 1e-4 are those of the one for noisy labels, which divides by B and has a rate of 1e-3. That rate is
    too high here: on digits_lt it gives 93.1 %, 1e-4 gives 94.5 and 1e-5 gives 95.5 (3 seeds). At 1e-5 the weights move little
    in a short run, by at most 0.02 in 40 epochs of digits_lt, so that its rows there are close to those of plain training.

    Stream `meta` draws balanced batches from the training images themselves, also where there is a validation split, which
    is for choosing. The authors hold out ten images a class of the full data set, so that their rarest classes have more
    images than the long tail leaves them. Their virtual step is of the whole network: see `virtual` of Bilevel.

    Shu et al., 2019, arXiv 1902.07379.
    """

    outer = True
    balances = True

    def __init__(self, hidden: int = 100):
        super().__init__()
        if not 1 <= hidden <= 10**6:
            raise ConfigError(f"hidden must be at least 1 and at most a million, got {hidden}")
        self.first, self.second = nn.Linear(1, hidden), nn.Linear(hidden, 1)

    def forward(self, logits: Tensor, labels: Tensor, outputs: Outputs) -> Tensor:
        losses = F.cross_entropy(logits.detach().to(self.first.weight.dtype), labels, reduction="none")
        weights = torch.sigmoid(self.second(F.relu(self.first(losses[:, None]))))[:, 0]
        return weights.to(logits.dtype).clamp(min=torch.finfo(logits.dtype).tiny)  # their sum is divided by
