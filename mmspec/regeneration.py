"""Drawing spans of a draft anew: refusals that do not truncate what stands behind them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from mmspec.distributions import Law, take_rows
from mmspec.messages import Draft, Evidence, Verdict
from mmspec.state import State


@dataclass(frozen=True)
class Redrawn:
    """What a round's units have become.

    Attributes:
        units: ``(batch, nodes + 1)`` the chain and the target's own unit behind it.
        chance: ``(batch, nodes + 1)`` the target's probability of each, given what stood before it
            when it was drawn or judged.
        stale: Per row the first unit whose keys and values in the cache are not those of the units
            that stand now; ``nodes`` where the target's own unit is the only one.
        passes: Passes of the target that this took.
    """

    units: Tensor
    chance: Tensor
    stale: list[int]
    passes: int

    def pending(self, kept: list[int]) -> int:
        """Tokens at the end of the rows that the next pass must run, at least the last one.

        Args:
            kept: Units that each row keeps of the round.
        """
        return max(1, *(count - first for count, first in zip(kept, self.stale, strict=True)))


def regenerate(
    decoder: Any, state: State, draft: Draft, evidence: Evidence, verdict: Verdict
) -> Redrawn:
    """Draw the units that a verdict hands back, wave after wave.

    Every unit is drawn from the target's law given all units that stand before it when its wave
    begins. Wave 0 has that law already, the evidence; each later wave is one pass over the stretch
    from the first unit that has changed to the last one that is wanted, since keys and values
    behind a changed unit are no longer right.

    Mutates the cache: the stretches are written in their own slots.

    Args:
        decoder: The model behind its adapter.
        state: The committed prefix; the draft stands in the slots behind it.
        draft: A chain.
        evidence: Of that draft.
        verdict: With ``again``; accepts the whole chain.

    Raises:
        TypeError: The draft is no chain.
        ValueError: The verdict truncates as well, or a processor reads prefixes, which change
            during the passes.
    """
    again = verdict.again
    assert again is not None
    assert verdict.own is not None
    # The one transfer to the host: which units are whose wave.
    table = torch.cat([again.waves, verdict.accepted.unsqueeze(1)], 1).tolist()
    _check(state, draft, [row.pop() for row in table])
    units = torch.cat([draft.units, verdict.own.unsqueeze(1)], 1)
    columns = torch.arange(draft.nodes + 1, device=units.device).expand_as(units)
    law, chance = evidence.law, evidence.law.probability(columns, units)
    stale = [draft.nodes] * draft.batch
    waves = range(max((max(row) for row in table), default=-1) + 1)
    for wave in waves:
        wanted = [[place for place, own in enumerate(row) if own == wave] for row in table]
        if wave:
            starts, count = _stretch(wanted, stale, draft.nodes + 1)
            columns, law = _run(decoder, state, units, starts, count)
        takes = take_rows(again.waves, columns) == wave
        drawn = law.draw(take_rows(again.uniforms, columns))
        drawn = torch.where(takes, drawn, units.gather(1, columns))
        rows = torch.arange(columns.shape[1], device=units.device).expand_as(columns)
        said = torch.where(takes, law.probability(rows, drawn), chance.gather(1, columns))
        units, chance = units.scatter(1, columns, drawn), chance.scatter(1, columns, said)
        stale = [min(row, default=old) for row, old in zip(wanted, stale, strict=True)]
    return Redrawn(units, chance, stale, passes=max(0, len(waves) - 1))


def _stretch(wanted: list[list[int]], stale: list[int], width: int) -> tuple[list[int], int]:
    """Which units' predecessors a pass runs: the first one in each row, and how many.

    The predecessor of a row's first unit is the root. A stretch that is longer than its row needs
    repeats what is right already, or runs ahead.
    """
    rows = [
        (min(old + 1, *row), max(row)) if row else (0, 0)
        for row, old in zip(wanted, stale, strict=True)
    ]
    count = max(last + 1 - first for first, last in rows)
    return [min(first, width - count) for first, _ in rows], count


def _run(
    decoder: Any, state: State, units: Tensor, starts: list[int], count: int
) -> tuple[Tensor, Law]:
    """One pass over the predecessors of a stretch of units.

    Returns:
        ``(batch, count)`` the units that the pass says something about, and their laws.
    """
    first = torch.tensor(starts, device=units.device).unsqueeze(1)
    columns = first + torch.arange(count, device=units.device)
    root = state.tokens.gather(1, (state.lengths - 1).unsqueeze(1))
    tokens = torch.cat([root, units], 1).gather(1, columns)
    slots = (state.lengths - 1).unsqueeze(1) + columns
    longest = max(state.host_lengths) + units.shape[1] - 1
    places = {length - 1 + start for length, start in zip(state.host_lengths, starts, strict=True)}
    state.cache.place(slots[:, 0] if len(places) > 1 else places.pop(), count, longest)
    view = torch.arange(longest, device=units.device)
    mask = (view <= slots.unsqueeze(-1)).unsqueeze(1)  # (batch, 1, count, view)
    logits, _ = decoder.step(tokens, slots, mask, state)
    positions = slots + 1 - state.prompt_lengths.unsqueeze(1)
    nothing = Draft.empty(units.shape[0], units.device)
    law: Law = state.sampler.law(logits, positions, state, nothing)
    return columns, law


def _check(state: State, draft: Draft, accepted: list[int]) -> None:
    """Refuse what cannot be regenerated in place.

    Raises:
        TypeError, ValueError: See :func:`regenerate`.
    """
    if not draft.tree.is_chain:
        raise TypeError("only chains can be regenerated in part; use a rule that truncates")
    if any(count != draft.nodes for count in accepted):
        raise ValueError(
            f"a verdict that has units drawn anew must accept the whole chain of {draft.nodes}, "
            f"it accepts {accepted}; draft chains without padding for such rules"
        )
    if state.sampler.reads_prefixes:
        raise ValueError(
            "methods that regenerate spans cannot run with repetition penalties, bad words or "
            "custom processors; leave these options out, or use a method that truncates"
        )
