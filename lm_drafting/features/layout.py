"""A prompt as a drafter reads it: text at its own positions, pictures replaced by fewer rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from lm_drafting.features.network import DraftNetwork
from lm_drafting.vision.compressor import Grid, VisualCompressor, VisualInput
from lm_drafting.vision.runs import Run, find_runs


@dataclass(frozen=True)
class Texts:
    """What a target read and thought, right-padded.

    Attributes:
        ids: ``(batch, length)`` tokens.
        embeds: ``(batch, length, hidden)`` decoder inputs.
        features: ``(batch, length, features)`` the target's hidden states.
        lengths: Tokens of every row, on the host.
        prompts: How many of them are the prompt, on the host.
        runs: Visual runs of every row, see :func:`visual_runs`.
    """

    ids: Tensor
    embeds: Tensor
    features: Tensor
    lengths: Sequence[int]
    prompts: Sequence[int]
    runs: Sequence[Sequence[Run]]


@dataclass(frozen=True)
class Layout:
    """The rows a drafter reads in the place of a text.

    Row ``i`` of a text without pictures is the pair (embedding of token ``i + 1``, hidden state of
    position ``i``) and stands at position ``i``. Text keeps its position whatever happens to
    pictures; compressed rows stand within the run they replace.

    Attributes:
        rows: ``(batch, n, row)``, right-padded.
        positions: ``(batch, n)``; None where row ``i`` stands at position ``i`` everywhere.
        removed: Rows each text lost; its last row stands at position ``n + removed - 1``.
        summary: ``(batch, hidden)`` the compressor's vector of each text's last picture, zeros
            where there is none; None where the compressor makes none.
        cost: Mean share of visual tokens kept, with gradient; None where nothing was chosen.
    """

    rows: Tensor
    positions: Tensor | None
    removed: list[int]
    summary: Tensor | None = None
    cost: Tensor | None = None


def visual_runs(
    ids: Tensor,
    lengths: Sequence[int],
    placeholders: Sequence[int],
    grids: Sequence[Sequence[Grid | None]] | None = None,
) -> list[list[Run]]:
    """Visual runs of every row; no transfer to the host for a target without placeholders."""
    if not placeholders:
        return [[] for _ in lengths]
    return find_runs(ids, lengths, placeholders, grids)


def arrange(network: DraftNetwork, texts: Texts) -> Layout:
    """Fuse text into rows and let the network's compressor shorten the pictures.

    Raises:
        ValueError: The compressor refuses a picture.
    """
    embeds, features = texts.embeds[:, 1:], texts.features[:, :-1]
    if network.compressor is None:
        return Layout(network.fuse(embeds, features), None, [0] * len(embeds))
    pictures = _compress(network, network.compressor, texts)
    plans = [_plan(texts, pictures, row) for row in range(len(embeds))]
    columns = ([getattr(plan, name) for plan in plans] for name in ("text", "picture", "latest"))
    text, picture, latest = (
        pad_sequence([torch.tensor(row, dtype=torch.long) for row in rows], batch_first=True).to(
            embeds.device
        )
        for rows in columns
    )
    batch = torch.arange(len(plans), device=embeds.device).unsqueeze(1)
    table = pictures.summaries
    rows = network.fuse(
        embeds[batch, text], features[batch, text], None if table is None else table[latest]
    )
    is_text = picture == 0
    return Layout(
        rows=torch.where(is_text.unsqueeze(-1), rows, pictures.rows.to(rows)[picture]),
        positions=torch.where(is_text, text, pictures.positions[picture]),
        removed=[
            length - 1 - len(plan.text) for length, plan in zip(texts.lengths, plans, strict=True)
        ],
        summary=None if table is None else table[[plan.last for plan in plans]],
        cost=pictures.cost,
    )


@dataclass(frozen=True)
class _Pictures:
    """The compressed runs of a batch.

    Attributes:
        rows: ``(1 + kept rows of all runs, row)``; entry 0 is no picture.
        positions: Position of each of them.
        spans: First entry and number of entries of every run, by batch row and run.
        summaries: ``(1 + runs, hidden)``; entry 0 is zeros, for text before any picture.
        cost: See :class:`Layout`.
    """

    rows: Tensor
    positions: Tensor
    spans: dict[tuple[int, int], tuple[int, int]]
    summaries: Tensor | None
    cost: Tensor | None


@dataclass(frozen=True)
class _Plan:
    """What stands in each slot of one text.

    Attributes:
        text: Pair that is fused; 0 where a picture stands.
        picture: Entry among the compressed rows; 0 where text stands.
        latest: Entry of the latest picture's summary.
        last: The same behind the last slot.
    """

    text: list[int]
    picture: list[int]
    latest: list[int]
    last: int


def _plan(texts: Texts, pictures: _Pictures, row: int) -> _Plan:
    text: list[int] = []
    picture: list[int] = []
    latest: list[int] = []
    cursor, last = 0, 0
    order = list(pictures.spans)
    for index, run in enumerate(texts.runs[row]):
        first, count = pictures.spans[row, index]
        before = run.start - cursor
        text += [*range(cursor, run.start), *[0] * count]
        picture += [*[0] * before, *range(first, first + count)]
        latest += [*[last] * before, *[0] * count]
        cursor, last = run.end, 1 + order.index((row, index))
    rest = texts.lengths[row] - 1 - cursor
    text += range(cursor, cursor + rest)
    return _Plan(text, [*picture, *[0] * rest], [*latest, *[last] * rest], last)


def _compress(network: DraftNetwork, compressor: VisualCompressor, texts: Texts) -> _Pictures:
    """Compress all runs of a batch, those of equal length and grid in one call."""
    embeds, features = texts.embeds[:, 1:], texts.features[:, :-1]
    groups: dict[tuple[int, Grid | None], list[tuple[int, int]]] = {}
    for row, runs in enumerate(texts.runs):
        for index, run in enumerate(runs):
            groups.setdefault((run.end - run.start, run.grid), []).append((row, index))
    question = _question(texts)
    rows, positions, summaries, costs = [], [], [], []
    spans: dict[tuple[int, int], tuple[int, int]] = {}
    entry = 1
    for (length, grid), members in groups.items():
        batch = torch.tensor([row for row, _ in members], device=embeds.device)
        starts = torch.tensor(
            [texts.runs[row][index].start for row, index in members], device=embeds.device
        ).unsqueeze(1)
        at = (batch.unsqueeze(1), starts + torch.arange(length, device=embeds.device))
        seen, thought = embeds[at], features[at]
        fused, hidden = network.fuse(seen, thought), network.condense(thought)
        made = compressor(VisualInput(seen, hidden, fused, question[batch], grid))
        kept = made.rows if compressor.reads == "fused" else network.admit(made.rows)
        for place, (member, count) in enumerate(zip(members, made.counts, strict=True)):
            rows.append(kept[place, :count])
            positions.append((starts[place] + made.offsets[place])[:count])
            spans[member] = (entry, count)
            entry += count
        if made.summary is not None:
            summaries.append(made.summary)
        if made.cost is not None:
            costs.append(made.cost * len(members))
    nothing = embeds.new_zeros(1, network.row_size)
    zero = torch.zeros(1, dtype=torch.long, device=embeds.device)
    table = None
    if network.reads_summary:
        table = torch.cat([embeds.new_zeros(1, embeds.shape[2]), *summaries])
        if not summaries:
            table = table.expand(1 + len(spans), -1)
    return _Pictures(
        rows=torch.cat([nothing, *(part.to(nothing) for part in rows)]),
        positions=torch.cat([zero, *positions]),
        spans=spans,
        summaries=table,
        cost=torch.stack(costs).sum() / len(spans) if costs else None,
    )


def _question(texts: Texts) -> Tensor:
    """``(batch, hidden)`` mean embedding of each prompt's text."""
    prompts = torch.tensor(texts.prompts).unsqueeze(1)
    is_text = torch.arange(texts.ids.shape[1]) < prompts
    for row, runs in enumerate(texts.runs):
        for run in runs:
            is_text[row, run.start + 1 : run.end + 1] = False
    weights = is_text.to(texts.embeds)
    weights = weights / weights.sum(1, keepdim=True).clamp(min=1)
    return torch.einsum("bl,blh->bh", weights, texts.embeds)
