"""Learned queries: ViSpec's adaptor, SpecVLM's resampler and FLASH's latent queries."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from lm_drafting.vision import VisualInput
from lm_drafting.vision.latent_queries import LatentQueries
from lm_drafting.vision.queries import Queries
from lm_drafting.vision.resampler import Resampler
from tests.lm_drafting.vision.pictures import HIDDEN, make, picture, rearranged

LEARNED: list[dict[str, Any]] = [
    {"kind": "queries", "num_q": 3, "heads": 4, "qkv_bias": True},
    {"kind": "resample", "tokens": 3, "heads": 4},
    {"kind": "latent", "tokens": 3},
]


@pytest.mark.parametrize("spec", LEARNED)
def test_order_of_tokens_does_not_matter(spec: dict[str, Any]) -> None:
    visual, compressor = picture(12, runs=2), make(spec)
    order = torch.randperm(12, generator=torch.Generator().manual_seed(1))
    one, other = compressor(visual), compressor(rearranged(visual, order))
    torch.testing.assert_close(one.rows, other.rows)
    if one.summary is not None:
        torch.testing.assert_close(one.summary, other.summary)


@pytest.mark.parametrize("spec", LEARNED)
def test_identical_tokens_count_once(spec: dict[str, Any]) -> None:
    visual, compressor = picture(1, runs=2), make(spec)
    few, many = (compressor(rearranged(visual, [0] * count)) for count in (4, 11))
    torch.testing.assert_close(few.rows, many.rows)
    if few.summary is not None:
        torch.testing.assert_close(few.summary, many.summary)


@pytest.mark.parametrize("spec", LEARNED)
def test_rows_differ_from_the_start(spec: dict[str, Any]) -> None:
    rows = make(spec)(picture(12)).rows[0]
    assert torch.pdist(rows).min() > 1e-3


@pytest.mark.parametrize("spec", LEARNED)
def test_too_few_tokens_are_refused(spec: dict[str, Any]) -> None:
    compressor = make(spec)
    with pytest.raises(ValueError, match="fewer queries"):
        compressor(picture(1))
    rows = 2 if spec["kind"] == "queries" else 3
    assert compressor(picture(rows)).offsets.tolist() == [list(range(rows))]


def check_queries(attend: Callable[[VisualInput], Tensor], queries: Queries) -> None:
    """Every output against sums over heads and tokens."""
    visual = picture(7)
    num_q, heads, dim = queries.q.shape
    keys, values = queries.k_proj(visual.embeds[0]), queries.v_proj(visual.embeds[0])
    outputs = []
    for index in range(num_q):
        parts = []
        for head in range(heads):
            own = slice(head * dim, (head + 1) * dim)
            weights = (keys[:, own] @ queries.q[index, head] * dim**-0.5).softmax(0)
            parts.append(weights @ values[:, own])
        outputs.append(queries.o_proj(torch.cat(parts)))
    torch.testing.assert_close(attend(visual)[0], torch.stack(outputs))


@pytest.mark.parametrize("qkv_bias", [False, True])
def test_queries_by_hand(qkv_bias: bool) -> None:
    queries = make({"kind": "queries", "num_q": 4, "heads": 2, "qkv_bias": qkv_bias})
    assert isinstance(queries, Queries)

    def outputs(visual: VisualInput) -> Tensor:
        made = queries(visual)
        return torch.cat([made.rows, made.summary.unsqueeze(1)], 1)

    check_queries(outputs, queries)
    with pytest.raises(AssertionError):  # the summary is the last query, not the first
        check_queries(lambda visual: outputs(visual).roll(1, 1), queries)


def test_queries_have_the_official_names() -> None:
    shapes = {name: tuple(value.shape) for name, value in Queries(16, 2, 4).state_dict().items()}
    matrices = {f"{name}_proj.weight": (16, 16) for name in "kvo"}
    assert shapes == {"q": (2, 4, 4), **matrices}
    biased = Queries(16, 2, 4, qkv_bias=True).state_dict()
    assert biased.keys() - shapes.keys() == {"k_proj.bias", "v_proj.bias"}


def test_queries_start_at_the_official_scale() -> None:
    queries = Queries(256, 65, 4)
    queries.reset_parameters(torch.Generator().manual_seed(0))
    assert queries.q.std().item() == pytest.approx(64**-0.5, rel=0.05)


def test_summary_of_a_single_query() -> None:
    made = make({"kind": "queries", "num_q": 1, "heads": 4})(picture(5, runs=2))
    assert made.rows.shape == (2, 0, HIDDEN)
    assert made.counts == (0, 0)
    assert made.summary.shape == (2, HIDDEN)


def test_resampler_sees_different_things_from_the_start() -> None:
    resampler = Resampler(256, 2, heads=2)
    resampler.reset_parameters(torch.Generator().manual_seed(0))
    embeds = torch.randn(1, 64, 256, generator=torch.Generator().manual_seed(1))
    visual = VisualInput(embeds, embeds, embeds, embeds[:, 0])
    assert torch.cosine_similarity(*resampler(visual).rows[0], dim=0) < 0.7
    with torch.no_grad():
        resampler.q.mul_(128**-0.5)  # at the scale of projections all see the mean
    assert torch.cosine_similarity(*resampler(visual).rows[0], dim=0) > 0.95


def test_resampler_normalises() -> None:
    resampler = make({"kind": "resample", "tokens": 3, "heads": 4})
    assert isinstance(resampler, Resampler)
    before = resampler(picture(9)).rows
    with torch.no_grad():
        resampler.v_proj.weight.mul_(100)
    torch.testing.assert_close(resampler(picture(9)).rows, before, rtol=1e-2, atol=1e-3)


def check_latent(compress: Callable[[Tensor, Tensor], Tensor]) -> None:
    """One head, no scale, no projections."""
    queries = make({"kind": "latent", "tokens": 3}).queries
    latents = picture(6).hidden[0]
    expected = []
    for query in queries:
        powers = [(query @ latent).exp() for latent in latents]
        parts = [power * latent for power, latent in zip(powers, latents, strict=True)]
        expected.append(torch.stack(parts).sum(0) / sum(powers))
    torch.testing.assert_close(compress(queries, latents), torch.stack(expected))


def test_latent_queries_by_hand() -> None:
    def compress(queries: Tensor, latents: Tensor) -> Tensor:
        compressor = LatentQueries(HIDDEN, len(queries))
        compressor.load_state_dict({"queries": queries})
        visual = picture(len(latents))
        visual.hidden[0] = latents
        return compressor(visual).rows[0]

    check_latent(compress)
    with pytest.raises(AssertionError):
        check_latent(lambda a, f: (a @ f.mT * HIDDEN**-0.5).softmax(-1) @ f)
    with pytest.raises(AssertionError):
        check_latent(lambda a, f: (a @ f.mT).softmax(0) @ f)


def test_latent_weights_sum_to_one() -> None:
    visual = picture(9)
    visual.hidden[..., 0] = 3.0  # a mean of latents keeps what they share
    rows = make({"kind": "latent", "tokens": 5})(visual).rows
    torch.testing.assert_close(rows[..., 0], torch.full((1, 5), 3.0))


def test_latent_queries_on_one_token_return_it() -> None:
    visual = picture(1, runs=2)
    one = make({"kind": "latent", "tokens": 1})(visual)
    assert torch.equal(one.rows, visual.hidden)
    four = make({"kind": "latent", "tokens": 4})(rearranged(visual, [0] * 4))
    torch.testing.assert_close(four.rows, visual.hidden.expand(-1, 4, -1))


def test_bad_shapes() -> None:
    with pytest.raises(ValueError, match="3 heads on a hidden size of 16"):
        Queries(16, 2, heads=3)
    with pytest.raises(ValueError, match="at least one query"):
        Queries(16, 0, heads=4)
    with pytest.raises(ValueError, match="at least one query"):
        LatentQueries(16, 0)
