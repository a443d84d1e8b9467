"""What every rejection rule asks of a draft and its evidence before it compares laws."""

from __future__ import annotations

from torch import Tensor

from mmspec.distributions import Categorical
from mmspec.messages import Draft, Evidence


def recorded_laws(draft: Draft, evidence: Evidence, rule: str) -> tuple[Tensor, Tensor]:
    """``p`` ``(batch, nodes + 1, vocab)`` and ``q`` ``(batch, nodes, vocab)``.

    Raises:
        TypeError: One of them is no categorical law; ``rule`` is named.
    """
    p_law, q_law = evidence.law, draft.law
    if not (isinstance(p_law, Categorical) and isinstance(q_law, Categorical)):
        raise TypeError(f"{rule} needs categorical laws of target and draft")
    return p_law.probs, q_law.probs
