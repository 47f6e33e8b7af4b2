"""Meta-Weight-Net: weights from an MLP of the loss, which a bilevel update learns."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ltrun.errors import ConfigError
from ltrun.parts import Weigh
from ltrun.types import Outputs


class MetaWeightNet(Weigh):
    """Meta-Weight-Net: weights a row by sigmoid(MLP(cross-entropy)), one hidden layer; divides by the sum of the weights.

    `Bilevel` learns the MLP so that a step on the weighted batch lowers the loss of a balanced batch. This part mixes the
    authors' two code bases. From their code for imbalance come the division by the sum and the MLP's learning rate of 1e-5;
    that code uses SGD, and its virtual step also differentiates the weights by the network. From their code for noisy labels
    come the loss as a constant input of the MLP, as in the paper, and Adam with weight decay 1e-4; that code divides by B and
    has a rate of 1e-3. 1e-3 is too high here: on digits_lt it gives 93.1 %, 1e-4 gives 94.5 and 1e-5 gives 95.5 (3 seeds). At
    1e-5 the weights change little in a short run, by at most 0.02 in 40 epochs of digits_lt, so its results there are close to
    plain training.

    Stream `meta` draws balanced batches from the training images, even if there is a validation split, which is for model
    selection. The authors hold out ten images per class of the full data set, so their rarest classes have more images than
    the long tail leaves them. Their virtual step is of the whole network: see `virtual` of Bilevel.

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
        return weights.to(logits.dtype).clamp(min=torch.finfo(logits.dtype).tiny)  # the loss is divided by their sum
