"""The exact rule that fits how a draft was made."""

from __future__ import annotations

from mmspec.messages import Draft, Evidence, Verdict
from mmspec.noise import Noise
from mmspec.rules.certificate import Certificate
from mmspec.rules.chain import ChainRejection
from mmspec.rules.match import Match
from mmspec.rules.tree import TreeRejection


class Exact:
    """Lossless verification of any draft; the default rule everywhere.

    Deterministic and empty drafts, and every draft of a greedy target, go to :class:`Match`; drafts
    that were sampled from recorded laws go to rejection, which accepts more: ``sum min(p, q)``
    instead of ``E_q[p(x)]``.
    """

    certificate = Certificate(
        "exact", "the output law is the target's own; greedy output is identical"
    )

    def __init__(self) -> None:
        self._match, self._chain, self._tree = Match(), ChainRejection(), TreeRejection()

    def judge(self, draft: Draft, evidence: Evidence, noise: Noise) -> Verdict:
        """Pure; see the rule it hands over to."""
        if not draft.nodes or draft.law.is_one_hot or evidence.law.is_one_hot:
            return self._match.judge(draft, evidence, noise)
        if draft.tree.is_chain:
            return self._chain.judge(draft, evidence, noise)
        return self._tree.judge(draft, evidence, noise)
