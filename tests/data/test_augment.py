"""Augmentation: recorded operations, torchvision's jitter, a crop by slices, independence of the batch."""

import random

import numpy as np
import pytest
import torch
from helpers import parity
from torch.nn import functional

from sdcl.data import augment as A
from sdcl.data import augment_cpu
from sdcl.data import augment_draws as D
from sdcl.data import augment_gpu as G
from sdcl.data.normalization import CLIP, HALF, IMAGENET, LUPERSON
from sdcl.data.pixels import ERASE_FILL, NO_BOX

SDCL_VISIBLE_PLAIN = A.augmentation("visible", "plain")
SDCL_VISIBLE_EXCHANGED = A.augmentation("visible", "exchanged")
SDCL_INFRARED = A.augmentation("infrared")
ADCA_VISIBLE_EXCHANGED = A.augmentation("visible", "exchanged", color_jitter=0)
ADCA_INFRARED = A.augmentation("infrared", color_jitter=0)


def uint8_images(count=12, height=24, width=12, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (count, height, width, 3), generator=generator, dtype=torch.uint8)


ERASE = (lambda rng, height, width: D.draw_erasing(rng, height, width), G.apply_erasing)
EXCHANGE = (lambda rng, *_: D.draw_channel_exchange(rng), G.apply_channel)
EXCHANGE_OR_GREY = (lambda rng, *_: rng.randint(0, 3), G.apply_channel)
ADAPT = (lambda rng, *_: D.draw_channel_adapt_gray(rng), G.apply_channel)
RECORDED = {
    "channel_exchange_gray2": [EXCHANGE],
    "channel_exchange_gray3": [EXCHANGE_OR_GREY],
    "channel_adap_gray": [ADAPT],
    "channel_random_erasing": [ERASE],
    "chain_rgb2": [ERASE, EXCHANGE],
    "chain_ir": [ERASE, ADAPT],
}


@parity.recorded("augment")
@pytest.mark.parametrize("name", RECORDED)
def test_recorded_operations(arrays, name):
    """The operations in turn, on one random generator per recorded seed."""
    seeds = [int(seed) for seed in arrays["seeds"]]
    images = torch.from_numpy(arrays["image"]).expand(len(seeds), -1, -1, -1)
    generators = [random.Random(seed) for seed in seeds]
    for draw, apply in RECORDED[name]:
        images = apply(images, [draw(rng, *images.shape[2:]) for rng in generators])
    np.testing.assert_allclose(images, arrays[name], atol=1e-6)


def test_adapt_gray_proportions():
    rng = random.Random(0)
    codes = np.bincount([D.draw_channel_adapt_gray(rng) + 1 for _ in range(8000)], minlength=5) / 8000
    np.testing.assert_allclose(codes, [1 / 8, 1 / 4, 1 / 4, 1 / 4, 1 / 8], atol=0.02)


def test_erasing_gives_up_when_nothing_fits():
    assert D.draw_erasing(random.Random(1), 24, 12, p=1, area=(5, 6)) == NO_BOX
    assert D.draw_erasing(random.Random(1), 24, 12, p=0) == NO_BOX


def special_images():
    """Random, grey, black, white and saturated pixels."""
    images = torch.rand(10, 3, 16, 8, generator=torch.Generator().manual_seed(1))
    images[0] = images[0, :1]
    images[1], images[2] = 0, 1
    images[3] = images[3].round()
    images[4] = (images[4] * 3).round() / 3  # equal channels at many pixels
    return images


@pytest.mark.parametrize("operation", range(4))
def test_each_jitter_operation_is_torchvisions(operation):
    reference = pytest.importorskip("torchvision.transforms.v2.functional")
    theirs = (
        reference.adjust_brightness,
        reference.adjust_contrast,
        reference.adjust_saturation,
        reference.adjust_hue,
    )
    images = special_images()
    for factor in (0.5, 0.9, 1.0, 1.5) if operation < 3 else (-0.5, -0.2, 0.0, 1 / 3, 0.5):
        ours = G.JITTER_OPERATIONS[operation](images, torch.full((len(images), 1, 1, 1), factor))
        expected = torch.stack([theirs[operation](image, factor) for image in images])
        torch.testing.assert_close(ours, expected, atol=1e-5, rtol=0)


