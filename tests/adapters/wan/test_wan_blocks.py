"""Block by block with a cache gives what one masked pass over the whole video gives."""

from __future__ import annotations

import random
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import torch
from torch import Tensor

from adapters.wan.blocks import BlockCausalWan
from tests.adapters.wan.tiny_wan import (
    CHANNELS,
    HEIGHT,
    TOKENS,
    WIDTH,
    last_block,
    noise_of,
    random_wan,
    text_of,
    whole_pass,
)
from video_ar.noise import BlockNoise
from video_ar.rollout import rollout
from video_ar.schedule import few_steps

CLOSE = {"rtol": 0.0, "atol": 1e-5}


@pytest.fixture(scope="module")
def model() -> Any:
    return random_wan()


@pytest.fixture(scope="module")
def wan(model: Any) -> BlockCausalWan:
    return BlockCausalWan(model)


def blocks_of(count: int, frames: int = 3, seed: int = 0, rows: int = 2) -> list[Tensor]:
    return [noise_of(frames, 100 * seed + index, rows) for index in range(count)]


def test_the_oracle_needs_every_ingredient(model: Any) -> None:
    """Otherwise agreeing with it would mean little."""
    committed, block, text = blocks_of(2), noise_of(3, 9), text_of()
    right = last_block(model, committed, block, 500.0, text)
    wrong = [
        last_block(model, committed[1:], block, 500.0, text),
        last_block(model, committed[::-1], block, 500.0, text),
        last_block(model, committed, block, 490.0, text),
        last_block(model, committed, block, 500.0, text_of(6)),
        last_block(model, committed, block, 500.0, text, window=6),
    ]
    assert min(float((other - right).abs().max()) for other in wrong) > 1e-2


def test_a_plain_call_of_the_model_stays_the_same() -> None:
    model = random_wan(3)
    call = {
        "hidden_states": noise_of(3, 1),
        "timestep": torch.tensor([300.0, 20.0]),
        "encoder_hidden_states": text_of(),
        "return_dict": False,
    }
    before = model(**call)[0]
    BlockCausalWan(model)
    assert torch.equal(model(**call)[0], before)
    model.set_attention_backend("native")
    assert torch.equal(model(**call)[0], before)


def test_steps_overwrite_and_commits_append(model: Any, wan: BlockCausalWan) -> None:
    text = text_of()
    context = wan.context(text, HEIGHT, WIDTH, frames=9)
    committed: list[Tensor] = []
    for index in range(3):
        for timestep in (1000.0, 937.5, 625.0):
            noisy = noise_of(3, 17 * index + int(timestep))
            velocity = wan.denoise(noisy, timestep, context)
            expected = last_block(model, committed, noisy, timestep, text)
            torch.testing.assert_close(velocity, expected, **CLOSE)
        committed.append(noise_of(3, 50 + index))
        wan.commit(committed[-1:], context)
    assert context.cache.end == context.cache.held == 9


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("window", [None, 7])
def test_any_history_of_accepts_and_rejects(
    model: Any, wan: BlockCausalWan, seed: int, window: int | None
) -> None:
    """Drafts that were denoised, committed and taken back leave no trace."""
    chance, text, sink = random.Random(seed), text_of(), 1
    frames, rolls = (30, None) if window is None else (window, sink)
    context = wan.context(text, HEIGHT, WIDTH, frames, rolls)
    committed: list[Tensor] = []
    for index in range(5):
        mark = context.cache.mark()
        for draft in range(chance.randrange(3)):
            wan.denoise(noise_of(3, 1000 * index + draft), 937.5, context)
            wan.commit(blocks_of(chance.randrange(1, 4), seed=77 + index), context)
        context.cache.rollback(mark)
        noisy = noise_of(3, 300 + index)
        velocity = wan.denoise(noisy, 833.0, context)
        expected = last_block(model, committed, noisy, 833.0, text, window, sink)
        torch.testing.assert_close(velocity, expected, **CLOSE)
        committed.append(noise_of(3, 400 + 10 * seed + index))
        wan.commit(committed[-1:], context)
    assert context.cache.end == 15


