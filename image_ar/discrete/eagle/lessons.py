"""A batch of pictures as the drafter would read it while drafting, with what it should say."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from image_ar.discrete.eagle.conditions import padded_rows, streams_of
from mmspec.messages import Draft
from mmspec.sampling import Sampling
from mmspec.state import State
from mmspec.token_target import Request

_AT_ONCE = 256  # picture tokens in one pass of the target, whose logits are made along the way


@dataclass(frozen=True)
class Lesson:
    """Teacher-forced pictures of one stream of the target, right-padded.

    Row ``r`` joins token ``r + 1`` with the target's hidden state of position ``r``.

    Attributes:
        embeds: ``(batch, rows, hidden)`` embeddings of the tokens.
        features: ``(batch, rows, hidden)`` hidden states one position before.
        truth: ``(batch, rows, hidden)`` hidden states of the tokens themselves.
        positions: ``(1, rows)``.
        seen: ``(batch, rows)`` bool, False on padding in front.
        lengths: ``(batch,)`` tokens of every prompt.
        cells: ``(batch, rows)`` bool, rows after which a picture code that was drafted may follow.
    """

    embeds: Tensor
    features: Tensor
    truth: Tensor
    positions: Tensor
    seen: Tensor
    lengths: Tensor
    cells: Tensor

    def counted(self, depth: int) -> Tensor:
        """``(depth, batch, rows)`` bool, the rows that count at each depth.

        While drafting, the last row with a true hidden state holds a picture token, and rows of
        greater depth lie behind it.
        """
        ages = self.positions - self.lengths.unsqueeze(1)
        return torch.stack([self.cells & (ages >= level) for level in range(depth)])


@torch.no_grad()
def read(
    target: Any, inputs: dict[str, Any], tokens: Tensor, unconditional: bool = False
) -> Lesson:
    """Let the target read prompts and pictures.

    Args:
        target: A token target with ``grid``, ``hidden_size`` and ``embed``; never changed.
        inputs: Made by its ``prepare``; with guidance where ``unconditional``.
        tokens: ``(batch, length)`` output tokens of whole pictures, line ends among them.
        unconditional: Take the stream without the condition.

    Raises:
        ValueError: The unconditional stream of inputs without guidance.
    """
    sampling = Sampling(max_new_tokens=tokens.shape[1])
    state, _ = target.prefill(Request(inputs, sampling, features=True))
    prompt, width = state.prompt, target.hidden_size
    assert prompt.hidden is not None
    assert prompt.embeds is not None
    if unconditional and prompt.hidden.shape[-1] == width:
        raise ValueError("inputs without guidance have no unconditional stream; prepare with it")
    share = slice(len(tokens), None) if unconditional else slice(0, len(tokens))
    padded = padded_rows(prompt, width)
    hidden = _behind(prompt.hidden, _hidden_of(target, state, tokens), state.prompt_lengths)
    embeds = _behind(
        streams_of(prompt.embeds, width)[share], target.embed(tokens), state.prompt_lengths
    )
    hidden = streams_of(hidden, width)[share].float()
    positions = torch.arange(1, embeds.shape[1], device=tokens.device).unsqueeze(0)
    seen = torch.ones(len(tokens), embeds.shape[1] - 1, dtype=torch.bool, device=tokens.device)
    if padded is not None:
        seen[:, : padded.shape[1]] &= ~padded[share]
    return Lesson(
        embeds=embeds[:, 1:].float(),
        features=hidden[:, :-1],
        truth=hidden[:, 1:],
        positions=positions,
        seen=seen,
        lengths=state.prompt_lengths,
        cells=_cells_follow(target.grid, positions, state.prompt_lengths),
    )


def _hidden_of(target: Any, state: State, tokens: Tensor) -> Tensor:
    """``(batch, length, streams * hidden)`` hidden states of the picture tokens."""
    lengths = state.prompt_lengths
    steps = torch.arange(tokens.shape[1], device=tokens.device)
    state.tokens.scatter_(1, lengths.unsqueeze(1) + steps, tokens)
    nothing, found = Draft.empty(len(tokens), tokens.device), []
    for start in range(0, tokens.shape[1], _AT_ONCE):
        end = min(start + _AT_ONCE, tokens.shape[1])
        reached = [length + end for length in state.prompt.lengths]
        target.rewind(state, lengths + end, reached, end - start)
        found.append(target.forward(state, nothing)[1])
    return torch.cat(found, 1)


def _behind(prompts: Tensor, pictures: Tensor, lengths: Tensor) -> Tensor:
    """``(batch, longest + length, width)``: every picture at the end of its own prompt."""
    steps = torch.arange(pictures.shape[1], device=lengths.device)
    places = (lengths.unsqueeze(1) + steps).unsqueeze(-1).expand_as(pictures)
    room = prompts.new_zeros(len(prompts), pictures.shape[1], prompts.shape[-1])
    return torch.cat([prompts, room], 1).scatter(1, places, pictures.to(prompts.dtype))


def _cells_follow(grid: Any, positions: Tensor, lengths: Tensor) -> Tensor:
    """``(batch, rows)`` bool: behind the token at a position stands a cell, not a line end."""
    cells = torch.zeros(grid.length + 1, dtype=torch.bool, device=positions.device)
    cells[grid.cell_positions()] = True
    follows = positions + 1 - lengths.unsqueeze(1)
    return cells[follows.clamp(0, grid.length)] & (follows >= 0)