def test_jitter_runs_each_samples_own_order():
    reference = pytest.importorskip("torchvision.transforms.v2.functional")
    theirs = (
        reference.adjust_brightness,
        reference.adjust_contrast,
        reference.adjust_saturation,
        reference.adjust_hue,
    )
    images = special_images()
    before = images.clone()
    draws = [D.draw_jitter(random.Random(seed), 0.5) for seed in range(len(images))]
    ours = G.apply_jitter(images, [order for order, _ in draws], [factors for _, factors in draws])
    for image, mine, (order, factors) in zip(images, ours, draws, strict=True):
        for operation in order:
            image = theirs[operation](image, factors[operation])
        torch.testing.assert_close(mine, image, atol=2e-5, rtol=0)
    assert torch.equal(images, before)
    assert len({order for order, _ in draws}) > 3


def test_jitter_ranges():
    factors = np.array([D.draw_jitter(random.Random(seed), 0.5)[1] for seed in range(500)])
    assert (np.abs(factors - [1, 1, 1, 0]) <= 0.5).all()
    assert (np.abs(factors - [1, 1, 1, 0]).max(0) > 0.45).all()


@pytest.mark.parametrize("pad", [0, 1, 10])
def test_crop_and_flip(pad):
    images = torch.rand(16, 3, 24, 12)
    rng = random.Random(0)
    corners = [(rng.randint(0, 2 * pad), rng.randint(0, 2 * pad)) for _ in images]
    flipped = [rng.random() < 0.5 for _ in images]
    ours = G.apply_crop_flip(images, corners, flipped, pad)
    for image, mine, (top, left), flip in zip(images, ours, corners, flipped, strict=True):
        crop = functional.pad(image, [pad] * 4)[:, top : top + 24, left : left + 12]
        assert torch.equal(mine, crop.flip(-1) if flip else crop)


@pytest.mark.parametrize(
    "chosen",
    [SDCL_VISIBLE_EXCHANGED, SDCL_INFRARED, ADCA_INFRARED, A.Augmentation(pad=40), A.Augmentation(pad=0)],
)
@pytest.mark.parametrize(
    ("size", "normalization"), [((24, 12), IMAGENET), ((97, 33), CLIP), ((3, 5), HALF), ((24, 12), LUPERSON)]
)
def test_cpu_and_gpu_forms_do_the_same(chosen, size, normalization):
    images = uint8_images(40, *size)
    images[:2], images[2:4], images[4] = 0, 255, images[4, ..., :1]
    images[5] = images[5] // 128 * 255
    images[6], images[7] = 200, 100
    images[8:] = images[8:].where(torch.rand(32, *size, 1) < 0.3, 240)
    draws = [D.draw(random.Random(seed), chosen, *size) for seed in range(len(images))]
    cpu, gpu = (form.augmented(images, chosen, draws, normalization) for form in (augment_cpu, G))
    assert cpu.is_contiguous() and cpu.dtype == torch.float32
    torch.testing.assert_close(cpu, gpu, atol=3e-5, rtol=0)
    strided = images.flip(0).flip(0).transpose(1, 2).contiguous().transpose(1, 2)
    assert torch.equal(augment_cpu.augmented(strided, chosen, draws, normalization), cpu)
    assert A.augment(images[:0], chosen, []).shape == (0, 3, *size)


@pytest.mark.parametrize("chosen", [SDCL_VISIBLE_PLAIN, SDCL_VISIBLE_EXCHANGED, SDCL_INFRARED, ADCA_INFRARED])
def test_an_image_does_not_depend_on_its_batch(chosen):
    images, seeds = uint8_images(), list(range(100, 112))
    whole = A.augment(images, chosen, seeds)
    assert whole.shape == (12, 3, 24, 12) and whole.dtype == torch.float32 and whole.is_contiguous()
    for part in ([3], [0, 1, 2], [11, 4, 7, 2], list(range(11, -1, -1))):
        torch.testing.assert_close(
            A.augment(images[part], chosen, [seeds[i] for i in part]), whole[part], atol=1e-6, rtol=0
        )
    assert not torch.equal(A.augment(images, chosen, list(range(12))), whole)


