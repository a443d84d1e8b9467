"""Denoising chains of analytic heads, whose output law follows from a recursion."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from image_ar.continuous.chain import (
    Condition,
    denoise,
    finish,
    kernels_along,
    settle,
)
from image_ar.continuous.gaussian import GaussianStep
from image_ar.continuous.process import DiffusionProcess
from tests.image_ar.continuous.analytic import AnalyticHead, response

MAR = DiffusionProcess()
SHORT = DiffusionProcess(8)
NONE = torch.zeros(2)


def told(rows: int, seed: int = 3) -> Condition:
    return Condition(torch.randn(rows, 2, generator=torch.Generator().manual_seed(seed)))


def normals(rows: int, process: DiffusionProcess, width: int, seed: int = 4) -> Tensor:
    shape = (rows, process.steps + 1, width)
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def sloped(width: int = 3) -> AnalyticHead:
    slope = torch.randn(2, width, generator=torch.Generator().manual_seed(5))
    return AnalyticHead(width, slope=slope)


@pytest.mark.parametrize(
    ("std", "share", "temperature", "expected"),
    [
        (0.8, 0.0, 1.0, 0.779280),
        (0.8, 0.5, 1.0, 0.790306),
        (0.8, 1.0, 1.0, 0.802204),
        (0.8, 0.0, 0.9, 0.701352),
        (0.8, 0.5, 0.9, 0.711275),
        (0.8, 1.0, 0.9, 0.721983),
        (0.05, 0.0, 1.0, 0.039344),
        (0.05, 1.0, 1.0, 0.056648),
    ],
)
def test_law_of_a_hundred_steps(
    std: float, share: float, temperature: float, expected: float
) -> None:
    """The map is affine in the normals, so one chain a basis vector gives the whole law."""
    head = AnalyticHead(1, 0.5, std, share=share)
    mean, weights = response(head, MAR, NONE, temperature)
    assert float(mean) == pytest.approx(0.5, abs=1e-8)
    assert float(weights.norm()) == pytest.approx(expected, abs=1e-6)


def test_final_noise_adds_its_variance() -> None:
    head = AnalyticHead(1)
    _, quiet = response(head, MAR, NONE)
    _, learned = response(head, MAR, NONE, final_noise="learned")
    _, loud = response(head, MAR, NONE, final_noise=0.2)
    assert float(quiet[-1]) == 0.0
    assert float(learned[-1]) == pytest.approx(0.006331, abs=1e-5)
    assert float(loud[-1]) == pytest.approx(0.2)
    assert torch.equal(quiet[:-1], learned[:-1])


def test_shared_noise_couples_almost_as_well_as_can_be() -> None:
    """Against the monotone coupling's 0.1118 and a mean gap above 0.8 for separate noise."""
    mean_a, a = response(AnalyticHead(1, 0.4, 0.75), MAR, NONE)
    mean_b, b = response(AnalyticHead(1, 0.5, 0.8), MAR, NONE)
    gap = math.hypot(float(mean_a - mean_b), float((a - b).norm()))
    assert gap > 0.111
    assert gap == pytest.approx(0.1157, abs=0.001)
    assert float((a * b).sum() / a.norm() / b.norm()) == pytest.approx(0.9993, abs=5e-5)
    apart = math.hypot(float(a.norm()), float(b.norm()))
    assert apart * math.sqrt(2 / math.pi) > 0.84


def test_mean_follows_the_condition() -> None:
    head, condition = sloped(), told(5)
    chain = denoise(head, MAR, condition, torch.zeros(5, 101, 3))
    assert torch.allclose(chain.last.mean, head.means(condition.vectors), atol=1e-5)
    assert head.calls == 100


def test_record_holds_the_chain() -> None:
    head, condition, noise = sloped(), told(4), normals(4, SHORT, 3)
    chain = denoise(head, SHORT, condition, noise, temperature=0.9, record=True)
    assert chain.states is not None
    assert chain.kernels is not None
    assert torch.equal(chain.states[:, 0], noise[:, 0])
    walked = chain.kernels[:, :-1].draw(noise[:, 1:-1])
    assert torch.equal(chain.states[:, 1:], walked)
    assert torch.equal(chain.last.mean, chain.kernels.mean[:, -1])
    spreads = chain.kernels.log_std[:, :-1].double().sum((1, 2))
    assert torch.allclose(chain.trail, spreads)
    plain = denoise(head, SHORT, condition, noise, temperature=0.9)
    assert plain.states is None
    assert torch.equal(plain.last.mean, chain.last.mean)
    assert torch.equal(plain.trail, chain.trail)