def test_marks_that_are_not_taken_back_to_do_not_matter(model: Any, wan: BlockCausalWan) -> None:
    text, committed = text_of(), blocks_of(4)
    context = wan.context(text, HEIGHT, WIDTH, 7, sink=1)
    wan.commit(committed[:2], context)
    early = context.cache.mark()
    wan.commit(blocks_of(2, seed=4), context)
    late = context.cache.mark()
    wan.commit(blocks_of(1, seed=5), context)
    context.cache.rollback(late)
    context.cache.rollback(early)
    with pytest.raises(ValueError, match="taken back beyond"):
        context.cache.rollback(late)
    wan.commit(committed[2:], context)
    context.cache.rollback(early)
    wan.commit(committed[2:], context)
    noisy = noise_of(3, 5)
    expected = last_block(model, committed, noisy, 625.0, text, 7, 1)
    torch.testing.assert_close(wan.denoise(noisy, 625.0, context), expected, **CLOSE)


@pytest.mark.parametrize(("frames", "sink"), [(18, None), (7, 1), (6, 0), (8, 2)])
@pytest.mark.parametrize("parts", [(1, 1, 1, 1, 1), (2, 3), (5,)])
def test_late_commits_equal_commits_at_once(
    wan: BlockCausalWan, frames: int, sink: int | None, parts: tuple[int, ...]
) -> None:
    text, clean = text_of(), blocks_of(5)
    eager, lazy = (wan.context(text, HEIGHT, WIDTH, frames, sink) for _ in range(2))
    for block in clean:
        wan.commit([block], eager)
    start = 0
    for part in parts:
        wan.commit(clean[start : start + part], lazy)
        start += part
    for layer in range(3):
        for one, other in zip(eager.cache.stored(layer), lazy.cache.stored(layer), strict=True):
            torch.testing.assert_close(one, other, **CLOSE)
    noisy = noise_of(3, 99)
    torch.testing.assert_close(
        wan.denoise(noisy, 937.5, lazy), wan.denoise(noisy, 937.5, eager), **CLOSE
    )


def test_one_pass_over_all_blocks_is_the_masked_pass(model: Any, wan: BlockCausalWan) -> None:
    """The velocity of every block of a lazy commit, not only the keys it leaves behind."""
    text, clean = text_of(), blocks_of(4)
    context = wan.context(text, HEIGHT, WIDTH, 12)
    out, _ = wan._forward(torch.cat(clean, dim=2), [3] * 4, 0.0, context)
    expected = whole_pass(model, clean, torch.zeros(2, 12), text)
    torch.testing.assert_close(out, expected, **CLOSE)


def test_the_sink_keeps_the_first_frame_bit_for_bit(model: Any, wan: BlockCausalWan) -> None:
    text, clean = text_of(), blocks_of(6)
    context = wan.context(text, HEIGHT, WIDTH, frames=7, sink=1)
    wan.commit(clean[:1], context)
    first = [context.cache.stored(layer) for layer in range(3)]
    second = context.cache.stored(0)[0][:, 1]
    for block in clean[1:]:
        wan.commit([block], context)
    assert (context.cache.end, context.cache.held) == (18, 7)
    for layer, (keys, values) in enumerate(first):
        now = context.cache.stored(layer)
        assert torch.equal(now[0][:, 0], keys[:, 0])
        assert torch.equal(now[1][:, 0], values[:, 0])
    assert not torch.isclose(context.cache.stored(0)[0][:, 1], second).all()
    noisy = noise_of(3, 31)
    velocity = wan.denoise(noisy, 833.0, context)
    torch.testing.assert_close(
        velocity, last_block(model, clean, noisy, 833.0, text, 7, 1), **CLOSE
    )


def test_a_window_is_read_without_copies(wan: BlockCausalWan) -> None:
    context = wan.context(text_of(), HEIGHT, WIDTH, frames=7, sink=1)
    for block in blocks_of(4):
        wan.commit([block], context)
    (segment,) = context.cache.plan([3])
    assert sorted(segment.read) == list(range(7))
    before = context.cache.nbytes()
    states = torch.randn(2, 3 * TOKENS, 2, 16)
    keys, _ = context.cache.exchange(0, segment, states, states)
    assert keys.data_ptr() == context.cache._buffers[0][0].data_ptr()  # type: ignore[index]
    assert context.cache.nbytes() == before == 3 * 2 * 2 * 7 * TOKENS * 32 * 4


