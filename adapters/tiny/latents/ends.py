"""What a draft model learns last: to end its few denoising steps where the target's many do."""

from __future__ import annotations

import torch
from torch import Tensor

from adapters.mar.causal import CausalMAR
from adapters.mar.head import GuidedHead
from adapters.mar.schedule import LINEAR, guidance_scale
from image_ar.continuous.chain import Condition, denoise
from image_ar.continuous.drafter import SPREAD, coarser
from image_ar.continuous.process import DiffusionProcess

from .mar_trainee import flat_tokens
from .store import LatentBatch

# Denoising steps of the target's chains and of the drafts'.
TARGET_STEPS, DRAFT_STEPS = 25, 4
GUIDANCE = 6.0
# Share of pictures with that guidance; the others have any from 1 to a little above it.
_USUAL, _MOST = 0.7, 8.0
CHAINS = 320
# Most vectors lie on flat background, where drafts are soon right; so large a share of the chains
# is of the others.
_THINGS = 0.4
# Distances below this count by their square, larger ones as they are: what is far off is refused
# either way, and must not outweigh what is nearly right.
NEAR = 0.2


def ends_loss(
    draft: CausalMAR, target: CausalMAR, batch: LatentBatch, seed: int, chains: int = CHAINS
) -> Tensor:
    """Mean distance between the ends of both models' chains, along the same noise.

    This is what acceptance asks: how far a drafted vector lies from the one that the target would
    have drawn. Both models are told the same earlier vectors and guided alike.

    Args:
        draft: Under training; its chains have :data:`DRAFT_STEPS` steps.
        target: Gets no gradient; its chains have :data:`TARGET_STEPS`.
        batch: Latents and classes.
        seed: Of the noise, the guidance and the choice of vectors.
        chains: Vectors of the batch that are drawn.
    """
    generator = torch.Generator().manual_seed(seed)
    rows, _, width = batch.tokens.shape
    scale = _scales(rows, generator)
    chosen = _chosen(batch, chains, generator)
    normals = torch.randn(len(chosen), TARGET_STEPS + 1, width, generator=generator)
    with torch.no_grad():
        told = _guided(target, batch, scale).select(chosen)
        end = _end(target, told, normals)
    drawn = _end(draft, _guided(draft, batch, scale).select(chosen), _coarser(draft, normals))
    squares = (drawn - end).square().sum(-1)
    return ((squares + NEAR**2).sqrt() - NEAR).mean()


@torch.inference_mode()
def end_scores(draft: CausalMAR, target: CausalMAR, batch: LatentBatch) -> dict[str, float]:
    """How far apart the ends of both models' chains are over a batch, at the usual guidance.

    Returns:
        ``flat`` and ``things``, the median distances where there is flat background and where not,
        and the shares of vectors ``within_half`` and ``within_one``.
    """
    rows, cells, width = batch.tokens.shape
    scale = torch.full((rows,), GUIDANCE)
    generator = torch.Generator().manual_seed(0)
    normals = torch.randn(rows * cells, TARGET_STEPS + 1, width, generator=generator)
    end = _end(target, _guided(target, batch, scale), normals)
    drawn = _end(draft, _guided(draft, batch, scale), _coarser(draft, normals))
    apart = (drawn - end).norm(dim=-1)
    shares = {"within_half": 0.5, "within_one": 1.0}
    within = {name: (apart <= most).float().mean() for name, most in shares.items()}
    flat = flat_tokens(batch.tokens).flatten()
    found = {"flat": apart[flat].median(), "things": apart[~flat].median(), **within}
    return {name: round(float(value), 4) for name, value in found.items()}


def _scales(rows: int, generator: torch.Generator) -> Tensor:
    """A guidance scale for each picture, ``(rows,)``."""
    usual = torch.rand(rows, generator=generator) < _USUAL
    anywhere = 1 + (_MOST - 1) * torch.rand(rows, generator=generator)
    return torch.where(usual, GUIDANCE, anywhere)


def _chosen(batch: LatentBatch, chains: int, generator: torch.Generator) -> Tensor:
    """Which vectors of a batch are drawn; fewer than asked for where there are not as many."""
    flat = flat_tokens(batch.tokens).flatten()
    order = torch.randperm(len(flat), generator=generator)
    things = order[~flat[order]][: round(_THINGS * chains)]
    return torch.cat([things, order[flat[order]][: chains - len(things)]])


def _coarser(draft: CausalMAR, normals: Tensor) -> Tensor:
    """The noise of the draft's chains."""
    fine = DiffusionProcess(TARGET_STEPS, draft.config.base_steps)
    return coarser(normals, DRAFT_STEPS, fine.noise_gains(SPREAD))


def _guided(model: CausalMAR, batch: LatentBatch, scale: Tensor) -> Condition:
    """Conditions of all vectors of the batch, all earlier ones given."""
    rows, cells, _ = batch.tokens.shape
    nobody = torch.ones(rows, dtype=torch.bool)
    left = torch.arange(cells - 1, -1, -1).clamp(min=1).unsqueeze(0)
    each = guidance_scale(LINEAR, scale.unsqueeze(1), left, cells)
    return Condition(
        model.training_conditions(batch.tokens, batch.labels).flatten(0, 1),
        model.training_conditions(batch.tokens, batch.labels, nobody).flatten(0, 1),
        each.flatten(),
    )


def _end(model: CausalMAR, condition: Condition, normals: Tensor) -> Tensor:
    """Where chains end, ``(rows, width)``, the final step without noise."""
    config = model.config
    steps = normals.shape[1] - 1
    process = DiffusionProcess(steps, config.base_steps, config.latent_range)
    return denoise(GuidedHead(model.head), process, condition, normals).last.mean
