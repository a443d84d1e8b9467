"""Continuous speculative decoding as published and as released; neither keeps the target's law.

Both compare the draft's chain with the target's own chain from the same noise, not with the target
at the same states, and multiply by what the earlier steps' spreads give: a number that is no
likelihood ratio. They are here to compare with; :mod:`image_ar.continuous.rules` has rules that
keep a promise.

Source: Continuous Speculative Decoding for Autoregressive Image Generation (CSpD), Wang et al.,
arXiv 2411.11925.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from image_ar.continuous.chain import FinalNoise
from image_ar.continuous.gaussian import draw_residual, log_ratio, stays
from image_ar.continuous.handback import Replacement
from image_ar.continuous.judging import EndpointRule, Own, Pair, judged, own_unit
from image_ar.continuous.request import Conditioning, Reads
from image_ar.continuous.rules import log_uniforms, residual_or_own
from mmspec.messages import Draft, Evidence, Verdict
from mmspec.noise import Noise
from mmspec.rules.certificate import Certificate
from mmspec.rules.walk import longest_path

SOFTENING = 42.0  # of the released acceptance test: widens the last step's spread


@dataclass(frozen=True)
class Published(EndpointRule):
    """The rule of the paper: ``Sigma p(x | own chain) / q(x | own chain)`` against a uniform.

    ``Sigma`` is the product, over all steps but the last, of the draft's standard deviations over
    the target's. Stops at the first refused vector, which is drawn anew from
    ``norm((Sigma p - q)+)``; the target's own vector where ``rounds`` candidates failed, which is
    certain where ``Sigma p`` is below ``q`` everywhere. Does not look at the plan's slack.

    Attributes:
        rounds: Candidates for a correction.
    """

    rounds: int = 1000
    certificate: ClassVar[Certificate] = Certificate(
        "lossy",
        "the published factor compares densities at two different points: the law is not the "
        "target's as soon as the two models' spreads differ, and no bound is known",
    )
    final_noise: ClassVar[FinalNoise] = "learned"

    def test(self, pair: Pair, noise: Noise, slack: float) -> tuple[Tensor, Tensor]:
        """Log of the published ratio against one uniform a place."""
        ratio = pair.log_factor + log_ratio(pair.p, pair.q, pair.units)
        return stays(ratio, log_uniforms(pair, noise)), ratio

    def correct(self, pair: Pair, wanted: Tensor, noise: Noise) -> Tensor:
        """Draws from the published residual."""
        return residual_or_own(pair, wanted, noise, pair.log_factor, self.rounds)


@dataclass(frozen=True)
class Released:
    """The rule of the released program, whose every vector is judged and replaced in its place.

    Nothing is dropped after a refusal and no vector is added: the window has the same length
    whatever is accepted. The factor of the earlier steps is the inverse of the published one. The
    last step adds no noise, so the drafted vector is the mean of its own law; the test is the
    target's normal density with its standard deviation times 42, without the normalising constant
    but times the quotient of the two last spreads. A refused vector becomes its target's mean with
    the last step's noise, filtered by the residual of the unsoftened densities. Does not look at
    the plan's slack.

    Attributes:
        rounds: Candidates for a replacement.
        zeros_on_failure: Whether a vector for which they all failed becomes zero, as in the
            program; else it becomes the target's own.
    """

    rounds: int = 100
    zeros_on_failure: bool = False
    certificate: ClassVar[Certificate] = Certificate(
        "lossy",
        "vectors are kept by a soft test of distance to what the target makes without seeing the "
        "window's earlier vectors; no bound is known",
    )
    final_noise: ClassVar[FinalNoise] = "none"
    reads: ClassVar[Reads] = "endpoints"
    conditioning: ClassVar[Conditioning] = "window"

    def plain(self) -> Own:
        """The rule of plain decoding under the law that counts as the target's here."""
        return Own(self.final_noise)

    def judge(self, draft: Draft, evidence: Evidence, noise: Noise) -> Verdict:
        """Pure. Accepts the whole draft and hands changed vectors back as a :class:`Replacement`.

        The verdict's score is the logarithm of the product of a unit's acceptance ratios.

        Raises:
            TypeError: Other laws than :class:`~image_ar.continuous.laws.Endpoints`, or a tree.
            ValueError: Records whose shapes do not fit.
        """
        if not draft.nodes:
            return own_unit(draft, evidence)
        pair = Pair.of(draft, evidence, "Released", beyond=0)
        score = softened_ratio(pair)
        real = pair.places >= 0
        replaced = real & ~stays(score, log_uniforms(pair, noise))
        if draft.valid is not None:
            replaced = replaced & draft.valid.unsqueeze(-1)
        values = self._replacements(pair, replaced, score.isfinite(), noise)
        units = torch.where(replaced.unsqueeze(-1), values, draft.units)
        kept = torch.ones_like(draft.units[..., 0, 0], dtype=torch.bool)
        path, accepted, _ = longest_path(draft.tree, kept if draft.valid is None else draft.valid)
        return Verdict(
            path=path,
            accepted=accepted,
            own=None,
            corrected=torch.zeros_like(accepted, dtype=torch.bool),
            again=Replacement(units, replaced),
            score=judged(draft, torch.where(real, score, 0.0).sum(-1)),
        )

    def _replacements(self, pair: Pair, replaced: Tensor, sound: Tensor, noise: Noise) -> Tensor:
        """Vectors ``(batch, nodes, group, width)``, the target's own where none could be judged."""
        keys = noise.uniforms("residual", pair.places)
        wanted = replaced & sound
        values, found = draw_residual(pair.p, pair.q, keys, wanted, -pair.log_factor, self.rounds)
        failed = torch.zeros_like(pair.own) if self.zeros_on_failure else pair.own
        values = torch.where(found.unsqueeze(-1), values, failed)
        return torch.where(sound.unsqueeze(-1), values, pair.own)


def softened_ratio(pair: Pair) -> Tensor:
    """Logarithm ``(batch, nodes, group)`` of the released acceptance ratio."""
    spread = (pair.q.log_std.double() - pair.p.log_std.double()).sum(-1)
    distance = (pair.p.whiten(pair.units) / SOFTENING).square().sum(-1)
    return -pair.log_factor + spread - 0.5 * distance