def test_blocks_of_another_length(model: Any, wan: BlockCausalWan) -> None:
    """A first block of one frame, as image to video has it, and slots that lie apart."""
    text, clean = text_of(), [noise_of(1, 1), noise_of(3, 2), noise_of(2, 3), noise_of(3, 4)]
    context = wan.context(text, HEIGHT, WIDTH, frames=6, sink=1)
    for index, block in enumerate(clean):
        expected = last_block(model, clean[:index], block, 700.0, text, 6, 1)
        torch.testing.assert_close(wan.denoise(block, 700.0, context), expected, **CLOSE)
        wan.commit([block], context)


def test_timesteps_of_rows_frames_and_tokens(model: Any, wan: BlockCausalWan) -> None:
    text, clean, noisy = text_of(), blocks_of(1), noise_of(3, 8)
    context = wan.context(text, HEIGHT, WIDTH, 6)
    wan.commit(clean, context)
    frames = torch.tensor([[1000.0, 700.0, 40.0], [3.0, 500.0, 937.5]])
    by_frame = wan.denoise(noisy, frames, context)
    torch.testing.assert_close(by_frame, last_block(model, clean, noisy, frames, text), **CLOSE)
    by_token = wan.denoise(noisy, frames.repeat_interleave(TOKENS, dim=1), context)
    assert torch.equal(by_token, by_frame)
    rows = torch.tensor([250.0, 800.0])
    torch.testing.assert_close(
        wan.denoise(noisy, rows, context),
        wan.denoise(noisy, rows[:, None].expand(2, 3), context),
        **CLOSE,
    )
    torch.testing.assert_close(
        wan.denoise(noisy, 250.0, context)[0], wan.denoise(noisy, rows, context)[0], **CLOSE
    )


@pytest.mark.parametrize("length", [1, 2, 3, 4, 9])
def test_rebuilding_numbers_frames_anew(model: Any, wan: BlockCausalWan, length: int) -> None:
    """Krea's context is the first frame and the last two, as one block at frames 0 to 2."""
    text, latents, noisy = text_of(), noise_of(length, 2), noise_of(3, 3)
    kept = latents if length <= 3 else latents[:, :, [0, length - 2, length - 1]]
    context = wan.context(text, HEIGHT, WIDTH, frames=6)
    wan.commit(blocks_of(1), context)
    wan.rebuild(latents, context)
    assert context.cache.end == min(length, 3)
    expected = last_block(model, [kept], noisy, 833.0, text)
    torch.testing.assert_close(wan.denoise(noisy, 833.0, context), expected, **CLOSE)
    other = noise_of(1, 6)
    wan.rebuild(latents, context, first=other)
    kept = torch.cat((other, kept[:, :, 1:]), dim=2)
    expected = last_block(model, [kept], noisy, 833.0, text)
    torch.testing.assert_close(wan.denoise(noisy, 833.0, context), expected, **CLOSE)


def test_rebuilding_a_whole_short_video_is_committing_it(wan: BlockCausalWan) -> None:
    text, clean, noisy = text_of(), blocks_of(3), noise_of(3, 3)
    rebuilt, grown = (wan.context(text, HEIGHT, WIDTH, frames=12) for _ in range(2))
    wan.rebuild(torch.cat(clean, dim=2), rebuilt, keep=9)
    for block in clean:
        wan.commit([block], grown)
    torch.testing.assert_close(
        wan.denoise(noisy, 833.0, rebuilt), wan.denoise(noisy, 833.0, grown), **CLOSE
    )


