"""Cached, chunked and tree passes of every family give the laws of the model's own full forward."""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest
import torch
from torch import Tensor

from adapters.image_tokens.target import ImageTokenTarget
from mmspec.messages import Draft, Features
from mmspec.sampling import Sampling
from mmspec.state import State
from mmspec.token_target import Request
from mmspec.trees import Tree
from tests.adapters.image_models import BY_NAME, CODES, NAMES, Painter

CLOSE: dict[str, Any] = {"atol": 2e-4, "rtol": 1e-4}


@cache
def target_of(name: str) -> ImageTokenTarget:
    return BY_NAME[name].make()


def outputs_of(painter: Painter, rows: int = 4, seed: int = 0) -> Tensor:
    """``(rows, length)`` random pictures with their line ends."""
    target = target_of(painter.name)
    grid, ids = target.grid, painter.allowed(target)
    generator = torch.Generator().manual_seed(seed)
    output = ids[torch.randint(CODES, (rows, grid.length), generator=generator)]
    for position, token in grid.forced_ids():
        output[:, position] = token
    return output


def begun(
    painter: Painter, inputs: dict[str, Any], output: Tensor, **request: Any
) -> tuple[State, Tensor]:
    """A state whose tokens hold ``output``, and the logits of the prefill."""
    target = target_of(painter.name)
    sampling = Sampling(max_new_tokens=target.grid.length)
    state, evidence = target.prefill(Request(inputs, sampling, lookahead=12, **request))
    slots = state.prompt_lengths.unsqueeze(1) + torch.arange(output.shape[1])
    state.tokens.scatter_(1, slots, output)
    return state, evidence.law.scores  # type: ignore[attr-defined]


def run(target: ImageTokenTarget, state: State, made: int, pending: int, draft: Draft) -> Tensor:
    """Logits of the last ``pending`` of ``made`` picture tokens, then of the draft."""
    lengths = state.prompt_lengths + made
    target.rewind(state, lengths, lengths.tolist(), pending)
    return target.forward(state, draft)[0]


def codes(painter: Painter, logits: Tensor) -> Tensor:
    return logits[..., painter.allowed(target_of(painter.name))]


@pytest.mark.parametrize("rows", [(0, 1, 2, 3), (1,)], ids=["batch", "alone"])
@pytest.mark.parametrize("scale", [3.0, 1.0])
@pytest.mark.parametrize("name", NAMES)
@torch.inference_mode()
def test_any_chunks_equal_the_full_forward(name: str, scale: float, rows: tuple[int, ...]) -> None:
    painter, target = BY_NAME[name], target_of(name)
    output = outputs_of(painter)[list(rows)]
    length = output.shape[1]
    wanted = torch.stack(
        [painter.laws(target, row, output[i].tolist(), scale) for i, row in enumerate(rows)]
    )
    for chunk in (1, 3, length):
        state, first = begun(painter, painter.inputs(rows, scale), output)
        nothing = Draft.empty(len(rows))
        got = [first]
        for made in range(0, length, chunk):
            new = min(chunk, length - made)
            got.append(run(target, state, made + new, new, nothing))
        torch.testing.assert_close(codes(painter, torch.cat(got, 1)), wanted, **CLOSE)


@pytest.mark.parametrize("name", NAMES)
@torch.inference_mode()
def test_only_picture_codes_can_be_drawn(name: str) -> None:
    painter, target = BY_NAME[name], target_of(name)
    state, first = begun(painter, painter.inputs(), outputs_of(painter))
    others = torch.ones(target.vocab_size, dtype=torch.bool)
    others[painter.allowed(target)] = False
    for logits in (first, run(target, state, 1, 1, Draft.empty(4))):
        assert torch.isfinite(logits).all()
        assert (logits.softmax(-1)[..., others] == 0).all()


@pytest.mark.parametrize("name", NAMES)
@torch.inference_mode()
def test_every_branch_of_a_tree_equals_its_own_forward(name: str) -> None:
    painter, target = BY_NAME[name], target_of(name)
    output = outputs_of(painter)
    state, _ = begun(painter, painter.inputs(), output)
    run(target, state, 2, 2, Draft.empty(4))
    parents = torch.tensor([[-1, -1, 0, 0, 2, 1], [-1, 0, 1, -1, 3, 3]] * 2)
    picks = torch.randint(CODES, parents.shape, generator=torch.Generator().manual_seed(5))
    units = painter.allowed(target)[picks]
    logits = codes(painter, run(target, state, 3, 1, Draft(units, Tree(parents, 3))))
    for row in range(4):
        for node in range(6):
            branch, at = [], node
            while at >= 0:
                branch.insert(0, int(units[row, at]))
                at = int(parents[row, at])
            prefix = [*output[row, :3].tolist(), *branch]
            wanted = painter.laws(target, row, prefix, 3.0)[-1]
            torch.testing.assert_close(logits[row, node + 1], wanted, **CLOSE)


@pytest.mark.parametrize("name", NAMES)
@torch.inference_mode()
def test_rows_of_different_lengths(name: str) -> None:
    painter, target = BY_NAME[name], target_of(name)
    output = outputs_of(painter)
    state, _ = begun(painter, painter.inputs(), output)
    nothing = Draft.empty(4)
    run(target, state, 5, 5, nothing)
    made = torch.tensor([5, 2, 4, 3])
    lengths = state.prompt_lengths + made
    target.rewind(state, lengths, lengths.tolist(), 1)
    units = output.gather(1, made.unsqueeze(1) + torch.arange(2))
    logits = codes(painter, target.forward(state, Draft.chain(units))[0])
    for row, count in enumerate(made.tolist()):
        wanted = painter.laws(target, row, output[row, : count + 2].tolist(), 3.0)
        torch.testing.assert_close(logits[row], wanted[-3:], **CLOSE)


