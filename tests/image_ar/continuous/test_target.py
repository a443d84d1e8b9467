"""The loop over latent vectors: laws of whole pictures, equality, accounting."""

from __future__ import annotations

import pytest
import torch
from scipy import stats
from torch import Tensor

from image_ar.continuous.cspd import Published, Released
from image_ar.continuous.drafter import LatentDrafter
from image_ar.continuous.judging import Own
from image_ar.continuous.process import DiffusionProcess
from image_ar.continuous.rules import (
    LastStepCoupling,
    SmoothedCoupling,
    StepwiseCoupling,
    Tolerance,
)
from image_ar.continuous.target import LatentTarget
from mmspec.engine import Engine
from mmspec.messages import Plan
from mmspec.pacing import Fixed
from tests.image_ar.continuous.affine import AffineDecoder, request, stacked
from tests.image_ar.continuous.analytic import response

ROWS, STEPS = 20_000, 3
# Close enough that the last step alone, whose deviation is 0.006, keeps a part of the drafts.
NEAR = {"mean": 0.503, "slope": 0.502}
FAR = {"mean": 0.6, "slope": 0.4}


def engine(rule, target=None, draft=None, length: int = 2, **options) -> Engine:
    drafter = LatentDrafter(draft or AffineDecoder(), paths=rule.reads == "paths", **options)
    plan = Plan(length)
    target = LatentTarget(target or AffineDecoder())
    return Engine(target, drafter, rule, Fixed(plan), lookahead=length, strict=True)


def pictures(run: Engine, rows: int = ROWS, cells: int = 4, steps: int = STEPS) -> Tensor:
    asked = request(AffineDecoder(cells), rows, steps)
    made, _ = run.generate(asked, seeds=range(rows))
    return stacked(made).squeeze(-1)


def law_of(decoder: AffineDecoder, final_noise) -> tuple[Tensor, float, float]:
    """Mean and deviation of the first vector, and how its mean follows the one before."""
    process = DiffusionProcess(STEPS)
    start, weights = response(decoder.head, process, torch.zeros(1), final_noise=final_noise)
    moved, _ = response(decoder.head, process, torch.ones(1), final_noise=final_noise)
    return start, float(weights.norm()), float(moved - start)


def worst_p(made: Tensor, decoder: AffineDecoder, final_noise) -> float:
    """Smallest p, times the number of tests, of the joint law: innovations normal and unrelated."""
    mean, std, slope = law_of(decoder, final_noise)
    before = torch.cat([torch.zeros(len(made), 1), made[:, :-1]], 1)
    fresh = (made - mean - slope * before) / std
    found = [stats.kstest(column.numpy(), "norm").pvalue for column in fresh.T]
    for one in range(fresh.shape[1]):
        for other in range(one):
            found.append(stats.pearsonr(fresh[:, one].numpy(), fresh[:, other].numpy()).pvalue)
    return min(found) * len(found)


@pytest.mark.parametrize(
    ("rule", "draft"),
    [
        (LastStepCoupling(), NEAR),
        (StepwiseCoupling(), NEAR),
        (StepwiseCoupling(), FAR),
        (SmoothedCoupling(0.3), FAR),
        (Own("none"), None),
    ],
    ids=["exact", "stepwise", "stepwise far", "smoothed", "plain"],
)
def test_whole_pictures_have_the_target_s_law(rule, draft) -> None:
    target = AffineDecoder(4)
    if draft is None:
        run = Engine(LatentTarget(target), rule=rule)
    else:
        run = engine(rule, target, AffineDecoder(4, **draft))
    made = pictures(run)
    assert worst_p(made, target, rule.final_noise) > 0.01


@pytest.mark.parametrize("share", [0.5, 1.0], ids=["one spread", "two spreads"])
def test_the_published_rule_breaks_the_law_that_its_twin_keeps(share: float) -> None:
    """With two spreads the published factor biases; leaving it out (LastStepCoupling) does not."""
    data = {"slope": 0.0, "std": 0.004}
    target, draft = AffineDecoder(4, **data), AffineDecoder(4, share=share, mean=0.502, **data)
    exact = pictures(engine(LastStepCoupling(), target, draft))
    assert worst_p(exact, target, "learned") > 0.01
    made = pictures(engine(Published(), target, draft))
    assert (worst_p(made, target, "learned") < 1e-4) == (share == 1.0)


def test_the_released_rule_does_not_see_its_own_window() -> None:
    target = AffineDecoder(4)
    made = pictures(engine(Released(), target, AffineDecoder(4, **FAR)))
    assert worst_p(made, target, "none") < 1e-6


