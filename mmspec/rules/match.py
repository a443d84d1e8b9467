"""Exact verification of deterministic drafts, chains and trees, greedy and sampled."""

from __future__ import annotations

from mmspec.messages import Draft, Evidence, Verdict
from mmspec.noise import Noise
from mmspec.rules.certificate import Certificate
from mmspec.rules.walk import has_child, longest_path

STREAM = "target"


class Match:
    """The target draws its own unit after every node; a drafted node stands if it is that unit.

    Greedy decoding draws the argmax. When sampling, the draw at output position ``i`` inverts the
    target's cumulative law at the uniform of position ``i``, so the output is the very sequence
    plain sampling gives under the same seed, whatever was drafted. In law this is the recursive
    one-hot rule of EAGLE-2 and ViSpec (accept child ``x`` with probability ``p(x)``, else zero it
    and renormalise): a set of distinct children ``C`` is accepted with probability ``p(C)``.

    Exact for any proposal, however it was found, pruned or edited.
    """

    certificate = Certificate(
        "exact", "every unit is the target's own draw; the draft only decides how many at a time"
    )

    def judge(self, draft: Draft, evidence: Evidence, noise: Noise) -> Verdict:
        """Pure: reads the draft, the evidence and the noise tape; changes nothing."""
        law = evidence.law
        own = law.draw() if law.is_one_hot else law.draw(noise.at(STREAM, evidence.positions))
        agrees = draft.units == own.gather(1, draft.tree.parents + 1)
        if draft.valid is not None:
            agrees = agrees & draft.valid
        path, accepted, end = longest_path(draft.tree, agrees)
        return Verdict(
            path=path,
            accepted=accepted,
            own=own.gather(1, end.unsqueeze(1)).squeeze(1),
            corrected=has_child(draft.tree, end, draft.valid),
        )