@pytest.mark.parametrize("name", NAMES)
@torch.inference_mode()
def test_guidance_ends_after_the_interval_and_is_off_in_rows_of_scale_one(name: str) -> None:
    painter, target = BY_NAME[name], target_of(name)
    output = outputs_of(painter)
    inputs = painter.inputs(interval=1)
    inputs["guidance_scale"] = torch.tensor([3.0, 1.0, 2.0, 0.0])
    state, first = begun(painter, inputs, output)
    rest = run(target, state, 6, 6, Draft.empty(4))
    got = codes(painter, torch.cat([first, rest], 1))
    for row, scale in enumerate((3.0, 1.0, 2.0, 1.0)):
        guided = painter.laws(target, row, output[row, :6].tolist(), scale)
        plain = painter.laws(target, row, output[row, :6].tolist(), 1.0)
        # The prefill gives code 0; steps 0 and 1 give codes 1 and 2.
        wanted = torch.cat([guided[:3], plain[3:]])
        torch.testing.assert_close(got[row], wanted, **CLOSE)


@pytest.mark.parametrize("name", NAMES)
@torch.inference_mode()
def test_padding_of_the_inputs_does_not_matter(name: str) -> None:
    painter = BY_NAME[name]
    output = outputs_of(painter)
    inputs = painter.inputs()
    state, first = begun(painter, inputs, output)
    other = dict(inputs)
    for ids, mask in (("input_ids", "attention_mask"), ("null_ids", "null_mask")):
        behind = inputs[ids].new_full((4, 3), 17)
        other[ids] = torch.cat([behind[:, :1], inputs[ids], behind], 1)
        other[mask] = torch.cat([behind[:, :1] * 0, inputs[mask], behind * 0], 1)
    again_state, again = begun(painter, other, output)
    torch.testing.assert_close(again, first)
    assert again_state.host_lengths == state.host_lengths


@pytest.mark.parametrize("layers", [None, (0, 2)])
@pytest.mark.parametrize("scale", [3.0, 1.0])
@pytest.mark.parametrize("name", NAMES)
@torch.inference_mode()
def test_features_head_and_guide_serve_drafters(
    name: str, scale: float, layers: tuple[int, ...] | None
) -> None:
    painter, target = BY_NAME[name], target_of(name)
    output = outputs_of(painter)
    state, first = begun(painter, painter.inputs(scale=scale), output, features=Features(layers))
    streams, wide = (2, 2) if scale > 1 else (1, 1)
    wide *= 1 if layers is None else len(layers)
    prompt = state.prompt
    assert prompt.hidden is not None
    assert prompt.embeds is not None
    assert prompt.hidden.shape == (4, max(prompt.lengths), wide * target.hidden_size)
    assert prompt.embeds.shape == (4, max(prompt.lengths), streams * target.hidden_size)
    assert target.embed(output).shape == (*output.shape, target.hidden_size)
    lengths = state.prompt_lengths + 2
    target.rewind(state, lengths, lengths.tolist(), 2)
    logits, hidden = target.forward(state, Draft.empty(4))
    assert hidden.shape == (4, 2, wide * target.hidden_size)
    if layers is not None:
        halves = hidden.chunk(streams, -1)
        # What enters the first layer are the embeddings, the same in both halves.
        for half in halves:
            torch.testing.assert_close(half[..., : target.hidden_size], target.embed(output[:, :2]))
        return
    positions = state.prompt_lengths.unsqueeze(1) + torch.arange(2)
    again = target.head(torch.cat(hidden.chunk(streams, -1)))
    if scale > 1:
        again = target.guide(again, positions, state)
    torch.testing.assert_close(again, logits)
    ends = state.prompt_lengths - 1
    last = torch.cat(prompt.hidden[torch.arange(4), ends].unsqueeze(1).chunk(streams, -1))
    again = target.head(last)
    if scale > 1:
        again = target.guide(again, ends.unsqueeze(1), state)
    torch.testing.assert_close(again, first)


def test_halves_of_different_lengths_are_padded_in_front() -> None:
    painter = BY_NAME["emu3"]
    state, _ = begun(painter, painter.inputs(), outputs_of(painter), features=True)
    counts = [len(row) for row in (*painter.prompts, *painter.nulls)]
    longer = [max(counts[row], counts[row + 4]) for row in range(4)]
    assert state.prompt.lengths == longer
    pads = [slots - count for slots, count in zip(longer * 2, counts, strict=True)]
    assert state.cache.pads.tolist() == pads
    halves = torch.cat(state.prompt.embeds.chunk(2, -1))  # type: ignore[union-attr]
    for row, pad in enumerate(pads):
        assert (halves[row, :pad] == 0).all()


def test_equal_halves_need_no_padding() -> None:
    painter = BY_NAME["janus"]
    state, _ = begun(painter, painter.inputs(), outputs_of(painter))
    assert state.cache.pads is None
    assert (state.tokens[:, : min(state.prompt.lengths)] == 0).all(), "prompts are no codes"


def test_bad_inputs_are_refused() -> None:
    painter, target = BY_NAME["emu3"], target_of("emu3")
    good = painter.inputs()
    for change, message in (
        ({"null_ids": None}, "inputs lack null_ids"),
        ({"null_ids": good["null_ids"][:2], "null_mask": None}, "null_ids has 2 rows"),
        ({"null_mask": good["null_mask"] * 0}, "at least one token"),
        ({"attention_mask": good["attention_mask"][:, 1:]}, "attention_mask must have the shape"),
        ({"input_ids": None}, "inputs lack input_ids"),
    ):
        with pytest.raises(ValueError, match=message):
            target.decoder.prefill({**good, **change}, 4, None)
