"""The frame of every rule that compares where two chains ended."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from image_ar.continuous.chain import FinalNoise
from image_ar.continuous.gaussian import GaussianStep
from image_ar.continuous.laws import Endpoints, recorded
from image_ar.continuous.request import Conditioning, Reads
from mmspec.distributions import take_rows
from mmspec.messages import Draft, Evidence, Verdict
from mmspec.noise import Noise
from mmspec.rules.certificate import Certificate
from mmspec.rules.walk import has_child, longest_path


@dataclass(frozen=True)
class Pair:
    """Drafted vectors beside what the target knows of them, vector for vector.

    Attributes:
        p: ``(batch, nodes, group, width)`` the target's final steps.
        q: The draft's.
        units: ``(batch, nodes, group, width)`` drafted vectors.
        own: The target's own vectors, made from the same noise.
        log_factor: ``(batch, nodes, group)`` the draft's trail minus the target's.
        places: ``(batch, nodes, group)``, -1 for padding.
    """

    p: GaussianStep
    q: GaussianStep
    units: Tensor
    own: Tensor
    log_factor: Tensor
    places: Tensor

    @classmethod
    def of(cls, draft: Draft, evidence: Evidence, rule: str, beyond: int = 1) -> Pair:
        """Arguments and errors are those of :func:`~image_ar.continuous.laws.recorded`."""
        p, q = recorded(Endpoints, draft, evidence, rule, beyond)
        nodes = (slice(None), slice(draft.nodes))
        trail = q.trail - p.trail[nodes]
        return cls(p.last[nodes], q.last, draft.units, p.units[nodes], trail, p.places[nodes])

    def at(self, node: Tensor) -> Pair:
        """The vectors of one node a row, ``(batch,)``; tensors lose the dimension of nodes."""

        def take(values: Tensor) -> Tensor:
            return take_rows(values, node.unsqueeze(1)).squeeze(1)

        return Pair(
            GaussianStep(take(self.p.mean), take(self.p.log_std)),
            GaussianStep(take(self.q.mean), take(self.q.log_std)),
            take(self.units),
            take(self.own),
            take(self.log_factor),
            take(self.places),
        )


class EndpointRule:
    """Judges a whole draft at once, every vector of a group on its own.

    A unit stands if all of its vectors do. In the first that does not, refused vectors are
    corrected and the others keep the draft's value; the units after it are dropped. An empty draft,
    or one that stands as a whole, is followed by the target's own unit.

    A rule says which vectors stand (:meth:`test`) and what takes a refused one's place
    (:meth:`correct`). Where a vector's score is not finite it is refused and the target's own
    vector is taken.

    Attributes:
        reads: What target and draft have to record.
        conditioning: What the target has to have seen when it judges a vector.
    """

    reads: Reads = "endpoints"
    conditioning: Conditioning = "prefix"

    @property
    def certificate(self) -> Certificate:
        """The promise."""
        raise NotImplementedError

    @property
    def final_noise(self) -> FinalNoise:
        """How the chains of both models have to end; part of the law the certificate speaks of."""
        raise NotImplementedError

    def plain(self) -> Own:
        """The rule of plain decoding under the law that counts as the target's here."""
        return Own(self.final_noise)

    def judge(self, draft: Draft, evidence: Evidence, noise: Noise) -> Verdict:
        """Pure.

        Raises:
            TypeError: Other laws than :class:`~image_ar.continuous.laws.Endpoints`, or a tree.
            ValueError: Records whose shapes do not fit.
        """
        if not draft.nodes:
            return own_unit(draft, evidence)
        pair = Pair.of(draft, evidence, type(self).__name__)
        stands, score = self.test(pair, noise, draft.slack)

        def correct(node: Tensor, wanted: Tensor) -> Tensor:
            here = pair.at(node)
            sound = take_rows(score, node.unsqueeze(1)).squeeze(1).isfinite()
            values = self.correct(here, wanted & sound, noise)
            return torch.where(sound.unsqueeze(-1), values, here.own)

        return settle_groups(draft, evidence, stands, self.unit_score(pair, score), correct)

    def test(self, pair: Pair, noise: Noise, slack: float) -> tuple[Tensor, Tensor]:
        """Which vectors stand and the number each was judged by, both ``(batch, nodes, group)``."""
        raise NotImplementedError

    def correct(self, pair: Pair, wanted: Tensor, noise: Noise) -> Tensor:
        """``(batch, group, width)`` what replaces the vectors of one node where ``wanted``."""
        raise NotImplementedError

    def unit_score(self, pair: Pair, score: Tensor) -> Tensor:
        """Score ``(batch, nodes)`` of the units: the sum over their vectors."""
        return torch.where(pair.places >= 0, score, 0.0).sum(-1)


