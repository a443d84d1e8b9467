from __future__ import annotations

import pytest
import torch

from adapters.llamagen import quantizer
from adapters.llamagen.quantizer import VectorQuantizer


def build(*, l2_norm: bool = True) -> VectorQuantizer:
    torch.manual_seed(1)
    module = VectorQuantizer(20, 4, l2_norm=l2_norm)
    torch.nn.init.normal_(module.embedding.weight)
    return module


def test_nearest_is_the_highest_cosine() -> None:
    module, vectors = build(), torch.randn(50, 4)
    rows = module.embedding.weight
    cosines = torch.nn.functional.cosine_similarity(vectors[:, None], rows[None], dim=-1)
    assert torch.equal(module.nearest(vectors), cosines.argmax(dim=-1))
    assert torch.equal(module.nearest(vectors * 7), module.nearest(vectors))


def test_nearest_without_normalisation_is_the_smallest_distance() -> None:
    module, vectors = build(l2_norm=False), torch.randn(50, 4)
    distances = torch.cdist(vectors, module.embedding.weight)
    assert torch.equal(module.nearest(vectors), distances.argmin(dim=-1))


def test_pieces_do_not_change_the_codes(monkeypatch: pytest.MonkeyPatch) -> None:
    module, vectors = build(), torch.randn(50, 4)
    whole = module.nearest(vectors)
    monkeypatch.setattr(quantizer, "_CHUNK_ENTRIES", 60)
    assert torch.equal(module.nearest(vectors), whole)
    assert module.nearest(vectors[:0]).shape == (0,)


def test_lookup_of_codes_finds_the_codes_again() -> None:
    module = build()
    codes = torch.arange(20).view(1, 4, 5)
    assert torch.equal(module.encode(module.lookup(codes)), codes)


def test_training_pass_returns_rows_and_both_losses() -> None:
    module = build()
    latents = torch.randn(2, 4, 3, 3, requires_grad=True)
    outcome = module(latents)
    torch.testing.assert_close(outcome.latents, module.lookup(outcome.codes))
    torch.testing.assert_close(outcome.codebook_loss, outcome.commitment_loss)
    (to_codes,) = torch.autograd.grad(outcome.codebook_loss, latents, allow_unused=True)
    assert to_codes is None
    outcome.commitment_loss.backward()
    assert latents.grad is not None
    assert module.embedding.weight.grad is None
