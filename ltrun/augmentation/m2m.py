"""M2m: images of minority classes, made from images of larger classes by gradients of a fixed classifier."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ltrun.errors import ConfigError
from ltrun.parts import Mixer, Network, Prepare
from ltrun.targets import one_label
from ltrun.types import Batch, ClassStats, Labels, Streams

Classifier = Callable[[Tensor], Tensor]  # images with values from 0 to 1, (B, channels, H, W), to logits (B, C)
NOISE = 0.5  # L2 length of the random start of an image


def seed_probabilities(slot_counts: Tensor, seed_counts: Tensor, beta: float) -> Tensor:
    """(S, B): 1 - beta ** max(n_seed - n_slot, 0), how readily an image of a larger class is turned into one of a slot's class.

    slot_counts: (S,), seed_counts: (B,), training images of the classes of slots and seeds.
    """
    larger = (seed_counts - slot_counts[:, None]).clamp(min=0)
    return -torch.expm1(math.log(beta) * larger)


def generate(
    images: Tensor,
    targets: Tensor,
    seeds: Tensor,
    generator: Classifier,
    training: Classifier,
    lam: float,
    step: float,
    iterations: int,
) -> Tensor:
    """Returns images (B, ...), moved so that `generator` takes them for `targets` and `training` no longer for `seeds`.

    `iterations` steps of length `step`, in L2 norm and for each image by itself, down the gradient of the cross-entropy of
    generator(images) and lam times the logit of the seed class in training(images); values stay from 0 to 1.
    """
    for _ in range(iterations):
        with torch.enable_grad():
            images = images.detach().requires_grad_()
            unlike = training(images).gather(1, seeds[:, None]).mean()
            loss = F.cross_entropy(generator(images), targets) + lam * unlike
            (slope,) = torch.autograd.grad(loss, images)
        length = slope.flatten(1).norm(dim=1).view(-1, *[1] * (images.dim() - 1))
        images = (images.detach() - step * slope / (length + 1e-10)).clamp(0, 1)
    return images


def accepted(images: Tensor, targets: Tensor, generator: Classifier, gamma: float) -> Tensor:
    """(B,): whether `generator` takes an image for its target with a probability of at least gamma."""
    return F.softmax(generator(images), dim=1).gather(1, targets[:, None])[:, 0] >= gamma


def short_noise(images: Tensor) -> Tensor:
    """Draws noise (B, ...), uniform from -0.5 to 0.5 in each pixel and then at most NOISE long in each image."""
    noise = torch.rand_like(images) - 0.5
    return noise.flatten(1).renorm(2, 0, NOISE).view_as(images)


class M2m(Mixer):
    """Major-to-minor translation: replaces images of small classes by images of larger classes, changed to look like them.

    An image of class k is a slot with probability 1 - n_k / n_max. Its seed is an image of the batch, drawn in proportion to
    P = 1 - beta ** max(n_seed - n_k, 0). `generate` translates the seed, with a random start, by the gradients of a fixed
    classifier, the teacher `generator`, and of the network in training, both in evaluation mode. The result replaces the slot's
    image, whose label stays, if the generator takes it for class k with probability gamma and a draw of probability P succeeds.

    It stands for deferred re-balancing: `main` is class-balanced (resampling=class_balanced), in the last part of training
    (decoupling=m2m). A step costs `iterations` passes of both networks, forward and backward, of the whole batch on every rank,
    which runtime.accumulate does not divide. In a mixed row the first label is the slot's class and, once replaced, the only
    label.

    Differences: noise is bounded for each image, as the authors intend; their code bounds each channel of the whole batch. The
    largest class is the one with most images; in their code, the first. All images pass through the translation, because shapes
    are fixed; the authors translate the slots alone, by the same numbers. The defaults are imbalanced-DL's for CIFAR-100; the
    authors' beta for CIFAR-10 is 0.999.

    Kim et al., 2020, arXiv 2004.00431.
    """

    counts: Tensor
    black: Tensor
    white: Tensor

    def __init__(
        self,
        beta: float = 0.9999,
        gamma: float = 0.9,
        lam: float = 0.5,
        step: float = 0.1,
        iterations: int = 10,
        *,
        stats: ClassStats,
        input_shape: torch.Size,
        prepare: Prepare,
        network: Network,
        teachers: Mapping[str, Network],
    ):
        super().__init__()
        if not 0 < beta < 1:
            raise ConfigError(f"beta must be above 0 and below 1, got {beta}")
        if not 0 <= gamma <= 1:
            raise ConfigError(f"gamma must be a probability, got {gamma}")
        if lam < 0 or step <= 0 or iterations < 1:
            raise ConfigError(f"lam must be at least 0, step above 0, iterations at least 1, got {lam}, {step}, {iterations}")
        if "generator" not in teachers:
            raise ConfigError("teachers must have 'generator', the classifier that guides the translation, and it is missing")
        self.beta, self.gamma, self.lam, self.step, self.iterations = beta, gamma, lam, step, iterations
        self.held = (network, teachers["generator"])  # in a tuple, because their weights are not this part's state
        self.register_buffer("counts", stats.counts.float(), persistent=False)
        for name, value in (("black", 0), ("white", 255)):
            pixels = torch.full((1, *input_shape), value, dtype=torch.uint8, device=next(prepare.buffers()).device)
            self.register_buffer(name, prepare(pixels), persistent=False)

    def forward(self, streams: Streams) -> dict[str, Batch]:
        main, span = streams["main"], self.white - self.black
        pixels, labels = (main.inputs - self.black) / span, main.targets.labels
        counts = self.counts[labels]
        likely = seed_probabilities(counts, counts, self.beta)
        # the largest ratio to an exponential draw is a draw in proportion; torch.multinomial would make the host wait
        seed = (likely / torch.empty_like(likely).exponential_()).argmax(dim=1)
        ready = likely.gather(1, seed[:, None])[:, 0]
        slot = torch.rand_like(counts) >= counts / self.counts.max()

        def classifier(network: Network) -> Classifier:
            return lambda images: network.predict(self.black + span * images).need("logits")

        network, generator = self.held
        start = (pixels[seed] + short_noise(pixels)).clamp(0, 1)
        with in_evaluation(network):
            ways = classifier(generator), classifier(network)
            made = generate(start, labels, labels[seed], *ways, self.lam, self.step, self.iterations)
            with torch.no_grad():
                taken = accepted(made, labels, ways[0], self.gamma)
        taken = taken & slot & (torch.rand_like(ready) < ready)
        inputs = torch.where(taken.view(-1, *[1] * (made.dim() - 1)), self.black + span * made, main.inputs)
        return {**streams, "main": main.replace(inputs=inputs, targets=with_first_label(one_label(main.targets), taken))}


def with_first_label(targets: Labels, chosen: Tensor) -> Labels:
    """Returns the labels, of which a chosen row keeps the first alone. chosen: (B,) booleans."""
    first = torch.arange(targets.weight.shape[1], device=chosen.device) == 0
    return Labels(targets.index, torch.where(chosen[:, None], first.to(targets.weight.dtype), targets.weight))


@contextmanager
def in_evaluation(network: nn.Module) -> Iterator[None]:
    """Puts a network into evaluation mode, and each of its modules back into its own mode on leaving."""
    modes = [(module, module.training) for module in network.modules()]
    network.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training
