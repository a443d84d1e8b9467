"""What the drafter learns from is what it reads while drafting, for every family of models."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from adapters.image_tokens.target import ImageTokenTarget
from adapters.llamagen.conditioning import causal_mask
from image_ar.discrete.eagle.drafter import ImageEagleDrafter
from image_ar.discrete.eagle.lessons import Lesson, read
from image_ar.discrete.eagle.network import ImageEagle
from image_ar.discrete.eagle.recipe import config_for
from image_ar.discrete.eagle.training import rollout
from mmspec.distributions import Categorical
from mmspec.engine import Engine
from mmspec.messages import Draft, Plan
from mmspec.pacing import Fixed
from mmspec.rules import Exact
from mmspec.sampling import Sampling
from mmspec.token_target import Request
from tests.adapters.image_models import BY_NAME, NAMES
from tests.adapters.test_guided_decoders import target_of

from .models import GRID, LEAD, VOCAB, inputs, target

DEPTH, SCALE = 3, 2.5


def drafter_for(model: ImageTokenTarget, seed: int = 1) -> ImageEagle:
    made = ImageEagle(config_for(model, 2, 48))
    made.reset_parameters(torch.Generator().manual_seed(seed))
    return made.requires_grad_(False).eval()


def codes(rows: int) -> Tensor:
    generator = torch.Generator().manual_seed(2)
    return torch.randint(VOCAB, (rows, GRID * GRID), generator=generator)


@pytest.mark.parametrize("unconditional", [False, True])
def test_llamagen_reads_as_its_own_full_forward(unconditional: bool) -> None:
    model, given, tokens = target(), inputs(3, 2.0), codes(3)
    lesson = read(model, given, tokens, unconditional)
    gpt: Any = model.decoder.model  # type: ignore[attr-defined]
    drop = torch.full((3,), unconditional)
    embeds = torch.cat([gpt.embed_condition(given, drop), model.embed(tokens)], 1)
    places = torch.arange(embeds.shape[1]).unsqueeze(0)
    hidden = gpt(embeds, places, causal_mask(given["caption_mask"], embeds.shape[1]))
    torch.testing.assert_close(lesson.embeds, embeds[:, 1:])
    torch.testing.assert_close(lesson.features, hidden[:, :-1])
    torch.testing.assert_close(lesson.truth, hidden[:, 1:])
    assert torch.equal(lesson.positions, places[:, 1:])
    real = torch.cat([given["caption_mask"], torch.ones_like(tokens).bool()], 1)
    assert torch.equal(lesson.seen, real[:, 1:])
    assert lesson.lengths.tolist() == [LEAD] * 3


def test_an_unconditional_stream_needs_guidance() -> None:
    with pytest.raises(ValueError, match="no unconditional stream"):
        read(target(), inputs(1, 1.0), codes(1), unconditional=True)


@pytest.mark.parametrize("name", ["janus", "emu3", "lumina"])
def test_rows_that_count_are_those_before_drafted_cells(name: str) -> None:
    model, painter = target_of(name), BY_NAME[name]
    forced = dict(model.grid.forced_ids())
    picture = [
        forced.get(place, int(painter.allowed(model)[0])) for place in range(model.grid.length)
    ]
    lesson = read(model, painter.inputs(), torch.tensor([picture] * 4))
    counted = lesson.counted(DEPTH)
    cells = set(model.grid.cell_positions())
    for level in range(DEPTH):
        for row, length in enumerate(lesson.lengths.tolist()):
            # Row r holds token r + 1; the next token's output position is r + 2 - length.
            wanted = [place + length - 2 for place in sorted(cells) if place > level]
            assert counted[level, row].nonzero().flatten().tolist() == wanted


class Recorded(Exact):
    """Keeps every draft that was judged, with where it began."""

    def __init__(self) -> None:
        super().__init__()
        self.drafts: list[tuple[list[int], Draft]] = []

    def judge(self, draft: Draft, evidence: Any, noise: Any) -> Any:
        self.drafts.append((evidence.positions[:, 0].tolist(), draft))
        return super().judge(draft, evidence, noise)


def laws_in_training(
    model: Any, net: ImageEagle, given: Any, pictures: Tensor, scale: float
) -> Tensor:
    """``(depth, batch, rows, vocab)`` guided laws by the rollout over lessons, without a cache."""
    logits = []
    for unconditional in (False, True) if scale > 1 else (False,):
        lesson: Lesson = read(model, given, pictures, unconditional)
        outs = rollout(net, lesson.embeds, lesson.features, lesson.positions, DEPTH, lesson.seen)
        logits.append(torch.stack([model.head(out) for out in outs]))
    if scale <= 1:
        return logits[0].softmax(-1)
    return (logits[1] + scale * (logits[0] - logits[1])).softmax(-1)


@pytest.mark.parametrize("scale", [1.0, SCALE], ids=["plain", "guided"])
@pytest.mark.parametrize("name", ["llamagen", *NAMES])
def test_drafts_follow_the_laws_of_training(name: str, scale: float) -> None:
    """Four pictures, prompts of different lengths, in one batch."""
    model = target() if name == "llamagen" else target_of(name)
    given = inputs(4, scale) if name == "llamagen" else BY_NAME[name].inputs(scale=scale)
    length = model.grid.length
    net, rule = drafter_for(model), Recorded()
    assert (net.config.lead is None) == (name != "llamagen")
    drafter = ImageEagleDrafter(net, model)
    engine = Engine(model, drafter, rule, Fixed(Plan(DEPTH)), DEPTH, strict=True)
    sampling = Sampling(max_new_tokens=length, temperature=1.0, forced_ids=model.grid.forced_ids())
    rows, _ = engine.generate(Request(given, sampling), seeds=[1, 2, 3, 4])
    checked = 0
    for places, draft in rule.drafts[1:6]:
        assert isinstance(draft.law, Categorical)
        texts = torch.tensor(rows)
        for row, place in enumerate(places):
            drafted = draft.units[row].tolist()[: length - place]
            texts[row, place : place + len(drafted)] = torch.tensor(drafted)
        laws = laws_in_training(model, net, given, texts, scale)
        starts = read(model, given, texts).lengths.tolist()
        for row, place in enumerate(places):
            for step in range(min(draft.nodes, length - place)):
                wanted = laws[step, row, starts[row] + place + step - 2]
                torch.testing.assert_close(draft.law.probs[row, step], wanted, atol=2e-5, rtol=1e-3)
                checked += 1
    assert checked > 20


def test_padding_matters() -> None:
    """The twin of the law above: rows that look at padding say something else."""
    model, given = target_of("anole"), BY_NAME["anole"].inputs(scale=SCALE)
    net = drafter_for(model)
    pictures = torch.full((4, model.grid.length), int(BY_NAME["anole"].allowed(model)[0]))
    lesson = read(model, given, pictures, unconditional=True)
    assert not lesson.seen.all()
    shape = (net, lesson.embeds, lesson.features, lesson.positions, 1)
    with_it, without = rollout(*shape, lesson.seen)[0], rollout(*shape, None)[0]
    assert float((with_it - without)[0, -3:].abs().max()) > 1e-3


@pytest.mark.parametrize("plan", [Plan(4), Plan(5, width=4, budget=25)], ids=["chain", "tree"])
@pytest.mark.parametrize("name", NAMES)
def test_drafts_change_no_greedy_picture(name: str, plan: Plan) -> None:
    model, given = target_of(name), BY_NAME[name].inputs()
    drafter = ImageEagleDrafter(drafter_for(model), model)
    engine = Engine(model, drafter, pacer=Fixed(plan), lookahead=plan.nodes, strict=True)
    sampling = Sampling(max_new_tokens=model.grid.length, forced_ids=model.grid.forced_ids())
    request = Request(given, sampling)
    assert engine.generate(request)[0] == engine.plain().generate(request)[0]


def test_shapes_follow_the_target() -> None:
    model = target()
    config = config_for(model)
    assert (config.hidden_size, config.vocab_size, config.lead) == (32, VOCAB, LEAD)
    assert (config.num_heads, config.intermediate_size) == (1, 256)
    with pytest.raises(ValueError, match="5 heads on a width of 32"):
        config_for(model, 5)
