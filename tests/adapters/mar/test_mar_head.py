"""The diffusion head: its mathematics written twice, guidance, and the copy made for sampling."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from torch import Tensor

from adapters.mar.head import DiffusionHead, GuidedHead
from adapters.mar.sampling_head import SamplingHead
from adapters.mar.sampling_network import SamplingNetwork
from image_ar.continuous.chain import Condition
from tests.adapters.mar.naive_mar import doubles, head_outputs

TOKEN, SIZE, WIDTH, BLOCKS, ROWS = 4, 6, 20, 2, 3
TIMES = torch.tensor([0, 10, 61, 505, 999])


def random_head(seed: int = 0) -> DiffusionHead:
    head = DiffusionHead(TOKEN, SIZE, WIDTH, BLOCKS)
    generator = torch.Generator().manual_seed(seed)
    head.reset_parameters(generator, zero_output=False)
    with torch.no_grad():
        for weight in head.parameters():
            if weight.ndim == 1:
                weight.add_(0.3 * torch.randn(weight.shape, generator=generator))
        head.time_embed.mlp[0].weight.mul_(4)  # type: ignore[operator]
        head.time_embed.mlp[2].weight.mul_(4)  # type: ignore[operator]
    return head


def rows_of(count: int = ROWS, seed: int = 1) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    state = torch.randn(count, TOKEN, generator=generator)
    vectors = torch.randn(count, SIZE, generator=generator)
    return state, TIMES[torch.arange(count) % len(TIMES)], vectors


def condition_of(scales: list[float], seed: int = 2) -> Condition:
    generator = torch.Generator().manual_seed(seed)
    vectors, null = torch.randn(2, len(scales), SIZE, generator=generator)
    return Condition(vectors, null, torch.tensor(scales))


def test_outputs_equal_a_naive_head() -> None:
    head, (state, times, vectors) = random_head(), rows_of(5)
    noise, logits = head(state, times, vectors)
    w = doubles(head)
    for row in range(5):
        expected = head_outputs(w, state[row], int(times[row]), vectors[row])
        torch.testing.assert_close(noise[row].double(), expected[0], rtol=2e-5, atol=2e-5)
        torch.testing.assert_close(logits[row].double(), expected[1], rtol=2e-5, atol=2e-5)


def test_noise_level_and_condition_both_matter() -> None:
    head, (state, times, vectors) = random_head(), rows_of()
    noise, _ = head(state, times, vectors)
    assert (head(state, times + 1, vectors)[0] - noise).abs().min(0).values.max() > 1e-4
    assert (head(state, times, vectors + 1)[0] - noise).abs().max() > 1e-2


def test_a_new_head_is_untrained() -> None:
    head = DiffusionHead(TOKEN, SIZE, WIDTH, BLOCKS)
    assert head.is_untrained
    assert not any(part.any() for part in head(*rows_of()))
    with torch.no_grad():
        head.final_layer.linear.bias[0] = 1e-3
    assert not head.is_untrained
    assert not random_head().is_untrained


def test_guided_noise_and_conditional_variance() -> None:
    head, (state, times, _) = random_head(), rows_of()
    condition = condition_of([0.0, 1.0, 3.5])
    assert condition.null is not None
    noise, logits = GuidedHead(head)(state, times, condition)
    with_it, variance = head(state, times, condition.vectors)
    without_it, _ = head(state, times, condition.null)
    scale = torch.tensor([[0.0], [1.0], [3.5]])
    torch.testing.assert_close(noise, without_it + scale * (with_it - without_it))
    torch.testing.assert_close(logits, variance)
    torch.testing.assert_close(noise[1], with_it[1], rtol=1e-6, atol=1e-6)


def halves_run(head: DiffusionHead, condition: Condition) -> int:
    """Outputs a row that the head computed."""
    seen: list[torch.Size] = []
    hook = head.final_layer.register_forward_hook(lambda _, __, out: seen.append(out.shape))
    state, times, _ = rows_of()
    GuidedHead(head)(state, times, condition)
    hook.remove()
    return seen[0][:-1].numel() // ROWS


def test_one_half_runs_where_guidance_changes_nothing() -> None:
    head, vectors = random_head(), condition_of([1.0] * ROWS).vectors
    assert halves_run(head, condition_of([1.0] * ROWS)) == 1
    assert halves_run(head, Condition(vectors)) == 1
    assert halves_run(head, condition_of([1.0, 1.0, 2.0])) == 2
    state, times, _ = rows_of()
    plain = head(state, times, vectors)
    for condition in (condition_of([1.0] * ROWS), Condition(vectors)):
        for found, expected in zip(GuidedHead(head)(state, times, condition), plain, strict=True):
            torch.testing.assert_close(found, expected)


def assert_same(found: tuple[Tensor, Tensor], expected: tuple[Tensor, Tensor]) -> None:
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=2e-5, atol=2e-5)


@pytest.mark.parametrize("scales", [[1.0] * ROWS, [0.0, 1.0, 3.5]])
@pytest.mark.parametrize("table_bytes", [0, 2**28])
def test_sampling_equals_the_live_head(scales: list[float], table_bytes: int) -> None:
    head = random_head()
    live, sampling = GuidedHead(head), SamplingHead(head, TIMES, table_bytes)
    condition = condition_of(scales)
    for call in range(4):
        state, times, _ = rows_of(seed=call)
        times = times.roll(call)
        assert_same(sampling(state, times, condition), live(state, times, condition))
    # Another condition, then the first one again.
    state, times, _ = rows_of()
    other = condition_of(scales, seed=9)
    assert_same(sampling(state, times, other), live(state, times, other))
    assert_same(sampling(state, times, condition), live(state, times, condition))


@pytest.mark.parametrize("scales", [None, [1.0] * ROWS, [0.0, 1.0, 3.5]])
@pytest.mark.parametrize("table_bytes", [0, 2**28])
def test_chains_ask_the_same_network(scales: list[float] | None, table_bytes: int) -> None:
    """At one noise level after another, of all rows or the first few."""
    head = random_head()
    condition = condition_of(scales or [1.0] * ROWS)
    if scales is None:
        condition = Condition(condition.vectors)
    live, sampling = GuidedHead(head), SamplingHead(head, TIMES, table_bytes)
    chains = live.under(condition), sampling.under(condition)
    for level in TIMES.tolist():
        for rows in (ROWS, 1):
            state = rows_of(seed=level)[0][:rows]
            told = torch.full((rows,), level)
            expected = live(state, told, condition.select(slice(rows)))
            for settled in chains:
                assert_same(settled(state, level), expected)


def test_modulations_of_a_chain_are_made_once(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[int] = []
    inner = SamplingNetwork.modulations

    def noted(network: SamplingNetwork, embedding: Tensor) -> Sequence[Tensor]:
        made.append(embedding.shape[:-1].numel())
        return inner(network, embedding)

    monkeypatch.setattr(SamplingNetwork, "modulations", noted)
    for table_bytes, expected in ((2**28, [2 * ROWS * len(TIMES)]), (0, [2 * ROWS] * len(TIMES))):
        made.clear()
        settled = SamplingHead(random_head(), TIMES, table_bytes).under(condition_of([2.0] * ROWS))
        for level in TIMES.tolist():
            settled(rows_of()[0], level)
        assert made == expected


def test_sampling_notices_new_weights() -> None:
    head = random_head()
    sampling, condition = SamplingHead(head, TIMES), condition_of([2.0] * ROWS)
    state, times, _ = rows_of()
    for _ in range(3):
        before = sampling(state, times, condition)[0]
    head.load_state_dict(random_head(seed=5).state_dict())
    after = sampling(state, times, condition)
    assert_same(after, GuidedHead(head)(state, times, condition))
    assert (after[0] - before).abs().max() > 0.01
    head.double()
    double = sampling(state.double(), times, condition)
    assert double[0].dtype == torch.float64
    torch.testing.assert_close(double[0].float(), after[0], rtol=1e-4, atol=1e-4)


def test_noise_levels_that_were_not_given_are_refused() -> None:
    sampling = SamplingHead(random_head(), torch.tensor([0, 10]))
    for level in (5, 11):
        with pytest.raises(IndexError):
            sampling(rows_of()[0], torch.full((ROWS,), level), condition_of([2.0] * ROWS))
        with pytest.raises(IndexError, match=str(level)):
            sampling.under(condition_of([2.0] * ROWS))(rows_of()[0], level)


def test_outputs_have_the_format_of_the_state() -> None:
    head, (state, times, _) = random_head().bfloat16(), rows_of()
    condition = condition_of([2.0] * ROWS)
    exact = GuidedHead(random_head())(state, times, condition)[0]
    for guided in (GuidedHead(head), SamplingHead(head, TIMES)):
        noise, logits = guided(state, times, condition)
        assert noise.dtype == logits.dtype == torch.float32
        assert (noise - exact).norm() < 0.05 * exact.norm()


def test_gradients_flow_through_the_live_head_only() -> None:
    head, (state, times, _) = random_head(), rows_of()
    condition = condition_of([2.0] * ROWS)
    noise, logits = GuidedHead(head)(state, times, condition)
    (noise.square().sum() + logits.square().sum()).backward()
    for name, weight in head.named_parameters():
        assert weight.grad is not None, name
        assert weight.grad.any(), name
    head.zero_grad()
    GuidedHead(head).under(condition)(state, 61)[0].square().sum().backward()
    assert all(weight.grad is not None for weight in head.parameters())
    sampling = SamplingHead(head, TIMES)
    assert not sampling(state, times, condition)[0].requires_grad
    assert not sampling.under(condition)(state, 61)[0].requires_grad
