"""Tiny random Wan models in the one loop."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from adapters.wan.blocks import BlockCausalWan
from adapters.wan.rebuilding import RebuiltWan
from adapters.wan.target import WanBlocks, WanTarget
from adapters.wan.vae import WanVae
from mmspec.assembly import Recipe
from mmspec.trace import Trace
from tests.adapters.wan.test_wan_vae import RESIDUAL
from tests.adapters.wan.tiny_wan import TEXT_WIDTH, random_vae, random_wan
from video_ar.rewards.sharpness import NegativeTotalVariation
from video_ar.schedule import few_steps

BLOCKS = 4


def encode(prompt: str) -> Tensor:
    generator = torch.Generator().manual_seed(len(prompt))
    return torch.randn(1, 7, TEXT_WIDTH, generator=generator)


def target(seed: int, vae: Any, kind: Any = WanBlocks, **rest: Any) -> WanTarget:
    torch.manual_seed(seed)  # of the numbers that random_wan leaves as they were made
    wan = BlockCausalWan(random_wan(seed, num_layers=2))
    if rest.pop("reencode", False):
        rest["vae"] = vae
    return WanTarget(kind(wan, **rest), vae, few_steps(), encode)


def film(method: str, big: WanTarget, small: Any, eager: bool = False, **options: Any) -> Any:
    """Latents, pictures and decisions of one video."""
    recipe = Recipe.choose(method, small, family="video", strict=True, **options)
    engine = recipe.engine(big, lambda path: path)
    made: list[Any] = []
    wanted = big.request("a ball", BLOCKS, 32, 48, eager=eager)
    units, _ = engine.generate(wanted, Trace(), [5], on_commit=lambda c: made.extend(c.made))
    latents = torch.cat([block.latents for block in made], 2)
    pictures = torch.cat([block.pictures for block in made], 2)
    return latents, pictures, [record.decision for record in units[0]]


@pytest.fixture(scope="module")
def vae() -> WanVae:
    return WanVae(random_vae())


@pytest.mark.parametrize(
    "kind",
    [
        {},
        {"window": 6, "sink": 1},
        {"kind": RebuiltWan, "keep": 3},
        {"kind": RebuiltWan, "keep": 3, "reencode": True},
    ],
    ids=str,
)
def test_identities(vae: WanVae, kind: dict[str, Any]) -> None:
    big, small = target(0, vae, **kind), target(1, vae, **kind)
    plain, pictures, _ = film("none", big, None)
    assert pictures.shape == (1, 3, 9 + 12 * (BLOCKS - 1), 32, 48)
    torch.testing.assert_close(vae.decode(plain)[0], pictures)
    scored = {"scorer": NegativeTotalVariation()}
    never, seen, decisions = film("sdvg", big, small, threshold=math.inf, **scored)
    assert torch.equal(never, plain)
    assert torch.equal(seen, pictures)
    assert decisions == ["forced"] + ["regenerated"] * (BLOCKS - 1)
    always = film("sdvg", big, small, threshold=-math.inf, **scored)
    first = film("first-block", big, small)
    assert torch.equal(always[0], first[0])
    assert torch.equal(always[1], first[1])
    assert torch.equal(first[0][:, :, :3], plain[:, :, :3])
    assert not torch.isclose(first[0][:, :, 3:], plain[:, :, 3:], atol=1e-3).all()


@pytest.mark.parametrize("method", ["stride", "draft-only"])
def test_a_drafter_with_the_target_s_weights(vae: WanVae, method: str) -> None:
    """Up to rounding: the two read committed blocks in passes of other sizes."""
    plain = film("none", target(0, vae), None)
    twin = film(method, target(0, vae), target(0, vae))
    torch.testing.assert_close(twin[0], plain[0], rtol=1e-4, atol=1e-4)


def test_reading_late_or_at_once(vae: WanVae) -> None:
    late = film("stride", target(0, vae), target(1, vae), k=3)
    once = film("stride", target(0, vae), target(1, vae), eager=True, k=3)
    torch.testing.assert_close(late[0], once[0], rtol=1e-4, atol=1e-4)
    assert late[2] == ["forced", "accepted", "accepted", "forced"]


@pytest.mark.parametrize("shape", [{}, RESIDUAL], ids=["wan21", "wan22"])
def test_a_request_has_the_cells_that_the_autoencoder_draws(shape: dict[str, Any]) -> None:
    """Wan 2.2's draws patches of pixels, so that a cell is twice as wide as its halvings say."""
    stream = WanVae(random_vae(**shape))
    pixels = stream.spatial * 2
    wanted = target(0, stream).request("a ball", 2, pixels, 2 * pixels)
    assert wanted.shape[2:] == (2, 4)
    pictures, _ = stream.decode(torch.zeros(1, *wanted.shape))
    assert pictures.shape[3:] == (pixels, 2 * pixels)


def test_wrong_requests_are_refused(vae: WanVae) -> None:
    wan = target(0, vae)
    with pytest.raises(ValueError, match="multiple of 16 and height of 16"):
        wan.request("a ball", 2, 40, 48)
    wan.encoder = lambda prompt: torch.zeros(1, 7, 5)
    with pytest.raises(ValueError, match="text states of shape"):
        wan.request("a ball", 2, 32, 48)
    with pytest.raises(ValueError, match="keep is at least 1"):
        RebuiltWan(wan.model.wan, 0)  # type: ignore[attr-defined]
    other = target(1, vae)
    other.schedule = few_steps((1000, 500))
    other = WanTarget(other.model, vae, other.schedule, encode)  # type: ignore[arg-type]
    recipe = Recipe.choose("first-block", other, family="video")
    with pytest.raises(ValueError, match="do not make the same blocks"):
        recipe.engine(target(0, vae), lambda path: path)