def test_global_generators_are_left_alone():
    state, torch_state = random.getstate(), torch.get_rng_state()
    A.augment(uint8_images(), SDCL_INFRARED, list(range(12)))
    assert random.getstate() == state and torch.equal(torch.get_rng_state(), torch_state)


@pytest.mark.parametrize("chosen", [IMAGENET, CLIP])
def test_order_of_the_chain(chosen):
    """Black pad before the mean, erasing after it, channel operation last: step by step for one image."""
    images = uint8_images(1)
    for seed in range(20):
        drawn = D.draw(random.Random(seed), SDCL_VISIBLE_EXCHANGED, 24, 12)
        expected = G.apply_jitter(images.permute(0, 3, 1, 2) / 255, [drawn.order], [drawn.factors])
        top, left = drawn.corner
        expected = functional.pad(expected, [10] * 4)[:, :, top : top + 24, left : left + 12]
        expected = expected.flip(-1) if drawn.flipped else expected
        mean, std = torch.tensor((chosen.mean, chosen.std)).view(2, 3, 1, 1)
        expected = (expected - mean) / std
        top, left, tall, wide = drawn.box
        expected[:, :, top : top + tall, left : left + wide] = torch.tensor(ERASE_FILL).view(3, 1, 1)
        expected = expected[:, drawn.channel : drawn.channel + 1].expand(-1, 3, -1, -1)
        torch.testing.assert_close(
            G.augmented(images, SDCL_VISIBLE_EXCHANGED, [drawn], chosen), expected, atol=1e-6, rtol=0
        )
        torch.testing.assert_close(
            A.augment(images, SDCL_VISIBLE_EXCHANGED, [seed], chosen), expected, atol=5e-5, rtol=0
        )


@pytest.mark.parametrize("chosen", [IMAGENET, HALF, LUPERSON])
def test_nothing_switched_on_is_normalize(chosen):
    images = uint8_images()
    nothing = A.Augmentation(jitter=0, pad=0, flip=0, erase=0)
    assert torch.equal(A.augment(images, nothing, [0] * 12, chosen), A.normalize(images, chosen))
    mean, std = torch.tensor(chosen.mean), torch.tensor(chosen.std)
    torch.testing.assert_close(A.normalize(images, chosen).permute(0, 2, 3, 1), (images / 255 - mean) / std)


def test_without_a_choice_pixels_are_imagenets():
    images, seeds = uint8_images(), list(range(12))
    assert torch.equal(A.normalize(images), A.normalize(images, IMAGENET))
    assert torch.equal(
        A.augment(images, SDCL_INFRARED, seeds), A.augment(images, SDCL_INFRARED, seeds, IMAGENET)
    )
    assert not torch.equal(A.normalize(images), A.normalize(images, HALF))


def test_presets():
    assert (SDCL_VISIBLE_PLAIN.channel, SDCL_VISIBLE_EXCHANGED.channel, SDCL_INFRARED.channel) == (
        "none",
        "exchange",
        "adapt_gray",
    )
    assert A.Augmentation(0.5, 10, 0.5, 0.5, "adapt_gray") == SDCL_INFRARED
    assert A.augmentation("infrared", adapt_gray=False).channel == "none"
    assert A.Augmentation(0, 10, 0.5, 0.5, "exchange") == ADCA_VISIBLE_EXCHANGED


def test_bad_input_is_refused():
    with pytest.raises(ValueError, match="no view"):
        A.augmentation("infrared", "exchanged")
    with pytest.raises(ValueError, match="jitter"):
        A.Augmentation(jitter=0.6)
    with pytest.raises(ValueError, match="channel"):
        A.Augmentation(channel="grey")
    with pytest.raises(ValueError, match="probability"):
        A.Augmentation(flip=2)
    with pytest.raises(ValueError, match="uint8"):
        A.augment(torch.rand(2, 3, 24, 12), SDCL_INFRARED, [0, 1])
    for apply, name in ((G.apply_channel, "channel codes"), (G.apply_erasing, "rectangles")):
        with pytest.raises(ValueError, match=f"2 images need as many {name}"):
            apply(torch.rand(2, 3, 4, 4), [NO_BOX if name == "rectangles" else 1])
    with pytest.raises(ValueError, match="seeds"):
        A.augment(uint8_images(), SDCL_INFRARED, [0])
