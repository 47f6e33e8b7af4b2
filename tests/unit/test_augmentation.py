"""Augments move and recolour pixels as their references do; mixers keep pixels and labels in step."""

from collections import Counter, defaultdict
from collections.abc import Callable
from itertools import permutations, product
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf
from torch import Tensor
from torch.nn import functional as F

from ltrun.augmentation import CMO, AutoAugment, CropFlip, Cutout, Mixup, Rotation, SimCLR
from ltrun.augmentation.autoaugment import OPERATIONS, POLICY, apply
from ltrun.augmentation.cmo import box
from ltrun.augmentation.colour import HUE, greyscale, jitter, shift_hue
from ltrun.augmentation.crop_flip import crop_flip
from ltrun.augmentation.geometry import affine, draw_boxes, gaussian, rotation, separable, stretch
from ltrun.data import Normalise
from ltrun.errors import ConfigError
from ltrun.parts import Augment, Mixer
from ltrun.types import Batch, ClassStats, Clock, Labels, View
from tests.support.cases import blind_view

AUGMENTS: list[Callable[[], Augment]] = [CropFlip, Rotation, Cutout, AutoAugment, SimCLR]
MIXERS: dict[str, Callable[[], Mixer]] = {"mixup": Mixup, "cmo": CMO, "always": lambda: CMO(probability=1.0)}
SHAPES = [(3, 32, 32), (1, 8, 8), (3, 20, 12)]


def batch_of(images: Tensor, labels: Tensor | None = None) -> Batch:
    labels = torch.zeros(len(images), dtype=torch.long) if labels is None else labels
    return Batch(images, Labels.hard(labels), torch.arange(len(images)))