@pytest.mark.parametrize("length", [1, 2, 4, 9])
@pytest.mark.parametrize("rows", [1, 3])
def test_tolerance_zero_is_plain_decoding_bit_for_bit(length: int, rows: int) -> None:
    target = AffineDecoder(7, width=3)
    run = engine(Tolerance(0.0), target, AffineDecoder(7, width=3, **FAR), length)
    asked = request(target, rows)
    made, _ = run.generate(asked, seeds=range(rows))
    plain, _ = run.plain().generate(asked, seeds=range(rows))
    assert made == plain


def test_a_vector_within_tolerance_stays_within_it_of_the_target_s() -> None:
    """Given the same prefix: here the second vectors, behind the one that the prefill makes."""
    target = AffineDecoder(3, width=3)
    delta = 0.25
    run = engine(Tolerance(delta), target, AffineDecoder(3, width=3, **FAR))
    asked = request(target, 200)
    made, trace = run.generate(asked, seeds=range(200))
    plain, _ = run.plain().generate(asked, seeds=range(200))
    moved = (stacked(made) - stacked(plain))[:, 1].norm(dim=-1)
    assert moved.max() <= delta + 1e-6
    assert 0 < trace.metrics.acceptance_rate < 1


@pytest.mark.parametrize(
    "rule",
    [
        LastStepCoupling(),
        StepwiseCoupling(),
        SmoothedCoupling(0.2),
        Tolerance(0.1),
        Published(),
        Released(),
    ],
    ids=lambda rule: type(rule).__name__,
)
def test_a_draft_of_the_target_itself_is_accepted_whole(rule) -> None:
    target = AffineDecoder(7, slope=0.0 if isinstance(rule, Released) else 0.5)
    run = engine(rule, target, target, length=3)
    asked = request(target, 2)
    made, trace = run.generate(asked, seeds=[4, 5])
    plain, _ = run.plain().generate(asked, seeds=[4, 5])
    assert torch.allclose(stacked(made), stacked(plain), atol=1e-6)
    assert trace.metrics.acceptance_rate == 1.0


def test_rounds_and_forwards_are_counted() -> None:
    target = AffineDecoder(9)
    run = engine(Tolerance(1e9), target, AffineDecoder(9, **FAR), length=3)
    _, trace = run.generate(request(target), seeds=[0])
    # One vector from the prefill, then twice three accepted and one of the target's own.
    assert trace.metrics.target_forwards == target.passes == 3
    assert trace.acceptance_length == 4.0
    assert [record.place for record in trace.units[0]] == list(range(9))
    origins = [record.origin for record in trace.units[0]]
    assert origins == ["target", *(["accepted"] * 3 + ["bonus"]) * 2]
    assert len(trace.scores) == 6
    assert all(record.probability is None for record in trace.units[0])


def test_vectors_do_not_depend_on_batch_or_draft_length() -> None:
    target, draft = AffineDecoder(6), AffineDecoder(6, **FAR)
    whole, _ = engine(Tolerance(0.0), target, draft, 3).generate(
        request(target, 3), seeds=[7, 8, 9]
    )
    for row, seed in enumerate((7, 8, 9)):
        alone, _ = engine(Tolerance(0.0), target, draft, 5).generate(request(target), seeds=[seed])
        assert alone[0] == whole[row]


class Broken(AffineDecoder):
    """Its head returns NaN for some vectors."""

    def head_for(self, process):
        class Head:
            width = self.width

            def __call__(head, state, timestep, condition):  # noqa: N805
                noise, logits = self.head(state, timestep, condition)
                return torch.where(condition.vectors > 0.4, torch.nan, noise), logits

            def under(head, condition):  # noqa: N805
                return lambda state, timestep: head(state, torch.tensor([timestep]), condition)

        return Head()


def test_densities_that_are_not_finite_fall_back_to_the_target_and_are_counted() -> None:
    target, draft = AffineDecoder(8), Broken(8)
    run = engine(SmoothedCoupling(0.2), target, draft, 3)
    run.strict = False
    made, trace = run.generate(request(target, 4), seeds=range(4))
    assert stacked(made).isfinite().all()
    assert trace.unjudged > 0


def test_a_target_that_returns_nan_is_an_error() -> None:
    target = Broken(8)
    run = Engine(LatentTarget(target), rule=Own("none"))
    with pytest.raises(FloatingPointError, match="not finite"):
        run.generate(request(target, 4), seeds=range(4))
