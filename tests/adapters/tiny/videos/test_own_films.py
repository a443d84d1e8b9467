"""What a drafter learns on films that it continues itself."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor

from adapters.tiny.videos import own_films
from adapters.tiny.videos.own_films import Continued, OwnFilms, continue_films, continued_loss
from adapters.tiny.videos.parallel import install_parallel
from adapters.tiny.videos.wan_shape import BLOCK_FRAMES, BLOCKS
from adapters.wan.blocks import BlockCausalWan
from tests.adapters.wan.tiny_wan import TEXT_WIDTH, random_wan
from video_ar.noise import BlockNoise
from video_ar.rollout import rollout
from video_ar.schedule import few_steps

SEEDS = (4, 9, 2)
FIRST = slice(0, BLOCK_FRAMES)


def wide(seed: int) -> torch.nn.Module:
    """A random model with as many channels as the embedded autoencoder has."""
    torch.manual_seed(0)
    return random_wan(seed, in_channels=12, out_channels=12)


def text_of(rows: int) -> Tensor:
    return torch.randn(rows, 5, TEXT_WIDTH, generator=torch.Generator().manual_seed(3))


def films(target: int = 0, drafter: int = 1) -> Continued:
    models = (BlockCausalWan(wide(seed), BLOCK_FRAMES) for seed in (target, drafter))
    return continue_films(*models, text_of(3), SEEDS)


def test_the_target_writes_the_first_block_and_the_drafter_the_rest() -> None:
    made = films()
    assert made.latents.shape == (3, 12, BLOCK_FRAMES * BLOCKS, 8, 8)
    assert torch.equal(made.guesses[:, -1], made.latents)
    assert torch.equal(films(drafter=2).latents[:, :, FIRST], made.latents[:, :, FIRST])
    assert not torch.isclose(films(drafter=2).latents, made.latents).all()
    # Two blocks of one row by hand.
    row, text = 1, text_of(3)[1:2]
    noise, shape = BlockNoise([SEEDS[row]]), (12, BLOCK_FRAMES, 8, 8)
    done: list[Tensor] = []
    for block, seed in enumerate((0, 1)):
        model = BlockCausalWan(wide(seed), BLOCK_FRAMES)
        context = model.context(text, 8, 8, BLOCK_FRAMES * BLOCKS)
        model.commit(done, context)
        step_noise = noise.steps(block, shape)
        done.append(rollout(model, context, step_noise(0), step_noise, few_steps()).x0)
    found = made.latents[row : row + 1, :, : 2 * BLOCK_FRAMES]
    torch.testing.assert_close(found, torch.cat(done, 2), atol=2e-4, rtol=1e-3)


def test_a_pupil_learns_nothing_from_itself() -> None:
    model, made = install_parallel(wide(1)), films()
    other = install_parallel(wide(0)).requires_grad_(True)
    assert continued_loss(model, copy.deepcopy(model), made, 7) == 0
    loss = continued_loss(other, model, made, 7)
    loss.backward()
    assert loss > 1e-3
    assert all(weight.grad is None for weight in model.parameters())
    first = made.latents.clone()
    first[:, :, -BLOCK_FRAMES:] += 1  # nothing follows the last block: it is no history
    assert continued_loss(other, model, Continued(first, made.guesses, made.text), 7) == loss


def test_states_are_those_of_the_sampler(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each block is at one step, in the noised guess of the step before."""
    made, seen = films(), {}

    def answer(model: str, clean: Tensor, noisy: Tensor, times: Tensor, *rest: object) -> Tensor:
        seen.update(clean=clean, noisy=noisy, times=times)
        return torch.zeros_like(noisy)

    monkeypatch.setattr(own_films, "teacher_forced", answer)
    continued_loss("pupil", "teacher", made, 5)
    schedule = few_steps()
    assert torch.equal(seen["clean"], made.latents)
    visited = set()
    for row in range(3):
        for block in range(BLOCKS):
            part = slice(block * BLOCK_FRAMES, (block + 1) * BLOCK_FRAMES)
            time = float(seen["times"][row, block])
            (step,) = [i for i, one in enumerate(schedule.sigmas) if abs(1000 * one - time) < 1e-2]
            sigma, noisy = schedule.sigmas[step], seen["noisy"][row, :, part]
            visited.add(step)
            guess = made.guesses[row, max(step - 1, 0), :, part]
            noise = (noisy - (1 - sigma) * guess) / sigma
            assert abs(float(noise.mean())) < 0.15
            assert 0.85 < float(noise.std()) < 1.15
    assert visited == set(range(len(schedule.sigmas)))


def test_rounds_are_made_anew_by_the_pupil_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(own_films, "FILMS", 2)
    monkeypatch.setattr(own_films, "STEPS", 2)
    pupil = {"model": install_parallel(wide(1))}

    def lessons() -> OwnFilms:
        return OwnFilms(
            install_parallel(wide(0)), lambda: pupil["model"], lambda _, count: text_of(count)
        )

    own = lessons()
    first = own.rows(0, 1)
    assert torch.equal(own.rows(0, 2).latents[:1], first.latents)
    pupil["model"] = install_parallel(wide(2))
    assert torch.equal(own.rows(1, 1).latents, own.rows(0, 2).latents[1:])
    later = own.rows(2, 2)
    assert torch.equal(lessons().rows(2, 2).latents, later.latents)  # as after a kill
    assert not torch.isclose(later.latents, own.rows(0, 2).latents).all()