def photographs(count: int, shape: tuple[int, int, int] = (3, 32, 32), seed: int = 0) -> Tensor:
    """uint8 noise with structure at several scales, unlike white noise, which equalises and blurs to almost nothing."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(count, shape[0], 3, 3, generator=generator)
    smooth = F.interpolate(coarse, shape[1:], mode="bicubic").clamp(0, 1) * 200
    return (smooth + 55 * torch.rand(count, *shape, generator=generator)).to(torch.uint8)


def view(epoch: int, epochs: int) -> View:
    stats = ClassStats(torch.tensor([4, 2]))
    return blind_view(Clock("joint", epoch, epochs), stats)


def assert_close(result: Tensor, expected: Tensor, levels: int, exact: float = 0.0) -> None:
    """Within so many of 256 levels everywhere, and equal in at least the share `exact` of the pixels."""
    difference = (result.float() - expected.float()).abs()
    assert difference.max() <= levels
    assert (difference == 0).float().mean() >= exact


# What holds of every augment


@pytest.mark.parametrize("make", AUGMENTS)
@pytest.mark.parametrize("shape", SHAPES)
def test_augment_returns_images_like_those_it_got(make: Callable[[], Augment], shape: tuple[int, int, int]) -> None:
    images = photographs(64, shape)
    batch, before = batch_of(images), images.clone()
    torch.manual_seed(1)
    first = make()(batch)
    torch.manual_seed(1)
    second = make()(batch)
    assert first.inputs.dtype == torch.uint8 and first.inputs.shape == images.shape
    assert torch.equal(images, before), "it wrote into the store's pixels"
    assert torch.equal(first.inputs, second.inputs), "it drew from another generator than torch's own"
    assert first.targets is batch.targets and first.rows is batch.rows
    assert not torch.equal(first.inputs, images)


@pytest.mark.parametrize("make", AUGMENTS)
def test_each_image_has_its_own_draw(make: Callable[[], Augment]) -> None:
    torch.manual_seed(0)
    results = make()(batch_of(photographs(1).expand(64, -1, -1, -1))).inputs
    assert len(results.flatten(1).unique(dim=0)) > 16


@pytest.mark.parametrize("device", ["cpu", "cuda"])
@pytest.mark.parametrize("make", [*AUGMENTS, *MIXERS.values()])
def test_never_waits_for_the_device(make: Callable[[], Augment | Mixer], device: str) -> None:
    """Tensors without contents: an .item(), a branch on data or a shape that depends on data raises, a stray CPU tensor too."""
    from torch._subclasses.fake_tensor import FakeTensorMode

    with FakeTensorMode():
        part = make().to(device)
        images = torch.empty(4, 3, 32, 32, dtype=torch.uint8, device=device)
        labels = Labels(torch.empty(4, 1, dtype=torch.long, device=device), torch.empty(4, 1, device=device))
        batch = Batch(images, labels, torch.empty(4, dtype=torch.long, device=device))
        if isinstance(part, Mixer):
            floats = batch.replace(inputs=images.float())
            result = part({"main": floats, "tail": floats})["main"]
        else:
            result = part(batch)
        assert result.inputs.device.type == result.targets.weight.device.type == device


@pytest.mark.parametrize(
    "make",
    [
        lambda: CropFlip(padding=-1),
        lambda: Rotation(degrees=-1.0),
        lambda: Cutout(size=0),
        lambda: AutoAugment(fill=256),
        lambda: SimCLR(smallest=0.0),
        lambda: SimCLR(jitter=1.5),
        lambda: SimCLR(hue=0.6),
        lambda: Mixup(alpha=0.0),
        lambda: CMO(probability=2.0),
        lambda: CMO(beta=0.0),
        lambda: CMO(plain=0.5),
        lambda: Normalise([0.5], [0.0], in_channels=1, channels_last=True),
        lambda: Normalise([0.5, 0.5], [0.1], in_channels=2, channels_last=True),
        lambda: Normalise([], [], in_channels=1, channels_last=True),
    ],
)
def test_values_that_make_no_sense_are_refused(make: Callable[[], object]) -> None:
    with pytest.raises(ConfigError, match="must"):
        make()


# Geometry


def test_crop_flip_gives_legal_crops_and_all_of_them() -> None:
    padding, image = 2, torch.arange(1, 37, dtype=torch.uint8).view(1, 6, 6)
    padded = F.pad(image, [padding] * 4)
    legal = {
        tuple((crop.flip(-1) if flip else crop).flatten().tolist()): (top, left, flip)
        for top, left, flip in product(range(2 * padding + 1), range(2 * padding + 1), (False, True))
        for crop in [padded[:, top : top + 6, left : left + 6]]
    }
    assert len(legal) == 50
    torch.manual_seed(0)
    results = CropFlip(padding=padding)(batch_of(image.expand(5000, -1, -1, -1))).inputs.flatten(1).tolist()
    counts = dict.fromkeys(legal, 0)
    for result in results:
        counts[tuple(result)] += 1  # a KeyError is an illegal crop
    assert min(counts.values()) > 50 and max(counts.values()) < 160  # 100 each; 5 standard deviations are 50


def test_crop_flip_without_flip_never_mirrors() -> None:
    image = torch.arange(1, 17, dtype=torch.uint8).view(1, 1, 4, 4).expand(500, -1, -1, -1)
    results = CropFlip(padding=1, flip=False)(batch_of(image)).inputs.long()
    rightwards = results[..., 1:] - results[..., :-1]
    inner = (results[..., 1:] > 0) & (results[..., :-1] > 0)
    assert (rightwards[inner] == 1).all()
    assert torch.equal(CropFlip(padding=0, flip=False)(batch_of(image)).inputs, image)


def test_crop_flip_fills_with_black_and_moves_channels_together() -> None:
    images = photographs(2).clamp(min=1)
    moved = crop_flip(images, torch.tensor([3, -2]), torch.tensor([-1, 4]), torch.tensor([False, True]))
    assert torch.equal(moved[0, :, :29, 1:], images[0, :, 3:, :31]) and moved[0, :, 29:].sum() == moved[0, :, :, 0].sum() == 0
    assert torch.equal(moved[1, :, 2:, 4:], images[1, :, :30, 4:].flip(-1)) and moved[1, :, :, :4].sum() == 0


@pytest.mark.parametrize("shape", SHAPES)
def test_rotation_is_torchvisions(shape: tuple[int, int, int]) -> None:
    from torchvision.transforms import functional as reference

    angles = torch.tensor([-180.0, -90.0, -33.3, -15.0, -7.1, -0.5, 0.0, 3.2, 12.9, 15.0, 90.0])
    images = photographs(len(angles), shape)
    expected = torch.stack([reference.rotate(image, float(angle)) for image, angle in zip(images, angles, strict=True)])
    same = (affine(images, rotation(angles)) == expected).flatten(1).float().mean(1)
    assert same.min() >= 0.99  # a source exactly between two pixels may go either way


def test_rotation_stays_within_its_degrees_and_reaches_them() -> None:
    image = torch.zeros(1, 1, 101, 101, dtype=torch.uint8)
    image[..., 50, 90:] = 255  # a mark to the right of the centre, 40 pixels out
    torch.manual_seed(0)
    results = Rotation(degrees=15.0)(batch_of(image.expand(400, -1, -1, -1))).inputs.float()
    rows = torch.arange(101.0) - 50
    weights = results[:, 0, :, 90:95]
    heights = (weights * rows[:, None]).sum((1, 2)) / weights.sum((1, 2))
    angles = torch.atan2(heights, torch.tensor(42.0)).rad2deg()
    assert angles.abs().max() < 15.8
    assert angles.max() > 14 and angles.min() < -14 and angles.mean().abs() < 2
    assert angles.std() == pytest.approx(30 / 12**0.5, rel=0.1)


@pytest.mark.parametrize(("size", "side", "hole"), [(16, 32, 16), (8, 32, 8), (16, 8, 4)])
def test_cutout_blackens_one_clipped_square(size: int, side: int, hole: int) -> None:
    images = torch.full((2000, 3, side, side), 7, dtype=torch.uint8)
    torch.manual_seed(0)
    black = Cutout(size=size)(batch_of(images)).inputs == 0
    assert torch.equal(black[:, 0], black[:, 1]) and torch.equal(black[:, 0], black[:, 2])
    rows, columns = black[:, 0].any(2), black[:, 0].any(1)
    assert torch.equal(black[:, 0], rows[:, :, None] & columns[:, None, :])
    lengths = rows.sum(1)
    assert lengths.max() == columns.sum(1).max() == hole and lengths.min() == hole // 2
    assert black.float().mean((0, 1)).amin() > 0, "some pixel is never cut"
    shares = (lengths == hole).float().mean()
    assert shares == pytest.approx((side - hole + 1) / side, abs=0.05)


def test_normalise_is_torchvisions() -> None:
    from torchvision.transforms import functional as reference

    mean, std = [0.4914, 0.4822, 0.4465], [0.2023, 0.1994, 0.2010]
    images = torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16).expand(2, 3, -1, -1)
    expected = reference.normalize(images.float().div(255), mean, std)
    result = Normalise(mean, std, in_channels=len(mean), channels_last=False)(images)
    assert result.dtype == torch.float32
    torch.testing.assert_close(result, expected, rtol=0, atol=1e-6)


# AutoAugment

REFERENCE_NAMES = {
    "autocontrast": "AutoContrast",
    "brightness": "Brightness",
    "color": "Color",
    "contrast": "Contrast",
    "equalize": "Equalize",
    "identity": "Identity",
    "invert": "Invert",
    "posterize": "Posterize",
    "rotate": "Rotate",
    "sharpness": "Sharpness",
    "shear_y": "ShearY",
    "solarize": "Solarize",
    "translate_x": "TranslateX",
    "translate_y": "TranslateY",
}
ENHANCEMENTS = {"brightness", "color", "contrast", "sharpness"}


def test_policy_is_the_published_one() -> None:
    from torchvision.transforms.autoaugment import AutoAugment as Reference
    from torchvision.transforms.autoaugment import AutoAugmentPolicy

    published = Reference(AutoAugmentPolicy.CIFAR10).policies
    ours = [tuple((REFERENCE_NAMES[name], chance, ninths) for name, chance, ninths in pair) for pair in POLICY]
    assert ours == [tuple((name, chance, ninths or 0) for name, chance, ninths in pair) for pair in published]


@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize("shape", SHAPES)
def test_operation_is_torchvisions(operation: str, shape: tuple[int, int, int]) -> None:
    from torchvision.transforms import InterpolationMode
    from torchvision.transforms.autoaugment import AutoAugment as Reference
    from torchvision.transforms.autoaugment import AutoAugmentPolicy, _apply_op

    reference = Reference(AutoAugmentPolicy.CIFAR10)
    name, fill = REFERENCE_NAMES[operation], [128.0] * shape[0]
    magnitudes, signed = reference._augmentation_space(10, shape[1:]).get(name, (torch.tensor(0.0), False))
    images = photographs(4, shape)
    images[3] = 77  # flat: nothing to stretch or equalise
    for ninths, sign in product(range(10), (1, -1) if signed else (1,)):
        strength = torch.full((4,), sign * ninths / 9)
        result = apply(images, torch.full((4,), OPERATIONS.index(operation)), strength, fill=128)
        magnitude = sign * float(magnitudes[ninths] if magnitudes.ndim else 0.0)
        expected = torch.stack([_apply_op(image, name, magnitude, InterpolationMode.NEAREST, fill) for image in images])
        if operation == "shear_y":  # a source exactly between two pixels may go either way
            source = torch.arange(shape[1])[:, None] + magnitude * (torch.arange(shape[2]) + 0.5)
            clear = ((source % 1 - 0.5).abs() > 1e-3).expand_as(result)
            assert_close(result[clear], expected[clear], levels=0)
        elif operation in ENHANCEMENTS:  # cut to whole levels: 76.99999 is 76 in torchvision, in all of the flat image
            assert_close(result, expected, levels=1)
            assert_close(result[:3], expected[:3], levels=1, exact=0.75)
        else:
            assert_close(result, expected, levels=0)


def test_operations_of_a_batch_do_not_touch_each_other() -> None:
    torch.manual_seed(0)
    images = photographs(5 * len(OPERATIONS))
    operation = torch.arange(len(OPERATIONS)).repeat(5)
    strength = torch.rand(len(images)) * 2 - 1
    together = apply(images, operation, strength, fill=128)
    alone = [apply(images[i : i + 1], operation[i : i + 1], strength[i : i + 1], fill=128) for i in range(len(images))]
    assert torch.equal(together, torch.cat(alone))
    assert torch.equal(together[::14][0], images[0]) == (OPERATIONS[0] == "identity")


def test_autoaugment_draws_what_the_policy_says_as_often_as_it_says() -> None:
    image, count = photographs(1, (3, 6, 6)), 10_000
    expected: defaultdict[tuple[int, ...], float] = defaultdict(float)
    for pair in POLICY:
        for signs in product((0, 1, -1), repeat=2):  # 0: the operation is not applied
            result, share = image, count / len(POLICY)
            for (name, chance, ninths), sign in zip(pair, signs, strict=True):
                share *= chance / 2 if sign else 1 - chance
                operation, strength = torch.tensor([OPERATIONS.index(name) * abs(sign)]), torch.tensor([sign * ninths / 9])
                result = apply(result, operation, strength, fill=128)
            expected[tuple(result.flatten().tolist())] += share
    torch.manual_seed(0)
    results = AutoAugment()(batch_of(image.expand(count, -1, -1, -1))).inputs
    drawn = Counter(tuple(result) for result in results.flatten(1).tolist())
    assert set(drawn) <= set(expected)
    for key, share in expected.items():
        assert abs(drawn[key] - share) <= 5 * share**0.5, "five standard deviations"


# SimCLR


def test_stretch_is_torchvisions_resized_crop() -> None:
    from torchvision.transforms import functional as reference

    boxes = [(0, 0, 32, 32), (3, 5, 20, 17), (31, 0, 1, 32), (10, 22, 15, 10)]  # top, left, height, width
    images = photographs(len(boxes))
    top, left, height, width = (torch.tensor(value, dtype=torch.float) for value in zip(*boxes, strict=True))
    result = separable(images.float(), stretch(top, height, 32), stretch(left, width, 32)).round()
    expected = torch.stack([reference.resized_crop(i, *b, [32, 32]) for i, b in zip(images, boxes, strict=True)])
    assert_close(result, expected, levels=1, exact=0.98)


def test_boxes_lie_inside_and_follow_torchvisions_distribution() -> None:
    from torchvision.transforms import RandomResizedCrop

    torch.manual_seed(0)
    top, left, height, width = draw_boxes(4000, 32, 32, 0.2, torch.device("cpu"))
    for value in (top, left, height, width):
        assert torch.equal(value, value.round())
    assert (top >= 0).all() and (left >= 0).all() and (top + height <= 32).all() and (left + width <= 32).all()
    image = torch.zeros(3, 32, 32)
    expected = torch.tensor([RandomResizedCrop.get_params(image, [0.2, 1.0], [3 / 4, 4 / 3]) for _ in range(4000)]).float()
    drawn = torch.stack([top, left, height, width], dim=1)
    torch.testing.assert_close(drawn.mean(0), expected.mean(0), rtol=0, atol=0.5)
    torch.testing.assert_close(drawn.std(0), expected.std(0), rtol=0, atol=0.35)
    quantiles = torch.linspace(0, 1, 11)
    torch.testing.assert_close(drawn.quantile(quantiles, 0), expected.quantile(quantiles, 0), rtol=0, atol=1.01)


@pytest.mark.parametrize("sigma", [0.1, 0.5, 1.0, 2.0])
def test_gaussian_is_torchvisions_with_the_edge_continued(sigma: float) -> None:
    from torchvision.transforms import functional as reference

    images = photographs(3)
    weights = gaussian(torch.full((3,), sigma), 32, 6)
    torch.testing.assert_close(weights.sum(2), torch.ones(3, 32))
    padded = F.pad(images.float(), [6] * 4, mode="replicate")
    expected = reference.gaussian_blur(padded, [13, 13], [sigma, sigma])[..., 6:-6, 6:-6]
    assert_close(separable(images.float(), weights, weights).round(), expected.round(), levels=1, exact=0.95)


def test_separable_keeps_float32_under_autocast() -> None:
    images, identity = photographs(2).float() + 0.123, torch.eye(32).expand(2, -1, -1)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        result = separable(images, identity, identity)
    assert result.dtype == torch.float32 and torch.equal(result, images)


def test_shift_hue_is_torchvisions() -> None:
    from torchvision.transforms import functional as reference

    turns = torch.tensor([-0.5, -0.1, -0.03, 0.0, 0.07, 0.1, 0.33, 0.5])
    images = photographs(len(turns))
    images[:, :, 0] = 90  # grey pixels have no hue
    expected = torch.stack([reference.adjust_hue(i, float(t)) for i, t in zip(images, turns, strict=True)])
    assert_close(shift_hue(images.float(), turns).round(), expected, levels=1)


def test_jitter_changes_colours_in_the_order_given() -> None:
    from torchvision.transforms import functional as reference

    adjust = [reference.adjust_brightness, reference.adjust_contrast, reference.adjust_saturation, reference.adjust_hue]
    orders = list(permutations(range(4)))
    torch.manual_seed(0)
    images = photographs(len(orders))
    change = (2 * torch.rand(len(orders), 4) - 1) * torch.tensor([0.4, 0.4, 0.4, 0.1])
    without_hue = torch.tensor([[operation for operation in order if operation != HUE] for order in orders])
    place = torch.tensor([order.index(HUE) for order in orders])
    result = jitter(images.float(), change, without_hue, place)
    for row, order in enumerate(orders):
        expected = images[row].float() / 255
        for operation in order:
            expected = adjust[operation](expected, float(change[row, operation]) + (operation != HUE))
        assert_close(result[row].round(), (expected * 255).round(), levels=1, exact=0.99)


def simclr(flip: bool = False, jitter: float = 0.0, hue: float = 0.1, grey: float = 0.0, blur: float = 0.0) -> SimCLR:
    """Nothing but what is asked for; jitter here is of the hue alone."""
    return SimCLR(smallest=1.0, flip=flip, jitter=jitter, strength=0.0, hue=hue, grey=grey, blur=blur)


def test_simclr_with_everything_off_is_the_identity() -> None:
    images = photographs(16)
    assert torch.equal(simclr()(batch_of(images)).inputs, images)
    grey = simclr(grey=1.0)(batch_of(images)).inputs
    assert torch.equal(grey, greyscale(images.float()).round().to(torch.uint8).expand_as(images))
    mirrored = simclr(flip=True)(batch_of(images)).inputs
    as_is, turned = ((mirrored == other).flatten(1).all(1) for other in (images, images.flip(-1)))
    assert (as_is ^ turned).all() and as_is.any() and turned.any()


def test_colour_means_nothing_to_one_channel() -> None:
    digits = photographs(32, (1, 8, 8))
    assert torch.equal(simclr(jitter=1.0, hue=0.5, grey=1.0)(batch_of(digits)).inputs, digits)
    operation = torch.full((32,), OPERATIONS.index("color"))
    assert torch.equal(apply(digits, operation, torch.ones(32), fill=128), digits)


def test_simclr_blurs_small_images_less() -> None:
    torch.manual_seed(0)
    digits = photographs(64, (1, 8, 8))
    blurred = simclr(blur=1.0)(batch_of(digits)).inputs.float()
    assert not torch.equal(blurred, digits.float())
    assert (blurred.var((1, 2, 3)) / digits.float().var((1, 2, 3))).min() > 0.5


@pytest.mark.parametrize(
    ("augments", "flip"), [({"crop_flip": {"flip": False}}, False), ({"crop_flip": {}}, True), (None, True)]
)
def test_simclr_mirrors_only_where_the_data_set_does(augments: dict | None, flip: bool) -> None:
    option = OmegaConf.load(Path(__file__).parents[2] / "conf" / "augmentation" / "simclr.yaml")
    config = OmegaConf.create({"dataset": {"augments": augments}, "augmentation": option})
    assert config.augmentation.augments.simclr.flip is flip


# Mixers


def filled(labels: list[int]) -> Batch:
    """Images whose every pixel is their label's number."""
    index = torch.tensor(labels)
    return batch_of(index.float()[:, None, None, None].expand(-1, 3, 16, 12), index)


