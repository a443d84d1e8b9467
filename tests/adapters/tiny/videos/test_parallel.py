"""One training pass over all blocks gives what the block-by-block model gives one at a time."""

from __future__ import annotations

import copy

import pytest
import torch
from diffusers import WanTransformer3DModel

from adapters.tiny.videos.parallel import install_parallel, teacher_forced
from adapters.wan.blocks import BlockCausalWan


def _model() -> WanTransformer3DModel:
    torch.manual_seed(0)
    model = WanTransformer3DModel(
        patch_size=(1, 2, 2),
        num_attention_heads=2,
        attention_head_dim=12,
        in_channels=3,
        out_channels=3,
        text_dim=5,
        freq_dim=8,
        ffn_dim=16,
        num_layers=2,
        rope_max_seq_len=16,
    )
    return model.eval()


def test_the_parallel_pass_equals_denoising_block_by_block() -> None:
    model = _model()
    clean, noisy = torch.randn(2, 2, 3, 6, 4, 4).unbind()
    text, times = torch.randn(2, 7, 5), torch.tensor([[1000.0, 625.0, 80.0], [30.0, 400.0, 900.0]])
    with torch.no_grad():
        found = teacher_forced(install_parallel(copy.deepcopy(model)), clean, noisy, times, text, 2)
    blocks = BlockCausalWan(model, block_frames=2)
    context = blocks.context(text, 4, 4, 6)
    for index in range(3):
        part = slice(2 * index, 2 * index + 2)
        wanted = blocks.denoise(noisy[:, :, part], times[:, index], context)
        torch.testing.assert_close(found[:, :, part], wanted, rtol=1e-4, atol=1e-5)
        blocks.commit([clean[:, :, part]], context)


def test_gradients_of_a_block_reach_the_clean_blocks_before_it_only() -> None:
    model = install_parallel(_model())
    clean = torch.randn(1, 3, 6, 4, 4, requires_grad=True)
    noisy = torch.randn(1, 3, 6, 4, 4, requires_grad=True)
    out = teacher_forced(model, clean, noisy, torch.full((1, 3), 500.0), torch.randn(1, 2, 5), 2)
    out[:, :, 2:4].square().sum().backward()
    assert clean.grad is not None
    assert noisy.grad is not None
    seen = clean.grad.abs().sum(dim=(0, 1, 3, 4)) > 0
    assert seen.tolist() == [True, True, False, False, False, False]
    own = noisy.grad.abs().sum(dim=(0, 1, 3, 4)) > 0
    assert own.tolist() == [False, False, True, True, False, False]


def test_frames_have_to_fill_blocks() -> None:
    video = torch.randn(1, 3, 6, 4, 4)
    with pytest.raises(ValueError, match="6 frames do not make 2 blocks of 2"):
        teacher_forced(_model(), video, video, torch.zeros(1, 2), torch.randn(1, 2, 5), 2)
