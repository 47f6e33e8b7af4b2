"""Plain training loop, the baseline of ltrun's speed: training as in the reference repositories of the field. Frozen.

Images go one by one through PIL and torchvision's transforms in a Dataset, worker processes of a DataLoader batch them, the
network runs eagerly in NCHW, torch.optim.SGD takes the step, and loss and accuracies are fetched from the device in each step;
the test set is evaluated in batches of 100. The settings are torch's own, with cuDNN's search on, as in those repositories.
Nothing is imported from ltrun, so that no change of ltrun can make the loop slower or faster.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset, RandomSampler
from torchvision import transforms

MEAN, STD = (0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)
TO_TENSOR = [transforms.ToTensor(), transforms.Normalize(MEAN, STD)]
AUGMENT = [transforms.RandomCrop(32, padding=4), transforms.RandomHorizontalFlip()]
EVALUATION_BATCH = 100


class Images(Dataset[tuple[Tensor, int]]):
    """Images and their labels, transformed one by one. images: (N, 32, 32, 3) uint8."""

    def __init__(self, images: NDArray[np.uint8], labels: list[int], transform: transforms.Compose):
        self.images, self.labels, self.transform = images, labels, transform

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, row: int) -> tuple[Tensor, int]:
        return self.transform(Image.fromarray(self.images[row])), self.labels[row]


class BasicBlock(nn.Module):
    def __init__(self, channels: int, out: int, stride: int):
        super().__init__()
        self.conv1 = nn.Conv2d(channels, out, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(out)
        self.conv2 = nn.Conv2d(out, out, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(out)
        self.stride, self.added = stride, (out - channels) // 2

    def forward(self, x: Tensor) -> Tensor:
        out = F.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        if self.stride > 1:
            x = F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, self.added, self.added), "constant", 0)
        return F.relu(out + x)


class ResNet32(nn.Module):
    """ResNet-32 (He et al., 2016, arXiv 1512.03385, section 4.2), with shortcuts of option A and a linear classifier."""

    def __init__(self, classes: int):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 16, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        self.layer1 = self._layer(16, 16, 1)
        self.layer2 = self._layer(16, 32, 2)
        self.layer3 = self._layer(32, 64, 2)
        self.linear = nn.Linear(64, classes)

    @staticmethod
    def _layer(channels: int, out: int, stride: int) -> nn.Sequential:
        return nn.Sequential(BasicBlock(channels, out, stride), *(BasicBlock(out, out, 1) for _ in range(4)))

    def forward(self, x: Tensor) -> Tensor:
        out = F.relu(self.bn1(self.conv1(x)))
        out = self.layer3(self.layer2(self.layer1(out)))
        out = F.avg_pool2d(out, out.size(3))
        logits: Tensor = self.linear(out.view(out.size(0), -1))
        return logits

    def load(self, other: nn.Module) -> None:
        """Copies weights and statistics from a network with the same layers in the same order, whatever their names."""
        mine, theirs = (
            {name: tensor for name, tensor in network.state_dict().items() if not name.endswith("num_batches_tracked")}
            for network in (self, other)
        )
        if [t.shape for t in mine.values()] != [t.shape for t in theirs.values()]:
            raise ValueError("the plain loop's ResNet-32 and ltrun's do not have the same tensors")
        self.load_state_dict({name: t.detach().contiguous() for name, t in zip(mine, theirs.values(), strict=True)})


class Meter:
    """A running mean."""

    def __init__(self) -> None:
        self.sum = self.count = 0.0

    def update(self, value: float, n: int) -> None:
        self.sum += value * n
        self.count += n


def accuracy(output: Tensor, target: Tensor, topk: tuple[int, ...]) -> list[Tensor]:
    """Returns, for each k, the percentage of the batch whose label is among the k largest logits."""
    with torch.no_grad():
        _, predicted = output.topk(max(topk), 1, True, True)
        correct = predicted.t().eq(target.view(1, -1).expand(max(topk), -1))
        return [correct[:k].reshape(-1).float().sum(0) * (100.0 / target.size(0)) for k in topk]


class PlainLoop:
    """Training and evaluation. `train` and `evaluate` take an epoch each; with `steps`, `train` ends after as many batches.

    train, test: uint8 (N, 3, 32, 32) and labels (N,).
    """

    def __init__(
        self,
        train: tuple[Tensor, Tensor],
        test: tuple[Tensor, Tensor],
        classes: int,
        device: torch.device,
        batch_size: int,
        workers: int,
        steps: int | None,
        augment: bool = True,
    ):
        self.device, self.classes = device, classes
        self.network = ResNet32(classes).to(device)
        self.optimizer = torch.optim.SGD(self.network.parameters(), lr=0.1, momentum=0.9, weight_decay=2e-4)
        self.criterion = nn.CrossEntropyLoss().to(device)
        pin = device.type == "cuda"
        data = self._images(train, transforms.Compose([*(AUGMENT if augment else []), *TO_TENSOR]))
        rows = RandomSampler(data, num_samples=None if steps is None else min(len(data), steps * batch_size))
        self.training = DataLoader(data, batch_size, sampler=rows, num_workers=workers, pin_memory=pin)
        data = self._images(test, transforms.Compose(TO_TENSOR))
        self.testing = DataLoader(data, EVALUATION_BATCH, shuffle=False, num_workers=workers, pin_memory=pin)

    @staticmethod
    def _images(split: tuple[Tensor, Tensor], transform: transforms.Compose) -> Images:
        images, labels = split
        return Images(images.permute(0, 2, 3, 1).contiguous().numpy(), labels.tolist(), transform)

    def train(self) -> float:
        losses, top1, top5 = Meter(), Meter(), Meter()
        self.network.train()
        for images, target in self.training:
            images = images.to(self.device, non_blocking=True)
            target = target.to(self.device, non_blocking=True)
            output = self.network(images)
            loss = self.criterion(output, target)
            acc1, acc5 = accuracy(output, target, (1, 5))
            losses.update(loss.item(), images.size(0))
            top1.update(acc1.item(), images.size(0))
            top5.update(acc5.item(), images.size(0))
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
        return losses.sum / losses.count

    def evaluate(self) -> NDArray[np.float64]:
        """Returns (C,) the accuracy of each class."""
        losses, top1, top5 = Meter(), Meter(), Meter()
        self.network.eval()
        predictions: list[int] = []
        targets: list[int] = []
        with torch.no_grad():
            for images, target in self.testing:
                images = images.to(self.device, non_blocking=True)
                target = target.to(self.device, non_blocking=True)
                output = self.network(images)
                loss = self.criterion(output, target)
                acc1, acc5 = accuracy(output, target, (1, 5))
                losses.update(loss.item(), images.size(0))
                top1.update(acc1.item(), images.size(0))
                top5.update(acc5.item(), images.size(0))
                predictions.extend(output.argmax(1).cpu().numpy())
                targets.extend(target.cpu().numpy())
        hits = np.bincount(np.array(targets)[np.array(predictions) == np.array(targets)], minlength=self.classes)
        return hits / np.bincount(targets, minlength=self.classes).clip(min=1)
