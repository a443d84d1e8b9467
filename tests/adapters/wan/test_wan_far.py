"""AnyFlow-FAR block by block: its cached steps against its own masked pass, and in the loop."""

from __future__ import annotations

import copy
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import FlowMapEulerDiscreteScheduler
from torch import Tensor

from adapters.wan.checkpoints import save_folder
from adapters.wan.far import FarBlocks, FarContext, FarWan
from adapters.wan.loading import load_target
from adapters.wan.settings import PRESETS, read_settings
from adapters.wan.target import WanTarget
from adapters.wan.vae import WanVae
from mmspec.assembly import Recipe
from mmspec.trace import Trace
from tests.adapters.wan.tiny_far import random_far, whole_pass
from tests.adapters.wan.tiny_wan import CHANNELS, TEXT_WIDTH, random_vae, text_of
from video_ar.noise import BlockNoise
from video_ar.request import VideoRequest
from video_ar.rollout import rollout
from video_ar.schedule import few_steps

SHAPE = (CHANNELS, 3, 4, 8)  # 8 tokens a frame in full, 2 compressed
STRAIGHT = few_steps(fresh=False)
BLOCKS = 5


def blocks(count: int, shape: tuple[int, ...] = SHAPE) -> list[Tensor]:
    generator = torch.Generator().manual_seed(3)
    return [torch.randn(1, *shape, generator=generator) for _ in range(count)]


def context(model: FarBlocks, committed: list[Tensor]) -> FarContext:
    shape = tuple(blocks(1)[0].shape[1:])
    request = VideoRequest(9, shape, STRAIGHT, {"text": text_of(rows=1)})  # type: ignore[arg-type]
    opened = model.start(request)
    if committed:
        model.commit(committed, opened)
    return opened


@pytest.fixture(scope="module")
def far() -> FarBlocks:
    return FarBlocks(FarWan(random_far()))


@pytest.mark.parametrize("count", [0, 1, 2, 3, 5])
def test_a_cached_step_is_the_masked_whole_pass(far: FarBlocks, count: int) -> None:
    """With 3 blocks before and more, the oldest are compressed."""
    *clean, block = blocks(count + 1)
    start, end = STRAIGHT.timesteps[1:3]
    expected = whole_pass(random_far(), clean, block, start, end, text_of(rows=1))
    found = far.denoise(block, start, context(far, clean))
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
    if count:
        alone = far.denoise(block, start, context(far, []))
        assert not torch.isclose(alone, expected, atol=1e-2).all()


def cached_by_the_class(model: Any, clean: Tensor, block: Tensor, times: Tensor) -> Tensor:
    """One cached step with the processors that the class brings along."""
    tokens = block.shape[2] * block.shape[3] * block.shape[4] // 4
    empty = torch.zeros(2, 1, 2, 3 * tokens, 16)
    cache = {
        layer: {"full_cache": empty.clone(), "compressed_cache": empty[:, :, :, :0]}
        for layer in (0, 1)
    }
    size, zeros = block.shape[2], torch.zeros(1, block.shape[2])
    rest = {"encoder_hidden_states": text_of(rows=1), "kv_cache": cache, "return_dict": False}
    flag = {"num_cached_chunks": 0, "is_cache_step": True}
    with torch.no_grad():
        model(
            clean.transpose(1, 2), zeros, zeros, chunk_partition=[size], kv_cache_flag=flag, **rest
        )
        flag = {"num_cached_chunks": 1, "is_cache_step": False}
        start, end = times.unsqueeze(-1).expand(2, size).unsqueeze(1)
        out = model(
            block.transpose(1, 2),
            start,
            end,
            chunk_partition=[size] * 2,
            kv_cache_flag=flag,
            **rest,
        )[0]
    return out.transpose(1, 2)


def test_the_class_s_own_cached_step_reads_what_is_not_there(far: FarBlocks) -> None:
    """diffusers 0.42 fills up to 128 tokens without a mask; where nothing is to fill, it agrees."""
    times = torch.tensor(STRAIGHT.timesteps[1:3])
    for shape, agrees in (((CHANNELS, 3, 4, 8), False), ((CHANNELS, 2, 16, 16), True)):
        clean, block = blocks(2, shape)
        model = FarBlocks(FarWan(random_far(), shape[1]))
        opened = context(model, [clean])
        found = model.denoise(block, float(times[0]), opened)
        theirs = cached_by_the_class(random_far(), clean, block, times)
        assert torch.isclose(theirs, found, rtol=1e-3, atol=1e-3).all() == agrees
        expected = whole_pass(random_far(), [clean], block, *times.tolist(), text_of(rows=1))
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


def test_the_model_itself_answers_as_before() -> None:
    model, untouched = random_far(), random_far()
    FarWan(FarWan(model).model)
    *clean, block = blocks(3)
    given = (clean, block, 800.0, 600.0, text_of(rows=1))
    assert torch.equal(whole_pass(model, *given), whole_pass(untouched, *given))


def test_passes_of_any_size_leave_one_context(far: FarBlocks) -> None:
    *clean, block = blocks(5)
    at_once = context(far, clean)
    opened = context(far, [])
    for one in clean:
        far.commit([one], opened)
        far.denoise(block, 1000.0, opened)
    assert torch.equal(far.denoise(block, 1000.0, opened), far.denoise(block, 1000.0, at_once))


