"""The cache filled anew: which frames a block sees, and which picture stands at their head."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from adapters.wan.blocks import BlockCausalWan
from adapters.wan.rebuilding import RebuiltWan, Recent
from adapters.wan.vae import WanVae
from tests.adapters.wan.tiny_wan import HEIGHT, WIDTH, noise_of, random_vae, random_wan, text_of
from video_ar.request import VideoRequest
from video_ar.schedule import few_steps

BLOCKS = 3


@pytest.fixture(scope="module")
def wan() -> BlockCausalWan:
    return BlockCausalWan(random_wan(num_layers=2))


@pytest.fixture(scope="module")
def vae() -> WanVae:
    return WanVae(random_vae())


def blocks(count: int = BLOCKS) -> tuple[Tensor, ...]:
    return noise_of(3 * count, seed=8, rows=1).split(3, dim=2)


def started(model: RebuiltWan) -> Recent:
    shape = (4, 3, HEIGHT, WIDTH)
    conditions = {"text": text_of(rows=1)}
    return model.start(VideoRequest(BLOCKS, shape, few_steps(), conditions))


def answer(model: RebuiltWan, context: Recent) -> Tensor:
    return model.denoise(noise_of(3, seed=9, rows=1), 500.0, context)


def seen(model: RebuiltWan, passes: Any) -> Tensor:
    """The velocity after some passes over committed blocks."""
    context = started(model)
    for part in passes:
        model.commit(part, context)
    return answer(model, context)


@pytest.mark.parametrize("keep", [1, 2, 3, 5])
def test_the_oldest_kept_picture_is_encoded_anew(
    wan: BlockCausalWan, vae: WanVae, keep: int
) -> None:
    """Told from the whole video: no stream, no window of pictures."""
    model = RebuiltWan(wan, keep, vae)
    latents = torch.cat(blocks(), dim=2)
    pictures = vae.decode(latents)[0]
    oldest = pictures[:, :, 4 * (9 - keep)]  # the last picture of the frame before the kept ones
    context = started(model)
    first = vae.encode(oldest.unsqueeze(2))[0]
    wan.rebuild(latents, context.inner, keep, first)
    expected = answer(model, context)
    torch.testing.assert_close(seen(model, [[block] for block in blocks()]), expected)
    true_first = seen(RebuiltWan(wan, keep), [[block] for block in blocks()])
    assert not torch.isclose(true_first, expected, atol=1e-3).all()


def test_while_the_first_frame_is_in_the_window_it_stays(wan: BlockCausalWan, vae: WanVae) -> None:
    for keep, count in ((3, 1), (6, 2), (9, 3)):
        passes = [[block] for block in blocks(count)]
        anew, plain = (seen(RebuiltWan(wan, keep, part), passes) for part in (vae, None))
        assert torch.equal(anew, plain)


def test_late_passes_give_what_early_ones_give(wan: BlockCausalWan, vae: WanVae) -> None:
    model = RebuiltWan(wan, 3, vae)
    one_by_one = seen(model, [[block] for block in blocks()])
    torch.testing.assert_close(seen(model, [list(blocks())]), one_by_one)
    torch.testing.assert_close(seen(model, [blocks()[:1], blocks()[1:]]), one_by_one)


def test_only_the_window_s_pictures_are_kept(wan: BlockCausalWan, vae: WanVae) -> None:
    model = RebuiltWan(wan, 3, vae)
    context = started(model)
    for block in blocks():
        model.commit([block], context)
        assert context.pictures is not None
        assert context.pictures.shape[2] == 9
    torch.testing.assert_close(context.pictures, vae.decode(torch.cat(blocks(), 2))[0][:, :, -9:])