def test_kernels_along_own_states_are_the_chains() -> None:
    head, condition, noise = sloped(), told(4), normals(4, SHORT, 3)
    chain = denoise(head, SHORT, condition, noise, temperature=0.9, record=True)
    assert chain.states is not None
    assert chain.kernels is not None
    head.calls = 0
    found = kernels_along(head, SHORT, condition, chain.states, temperature=0.9)
    assert head.calls == 1
    assert torch.allclose(found.mean, chain.kernels.mean, atol=1e-6)
    assert torch.allclose(found.log_std, chain.kernels.log_std, atol=1e-6)


def test_finish_goes_on_from_any_step() -> None:
    """From recorded states the chain ends where it ended; each call holds the rows that began."""
    head, noise, rows = sloped(), normals(6, SHORT, 3), 6
    condition = told(rows)
    chain = denoise(head, SHORT, condition, noise, record=True)
    assert chain.states is not None
    first = torch.tensor([3, 0, 8, 7, 3, 1])
    states = torch.cat([chain.states, chain.last.draw(noise[:, -1]).unsqueeze(1)], 1)
    start = states[torch.arange(rows), first]
    head.calls = head.rows = 0
    found = finish(head, SHORT, condition, start, first, noise)
    assert head.calls == 8
    assert head.rows == 5 + 8 + 0 + 1 + 5 + 7
    ends = settle(found.last, "learned", noise[:, -1])
    assert torch.allclose(ends, states[:, -1], atol=1e-6)
    assert torch.equal(ends[2], start[2])
    assert torch.allclose(found.trail[1], chain.trail[1])
    assert found.trail[[2, 3]].tolist() == [0.0, 0.0]


def test_finish_of_finished_rows_asks_no_head() -> None:
    head, noise = sloped(), normals(2, SHORT, 3)
    found = finish(head, SHORT, told(2), noise[:, 0], torch.tensor([8, 8]), noise)
    assert head.calls == 0
    assert torch.equal(settle(found.last, "none", noise[:, -1]), noise[:, 0])
    empty = finish(head, SHORT, told(0), noise[:0, 0], torch.zeros(0).long(), noise[:0])
    assert len(empty.trail) == 0


def test_rows_do_not_depend_on_their_batch() -> None:
    head, condition, noise = sloped(), told(4), normals(4, SHORT, 3)
    together = denoise(head, SHORT, condition, noise)
    alone = denoise(head, SHORT, condition.select(slice(2, 3)), noise[2:3])
    assert torch.allclose(alone.last.mean, together.last.mean[2:3], atol=1e-6)


def test_conditions_are_selected_with_their_guidance() -> None:
    scale = torch.tensor([1.0, 2.0])
    condition = Condition(torch.arange(4.0).view(2, 2), torch.ones(2, 2), scale)
    wide = condition.repeat_interleave(2)
    assert wide.scale is not None
    assert wide.null is not None
    assert wide.scale.tolist() == [1, 1, 2, 2]
    assert wide.null.shape == (4, 2)
    assert torch.equal(wide.select(torch.tensor([3])).vectors, condition.vectors[1:])
    assert told(3).repeat_interleave(2).null is None
    with pytest.raises(ValueError, match="both"):
        Condition(torch.zeros(2, 2), scale=scale)


def test_faults_of_use_are_named() -> None:
    head, noise = sloped(), normals(2, SHORT, 3)
    with pytest.raises(ValueError, match=r"\(2, 9, 3\)"):
        denoise(head, SHORT, told(2), noise[:, :-1])
    with pytest.raises(ValueError, match="from step 0 to 8"):
        finish(head, SHORT, told(2), noise[:, 0], torch.tensor([0, 9]), noise)
    law = GaussianStep(torch.zeros(1), torch.zeros(1))
    for wrong in ("loud", -0.1, float("nan")):
        with pytest.raises(ValueError, match="final noise"):
            settle(law, wrong, torch.zeros(1))  # type: ignore[arg-type]
