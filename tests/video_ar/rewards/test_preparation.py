"""Squares for image encoders: which pixels are seen, and how near to the published resizing."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from tests.video_ar.rewards.words import frames
from video_ar.rewards.preparation import crop_square, normalised, pad_square


def test_a_square_of_the_right_size_is_left_alone() -> None:
    clip = frames(2, 32, 32)
    assert torch.equal(crop_square(clip, 32), clip)
    assert torch.equal(pad_square(clip, 32), clip)


@pytest.mark.parametrize(("height", "width"), [(32, 80), (80, 32), (32, 33)])
def test_the_crop_is_the_middle(height: int, width: int) -> None:
    clip = frames(1, height, width)
    top, left = round((height - 32) / 2), round((width - 32) / 2)
    assert torch.equal(crop_square(clip, 32), clip[..., top : top + 32, left : left + 32])


def test_a_published_frame_loses_42_percent_of_its_width() -> None:
    """Marks outside the middle 480 of 832 columns are not seen; padding shows them."""
    for width, seen in ((170, False), (182, True)):
        clip = torch.zeros(1, 3, 480, 832)
        clip[..., :width] = clip[..., -width:] = 1.0
        assert (float(crop_square(clip, 224).max()) > 0) is seen
        assert float(pad_square(clip, 224).max()) == pytest.approx(1.0)


def test_padding_is_black_and_even() -> None:
    padded = pad_square(torch.ones(1, 3, 480, 832), 224)
    rows = padded[0, 0, :, 0]
    assert int(rows.sum()) == round(480 * 224 / 832) == 129
    assert rows.nonzero()[0].item() == (224 - 129) // 2


@pytest.mark.parametrize("fit", [crop_square, pad_square])
def test_values_stay_in_range(fit: object) -> None:
    clip = (frames(2, 50, 90) > 0.5).float()
    found = fit(clip, 32)  # type: ignore[operator]
    assert found.shape == (2, 3, 32, 32)
    assert 0 <= float(found.min()) <= float(found.max()) <= 1


def test_resizing_is_near_the_published_one() -> None:
    """Pillow rounds to 8 bits between its two passes."""
    clip = (frames(1, 96, 160) * 255).round() / 255
    array = (clip[0].permute(1, 2, 0).numpy() * 255).round().astype(np.uint8)
    small = Image.fromarray(array).resize((53, 32), Image.Resampling.BICUBIC)
    left = round((53 - 32) / 2)
    expected = np.asarray(small)[:, left : left + 32].astype(float)
    found = crop_square(clip, 32)[0].permute(1, 2, 0).numpy() * 255
    assert np.abs(found - expected).max() <= 3
    assert np.abs(found - expected).mean() < 0.5


def test_normalisation() -> None:
    grey = normalised(torch.full((1, 3, 1, 1), 0.5)).flatten()
    assert grey.tolist() == pytest.approx([0.06904, 0.16139, 0.33284], abs=1e-4)