@dataclass(frozen=True)
class Own:
    """The rule of plain decoding: nothing is drafted and the target's own unit is taken.

    Attributes:
        final_noise: How the target's chains end.
    """

    final_noise: FinalNoise = "none"
    reads: ClassVar[Reads] = "endpoints"
    conditioning: ClassVar[Conditioning] = "prefix"
    certificate = Certificate("exact", "every vector is the target's own; nothing is drafted")

    def plain(self) -> Own:
        """This rule."""
        return self

    def judge(self, draft: Draft, evidence: Evidence, noise: Noise) -> Verdict:
        """Pure.

        Raises:
            TypeError: The draft is not empty.
        """
        if draft.nodes:
            raise TypeError("plain decoding judges no drafts; choose a rule that compares vectors")
        return own_unit(draft, evidence)


def own_unit(draft: Draft, evidence: Evidence) -> Verdict:
    """The verdict over an empty draft: the target's own unit.

    Raises:
        TypeError: The target recorded no such unit.
    """
    law = evidence.law
    if not isinstance(law, Endpoints):
        raise TypeError(f"an empty draft needs the target's Endpoints, got {type(law).__name__}")
    none = torch.zeros(draft.batch, dtype=torch.long, device=law.units.device)
    path = none.new_empty(draft.batch, 0)
    return Verdict(path=path, accepted=none, own=law.units[:, 0], corrected=none.bool())


def settle_groups(
    draft: Draft,
    evidence: Evidence,
    stands: Tensor,
    score: Tensor,
    correct: Callable[[Tensor, Tensor], Tensor],
) -> Verdict:
    """Keep the leading units all of whose vectors stand and make the one that follows.

    Args:
        draft: A chain with :class:`~image_ar.continuous.laws.Endpoints`.
        evidence: The target's.
        stands: ``(batch, nodes, group)`` bool; padding counts as standing.
        score: ``(batch, nodes)``.
        correct: From the first refused node ``(batch,)`` and the vectors to correct
            ``(batch, group)`` their values ``(batch, group, width)``.
    """
    law = evidence.law
    assert isinstance(law, Endpoints)
    agrees, stands = unit_stands(draft, law.places[:, : draft.nodes], stands)
    path, accepted, end = longest_path(draft.tree, agrees)
    refused = has_child(draft.tree, end, draft.valid)
    node = accepted.clamp(max=draft.nodes - 1)
    at = node.unsqueeze(1)
    wrong = ~take_rows(stands, at).squeeze(1) & refused.unsqueeze(1)
    mended = torch.where(
        wrong.unsqueeze(-1), correct(node, wrong), take_rows(draft.units, at).squeeze(1)
    )
    bonus = take_rows(law.units, end.unsqueeze(1)).squeeze(1)
    own = torch.where(refused.view(-1, 1, 1), mended, bonus)
    return Verdict(path, accepted, own, refused, score=judged(draft, score))


def unit_stands(draft: Draft, places: Tensor, stands: Tensor) -> tuple[Tensor, Tensor]:
    """Whether each unit stands ``(batch, nodes)`` and each vector, padding included."""
    stands = stands | (places < 0)
    agrees = stands.all(-1)
    return agrees if draft.valid is None else agrees & draft.valid, stands


def judged(draft: Draft, score: Tensor) -> Tensor:
    """Scores ``(batch, nodes)`` with NaN where a unit is padding or could not be judged."""
    sound = score.isfinite() if draft.valid is None else score.isfinite() & draft.valid
    return torch.where(sound, score, torch.nan)