def _video(wan: BlockCausalWan, seed: int, frames: int = 9) -> Tensor:
    text = text_of(seed, rows=1)
    context = wan.context(text, HEIGHT, WIDTH, frames, sink=None)
    noise, shape, schedule = BlockNoise([seed]), (CHANNELS, 3, HEIGHT, WIDTH), few_steps()
    out = []
    for block in range(frames // 3):
        draws = noise.steps(block, shape)
        made = rollout(wan, context, draws(0), draws, schedule)
        wan.commit([made.x0], context)
        out.append(made.x0)
    return torch.cat(out, dim=2)


def test_requests_at_the_same_time_do_not_disturb_each_other(
    model: Any, wan: BlockCausalWan
) -> None:
    """Two threads meet in the middle of every forward pass of the one model."""
    alone = [_video(wan, seed) for seed in (1, 2)]
    assert not torch.isclose(*alone).any()
    meeting = threading.Barrier(2)

    def meet(*_: Any) -> None:
        meeting.wait()

    def work(seed: int) -> Tensor:
        try:
            return _video(wan, seed)
        except BaseException:
            meeting.abort()  # or the other thread would wait for ever
            raise

    hook = model.blocks[1].register_forward_pre_hook(meet)
    with ThreadPoolExecutor(2) as threads:
        together = list(threads.map(work, (1, 2)))
    hook.remove()
    for video, expected in zip(together, alone, strict=True):
        torch.testing.assert_close(video, expected, **CLOSE)


def test_rows_of_a_batch_do_not_disturb_each_other(wan: BlockCausalWan) -> None:
    text, clean, noisy = text_of(), blocks_of(2), noise_of(3, 3)
    both = wan.context(text, HEIGHT, WIDTH, 9)
    wan.commit(clean, both)
    velocity = wan.denoise(noisy, 625.0, both)
    for row in range(2):
        alone = wan.context(text[row : row + 1], HEIGHT, WIDTH, 9)
        wan.commit([block[row : row + 1] for block in clean], alone)
        one = wan.denoise(noisy[row : row + 1], 625.0, alone)
        torch.testing.assert_close(one, velocity[row : row + 1], **CLOSE)


def test_text_keys_may_be_shared(wan: BlockCausalWan) -> None:
    first = wan.context(text_of(), HEIGHT, WIDTH, 3)
    second = wan.context(first.text, HEIGHT, WIDTH, 3)
    noisy = noise_of(3, 1)
    assert torch.equal(wan.denoise(noisy, 9.0, first), wan.denoise(noisy, 9.0, second))


def test_fused_projections_and_other_formats() -> None:
    model, text, clean, noisy = random_wan(2), text_of(), blocks_of(1), noise_of(3, 3)
    wan = BlockCausalWan(model)

    def velocity() -> Tensor:
        context = wan.context(text, HEIGHT, WIDTH, 6)
        wan.commit(clean, context)
        return wan.denoise(noisy, 625.0, context)

    apart = velocity()
    model.fuse_qkv_projections()
    torch.testing.assert_close(velocity(), apart, **CLOSE)
    model.unfuse_qkv_projections()
    model.to(torch.bfloat16)
    coarse = velocity()
    assert coarse.dtype == torch.float32
    assert float((coarse - apart).norm() / apart.norm()) < 0.1


def test_user_errors_say_what_to_do(wan: BlockCausalWan) -> None:
    context = wan.context(text_of(), HEIGHT, WIDTH, frames=4)
    wan.commit(blocks_of(1), context)
    with pytest.raises(ValueError, match="room for 4 frames and 6 are needed"):
        wan.denoise(noise_of(3, 1), 10.0, context)
    with pytest.raises(ValueError, match="prompt has 2 rows and the block 1"):
        wan.denoise(noise_of(1, 1, rows=1), 10.0, context)
    with pytest.raises(ValueError, match="fit neither 2 rows"):
        wan.denoise(noise_of(1, 1), torch.ones(3), context)
    with pytest.raises(ValueError, match="frames of 6 tokens"):
        wan.denoise(noise_of(1, 1)[..., :4], 10.0, context)
    rolling = wan.context(text_of(), HEIGHT, WIDTH, frames=4, sink=1)
    wan.commit(blocks_of(1), rolling)
    with pytest.raises(ValueError, match="does not fit a window of 4"):
        wan.denoise(noise_of(4, 1), 10.0, rolling)
    with pytest.raises(ValueError, match="more frames than the sink"):
        wan.context(text_of(), HEIGHT, WIDTH, frames=2, sink=2)
    short = BlockCausalWan(random_wan(rope_max_seq_len=5))
    with pytest.raises(ValueError, match="knows 5 positions"):
        short.denoise(noise_of(6, 1), 10.0, short.context(text_of(), HEIGHT, WIDTH, 6))
    with pytest.raises(ValueError, match="text-to-video"):
        BlockCausalWan(random_wan(added_kv_proj_dim=32, image_dim=8))
    with pytest.raises(ValueError, match="patch_size"):
        BlockCausalWan(random_wan(patch_size=(2, 2, 2)))
    other = wan.context(text_of(), HEIGHT, WIDTH, frames=4)
    with pytest.raises(ValueError, match="another cache"):
        other.cache.rollback(context.cache.mark())