def expectation(targets: Labels) -> Tensor:
    return (targets.index * targets.weight).sum(1)


@settings(deadline=None, max_examples=60)
@given(
    chain=st.permutations(["mixup", "mixup", "always"]).flatmap(lambda names: st.sampled_from([names[:k] for k in (1, 2, 3)])),
    labels=st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), min_size=1, max_size=8),
    seed=st.integers(0, 10_000),
)
def test_labels_are_mixed_as_pixels_are(chain: list[str], labels: list[tuple[int, int]], seed: int) -> None:
    torch.manual_seed(seed)
    main, tail = (filled([pair[i] for pair in labels]) for i in (0, 1))
    streams = {"main": main, "key": main}
    for name in chain:
        streams = MIXERS[name]()({**streams, "tail": tail})
    mixed = streams["main"]
    assert streams["key"] is main
    columns = 1
    for name in chain:
        columns = 2 * columns if name == "mixup" else columns + 1
    assert mixed.targets.index.shape == mixed.targets.weight.shape == (len(labels), columns)
    assert (mixed.targets.weight >= 0).all()
    torch.testing.assert_close(mixed.targets.weight.sum(1), torch.ones(len(labels)), rtol=0, atol=1e-5)
    torch.testing.assert_close(mixed.inputs.mean((1, 2, 3)), expectation(mixed.targets), rtol=0, atol=1e-4)