def test_a_rollout_is_the_flow_map_s_euler(far: FarBlocks) -> None:
    scheduler = FlowMapEulerDiscreteScheduler(shift=5.0)
    scheduler.set_timesteps(4)
    assert STRAIGHT.timesteps == pytest.approx(scheduler.timesteps.tolist())
    opened = context(far, blocks(2))
    noise = BlockNoise([4]).steps(2, SHAPE)
    made = rollout(far, opened, noise(0), noise, STRAIGHT)
    state = noise(0)
    for step, time in enumerate(scheduler.timesteps):
        torch.testing.assert_close(made.states[step], state, rtol=1e-4, atol=1e-4)
        until = float(scheduler.sigmas[step + 1]) * 1000
        asked = (opened.text, opened.layers, 2)
        velocity = far.wan.velocity(state, float(time), until, *asked)
        state = scheduler.step(velocity, time, state, return_dict=False)[0]
    torch.testing.assert_close(made.x0, state, rtol=1e-4, atol=1e-4)
    half = rollout(far, opened, made.state(2), noise, STRAIGHT, 2)
    assert torch.equal(half.x0, made.x0)


def test_a_step_leads_where_the_schedule_says(far: FarBlocks) -> None:
    opened, block = context(far, []), blocks(1)[0]
    straight = far.denoise(block, STRAIGHT.timesteps[0], opened)
    opened.schedule = few_steps()
    clean = far.denoise(block, STRAIGHT.timesteps[0], opened)
    expected = far.wan.velocity(block, 1000.0, 0.0, opened.text, opened.layers, 0)
    assert torch.equal(clean, expected)
    assert not torch.isclose(clean, straight, atol=1e-3).all()


def encode(prompt: str) -> Tensor:
    return text_of(seed=len(prompt), rows=1)


def target(seed: int, vae: WanVae, schedule: Any = STRAIGHT) -> WanTarget:
    return WanTarget(FarBlocks(FarWan(random_far(seed))), vae, schedule, encode)


def film(method: str, big: WanTarget, small: Any = None, **options: Any) -> Any:
    recipe = Recipe.choose(method, small, family="video", strict=True, **options)
    engine = recipe.engine(big, lambda path: path)  # type: ignore[arg-type, return-value]
    made: list[Any] = []
    wanted = big.request("a ball", BLOCKS, 32, 64, decode=False)
    units, _ = engine.generate(wanted, Trace(), [5], on_commit=lambda c: made.extend(c.made))
    latents = torch.cat([block.latents for block in made], 2)
    return latents, [record.decision for record in units[0]]


@pytest.mark.parametrize("schedule", [STRAIGHT, few_steps()], ids=["flow map", "fresh noise"])
def test_identities_in_the_loop(schedule: Any) -> None:
    vae = WanVae(random_vae(base_dim=4))
    big, small = target(0, vae, schedule), target(1, vae, schedule)
    plain, _ = film("none", big)
    never, decisions = film("target-check", big, small, threshold=math.inf, stitch=0)
    assert torch.equal(never, plain)
    assert decisions == ["forced"] + ["regenerated"] * (BLOCKS - 1)
    always, _ = film("target-check", big, small, threshold=-math.inf)
    first, _ = film("first-block", big, small)
    assert torch.equal(always, first)
    assert torch.equal(first[:, :, :3], plain[:, :, :3])
    assert not torch.isclose(first[:, :, 3:], plain[:, :, 3:], atol=1e-3).all()
    twin, _ = film("stride", big, target(0, vae, schedule), k=2)
    assert torch.equal(twin, plain)


def test_folders_are_read(tmp_path: Path) -> None:
    model = random_far(2, gate_value=0.4)
    save_folder(model, tmp_path / "pipe" / "transformer")
    save_folder(random_vae(base_dim=4), tmp_path / "pipe" / "vae")
    read = load_target(tmp_path / "pipe", tmp_path / "pipe", encoder=encode)
    assert isinstance(read.model, FarBlocks)
    assert not read.schedule.fresh
    *clean, block = blocks(3)
    ours, theirs = (
        one.denoise(block, 1000.0, context(one, clean))
        for one in (read.model, FarBlocks(FarWan(model)))
    )
    assert torch.equal(ours, theirs)
    assert read_settings(tmp_path / "pipe") == PRESETS["anyflow-far"]
    assert read_settings(tmp_path / "pipe").schedule == read.schedule
    with pytest.raises(ValueError, match="past of its own"):
        load_target(tmp_path / "pipe", tmp_path / "pipe", encoder=encode, window=6)


def test_what_does_not_fit_is_refused(far: FarBlocks) -> None:
    with pytest.raises(ValueError, match="full_chunk_limit=1"):
        FarWan(random_far(full_chunk_limit=1))
    with pytest.raises(ValueError, match="block_frames=0"):
        FarWan(random_far(), 0)
    pictures = copy.copy(random_far())
    pictures.register_to_config(image_dim=8)
    with pytest.raises(ValueError, match="use text-to-video"):
        FarWan(pictures)
    odd = VideoRequest(2, (CHANNELS, 3, 4, 6), STRAIGHT, {"text": text_of(rows=1)})
    with pytest.raises(ValueError, match="cannot be cut into patches of 4 x 4"):
        far.start(odd)
    with pytest.raises(ValueError, match="no step starts at 3"):
        STRAIGHT.until(3.0)
    assert far.wan.model.config.text_dim == TEXT_WIDTH
