"""Frames that start later turn as the same frames of a longer video do."""

from __future__ import annotations

import pytest
import torch
from diffusers.models.transformers.transformer_wan import WanRotaryPosEmbed

from adapters.wan.rope import frame_rotation, rotate


@pytest.mark.parametrize("head", [12, 16, 128])
def test_a_later_start_is_a_part_of_a_longer_video(head: int) -> None:
    """For 128 channels: 44 for time, 42 for each side."""
    rope = WanRotaryPosEmbed(head, (1, 2, 2), 64)
    cosines, sines = rope(torch.empty(1, 1, 9, 6, 10))
    heads = torch.randn(2, 9 * 15, 3, head, generator=torch.Generator().manual_seed(0))
    # The same as complex numbers: neighbouring channels are one number.
    turns = torch.complex(cosines[..., 0::2], sines[..., 0::2])
    pairs = torch.view_as_complex(heads.unflatten(-1, (-1, 2)))
    expected = torch.view_as_real(pairs * turns).flatten(-2)
    torch.testing.assert_close(rotate(heads, frame_rotation(rope, 0, 9, 3, 5)), expected)
    later = rotate(heads[:, 4 * 15 : 7 * 15], frame_rotation(rope, 4, 3, 3, 5))
    torch.testing.assert_close(later, expected[:, 4 * 15 : 7 * 15])
    wrong = rotate(heads[:, 4 * 15 : 7 * 15], frame_rotation(rope, 5, 3, 3, 5))
    assert float((wrong - later).abs().max()) > 0.1


def test_the_format_of_queries_is_kept() -> None:
    rope = WanRotaryPosEmbed(16, (1, 2, 2), 64)
    heads = torch.randn(1, 4, 2, 16, generator=torch.Generator().manual_seed(0))
    rotation = frame_rotation(rope, 3, 1, 2, 2)
    coarse = rotate(heads.bfloat16(), rotation)
    assert coarse.dtype == torch.bfloat16
    torch.testing.assert_close(coarse.float(), rotate(heads, rotation), rtol=0.02, atol=0.03)


def test_positions_end() -> None:
    rope = WanRotaryPosEmbed(16, (1, 2, 2), 8)
    assert frame_rotation(rope, 5, 3, 2, 2)[0].shape == (1, 12, 1, 8)
    with pytest.raises(ValueError, match="knows 8 positions"):
        frame_rotation(rope, 6, 3, 2, 2)