def test_cmo_then_mixup_gives_four_columns() -> None:
    streams = Mixup()(CMO()({"main": filled([0, 1, 2]), "tail": filled([3, 3, 4])}))
    assert set(streams) == {"main"}, "the tail stream is used up"
    assert streams["main"].targets.index.shape == (3, 4)
    assert streams["main"].targets.index[:, :2].tolist() == [[0, 3], [1, 3], [2, 4]]


def test_mixup_shares_follow_beta() -> None:
    torch.manual_seed(0)
    batch = filled([0, 1])
    uniform, extreme = (
        torch.stack([Mixup(alpha=alpha)({"main": batch})["main"].targets.weight[0, 0] for _ in range(2000)])
        for alpha in (1.0, 0.1)
    )
    assert uniform.mean() == pytest.approx(0.5, abs=0.03) and uniform.var() == pytest.approx(1 / 12, abs=0.01)
    assert extreme.mean() == pytest.approx(0.5, abs=0.05) and extreme.var() == pytest.approx(1 / 4.8, abs=0.02)


def test_mixup_draws_one_share_a_batch_and_partners_once_each() -> None:
    torch.manual_seed(0)
    targets = Mixup()({"main": filled(list(range(10)))})["main"].targets
    assert (targets.weight == targets.weight[0]).all()
    assert sorted(targets.index[:, 1].tolist()) == list(range(10)) != targets.index[:, 1].tolist()


def test_box_is_cutmixs() -> None:
    height, width = 32, 20
    for keep, y, x in product([0.0, 0.1, 0.34, 0.5, 0.77, 0.999, 1.0], [0, 1, 15, 31], [0, 9, 19]):
        tall, wide = int(height * (1 - keep) ** 0.5), int(width * (1 - keep) ** 0.5)
        expected = torch.zeros(height, width, dtype=torch.bool)
        expected[max(y - tall // 2, 0) : max(y + tall // 2, 0), max(x - wide // 2, 0) : max(x + wide // 2, 0)] = True
        result = box(height, width, torch.tensor(keep, dtype=torch.float64), torch.tensor(y), torch.tensor(x))
        assert torch.equal(result, expected)


def test_cmo_pastes_the_tail_onto_the_main_stream() -> None:
    torch.manual_seed(0)
    main, tail = filled([0, 0, 0]), filled([5, 6, 7])
    on = 0
    for _ in range(400):
        mixed = CMO()({"main": main, "tail": tail})["main"]
        pasted = mixed.inputs != 0
        assert torch.equal(mixed.inputs, torch.where(pasted, tail.inputs, main.inputs))
        assert (pasted == pasted[:1, :1]).all(), "one box for the batch"
        torch.testing.assert_close(mixed.targets.weight[:, 1], pasted.float().mean((1, 2, 3)), rtol=0, atol=1e-6)
        on += int(pasted.any())
    assert 140 < on < 220  # half of 400, less the boxes that round to nothing
    untouched = CMO(probability=0.0)({"main": main, "tail": tail})["main"]
    assert torch.equal(untouched.inputs, main.inputs) and untouched.targets.weight.tolist() == [[1.0, 0.0]] * 3


@pytest.mark.parametrize(("epochs", "active"), [(200, range(3, 197)), (400, range(6, 394)), (67, range(1, 66)), (3, range(3))])
def test_cmo_leaves_the_first_and_last_epochs_alone(epochs: int, active: range) -> None:
    part = CMO(probability=1.0)
    address = part.active.data_ptr()
    for epoch in range(epochs):
        part.adapt(view(epoch, epochs))
        assert bool(part.active) == (epoch in active)
    assert part.active.data_ptr() == address, "a compiled step would not see another tensor"
    part.active.fill_(False)
    streams = {"main": filled([1, 2]), "tail": filled([3, 4])}
    assert torch.equal(part(streams)["main"].inputs, streams["main"].inputs)
    assert "active" in part.state_dict()
