"""Whatever the image drafter proposes, the output is the target's; what it proposes is right."""

from __future__ import annotations

from collections import Counter

import pytest
import torch

from adapters.llamagen.conditioning import causal_mask
from image_ar.discrete.eagle.drafter import ImageEagleDrafter
from image_ar.discrete.eagle.network import ImageEagle
from image_ar.discrete.eagle.training import rollout
from image_ar.discrete.eagle.trees import NAMED, shape_of
from mmspec.distributions import Categorical
from mmspec.engine import Engine
from mmspec.goodness import chi_square
from mmspec.messages import Draft, Features, Plan
from mmspec.noise import Noise
from mmspec.pacing import Fixed
from mmspec.rules import Exact
from mmspec.sampling import Sampling
from mmspec.token_target import Request

from .models import GRID, VOCAB, inputs, network, target

CELLS = GRID * GRID
PLANS = {"chain": Plan(4), "tree": Plan(5, width=4, budget=25)}


def engine(plan: Plan, seed: int = 1) -> Engine:
    model = target()
    drafter = ImageEagleDrafter(network(seed), model)
    return Engine(model, drafter, pacer=Fixed(plan), lookahead=plan.nodes, strict=True)


def test_named_trees_have_the_published_nodes() -> None:
    depths = {name: Counter(map(len, paths)) for name, paths in NAMED.items()}
    assert depths["mc_sim_7b_63"] == {1: 4, 2: 8, 3: 8, 4: 3, 5: 2}
    assert depths["naive_extend_57"] == {1: 5, 2: 13, 3: 16, 4: 14, 5: 9}


def test_a_plan_cuts_the_tree_to_its_depth_width_and_budget() -> None:
    assert shape_of(Plan(3), "mc_sim_7b_63").tree.is_chain
    shape = shape_of(Plan(2, width=4, budget=7), "naive_extend_57")
    assert shape.tree.nodes == 7
    assert shape.tree.max_depth == 2
    with pytest.raises(
        ValueError, match="tree must be one of mc_sim_7b_63, naive_extend_57, got 'oak'"
    ):
        shape_of(Plan(2, width=2), "oak")


@pytest.mark.parametrize("scale", [1.0, 3.0], ids=["plain", "guided"])
@pytest.mark.parametrize("plan", PLANS.values(), ids=PLANS)
@pytest.mark.parametrize("rows", [1, 3])
def test_greedy_output_is_the_plain_loops(plan: Plan, rows: int, scale: float) -> None:
    speculative = engine(plan)
    request = Request(inputs(rows, scale), Sampling(max_new_tokens=CELLS))
    ours, trace = speculative.generate(request)
    plain, _ = speculative.plain().generate(request)
    assert ours == plain
    assert not trace.notes


@pytest.mark.parametrize("plan", PLANS.values(), ids=PLANS)
def test_a_guided_batch_equals_its_rows_alone(plan: Plan) -> None:
    speculative, sampling = engine(plan), Sampling(max_new_tokens=CELLS, temperature=1.0)
    batch = inputs(3, 2.5)
    together, _ = speculative.generate(Request(batch, sampling), seeds=[4, 5, 6])
    for row in range(3):
        alone = {k: v[row : row + 1] if torch.is_tensor(v) else v for k, v in batch.items()}
        single, _ = speculative.generate(Request(alone, sampling), seeds=[4 + row])
        assert single[0] == together[row]


class Recorded(Exact):
    """Keeps every draft that was judged."""

    def __init__(self) -> None:
        super().__init__()
        self.drafts: list[Draft] = []

    def judge(self, draft, evidence, noise):
        self.drafts.append(draft)
        return super().judge(draft, evidence, noise)


def own_laws(model, net: ImageEagle, row: dict, tokens: list[int], depth: int, scale: float):
    """The drafter's laws behind every token by the training-time rollout, no cache involved."""
    filled = model.decoder.prefill(row, len(tokens) + 1, Features())
    lead, half = filled.ids.shape[1], net.config.hidden_size
    ids = torch.tensor([tokens])
    streams = 2 if filled.hidden.shape[-1] == 2 * half else 1
    drop = [torch.zeros(1, dtype=torch.bool), torch.ones(1, dtype=torch.bool)]
    logits = []
    for stream in range(streams):
        condition = model.decoder.model.embed_condition(row, drop[stream])
        embeds = torch.cat([condition, model.embed(ids)], 1)
        length = embeds.shape[1]
        places = torch.arange(length).unsqueeze(0)
        hidden = model.decoder.model(embeds, places, causal_mask(row["caption_mask"], length))
        seen = torch.cat([row["caption_mask"], torch.ones_like(ids, dtype=torch.bool)], 1)
        outs = rollout(net, embeds[:, 1:], hidden[:, :-1], places[:, 1:], depth, seen[:, 1:])
        logits.append(torch.stack([model.head(out) for out in outs]))
    guided = logits[0] if streams == 1 else logits[1] + scale * (logits[0] - logits[1])
    return guided[:, 0, lead - 1 :].softmax(-1)  # (depth, tokens, vocab)


@pytest.mark.parametrize("scale", [1.0, 3.0], ids=["plain", "guided"])
def test_recorded_laws_are_those_of_the_rollout_in_training(scale: float) -> None:
    depth, model, net = 3, target(), network()
    rule = Recorded()
    drafter = ImageEagleDrafter(net, model)
    speculative = Engine(model, drafter, rule, Fixed(Plan(depth)), depth, strict=True)
    row, sampling = inputs(1, scale), Sampling(max_new_tokens=CELLS, temperature=1.0)
    out, _ = speculative.generate(Request(row, sampling), seeds=[3])
    place = 1
    for draft in rule.drafts[1:4]:
        assert isinstance(draft.law, Categorical)
        text = out[0][:place] + draft.units[0].tolist()
        laws = own_laws(model, net, row, text, depth, scale)
        for step in range(draft.nodes):
            expected = laws[step, place - 1 + step]
            torch.testing.assert_close(draft.law.probs[0, step], expected, atol=2e-5, rtol=1e-4)
        kept = 0
        while kept < draft.nodes and text[place + kept] == out[0][place + kept]:
            kept += 1
        place += kept + 1


class Tilted(ImageEagleDrafter):
    """Records a law that the units were not drawn from."""

    def draft(self, state, plan, noise: Noise) -> Draft:
        made = super().draft(state, plan, noise)
        if not isinstance(made.law, Categorical):
            return made
        flat = made.law.probs.new_full(made.law.probs.shape, 1 / VOCAB)
        return Draft.chain(made.units, Categorical(flat))


@pytest.mark.parametrize(("kind", "good"), [(ImageEagleDrafter, True), (Tilted, False)])
def test_law_of_the_second_cell(kind: type[ImageEagleDrafter], good: bool) -> None:
    """The second cell is the first that is drafted; its law given the first is the target's."""
    rows, model = 4000, target(sharp=15.0)
    one = inputs(1, 2.0)
    batch = {
        k: v.repeat(rows, *[1] * (v.dim() - 1)) if torch.is_tensor(v) else v for k, v in one.items()
    }
    sampling = Sampling(max_new_tokens=3, temperature=1.0)
    speculative = Engine(model, kind(network(), model), pacer=Fixed(Plan(1)), lookahead=1)
    out, _ = speculative.generate(Request(batch, sampling), seeds=list(range(rows)))
    first = torch.tensor([row[0] for row in out])
    common = int(first.mode().values)
    chosen = torch.tensor([row[1] for row in out])[first == common]
    state, _ = model.prefill(Request(one, sampling))
    state.tokens[0, state.host_lengths[0]] = common
    model.rewind(state, state.lengths + 1, [state.host_lengths[0] + 1], 1)
    law = model.score(state, Draft.empty(1)).law
    assert isinstance(law, Categorical)
    counts = torch.bincount(chosen, minlength=VOCAB)
    result = chi_square("second cell", counts, law.probs[0, 0] * counts.sum())
    assert (result.p_value > 1e-3) is good


def test_another_target_is_refused() -> None:
    net = network()
    model = target()
    model.vocab_size = 7
    with pytest.raises(ValueError, match="this target has 32, 7 and 4"):
        ImageEagleDrafter(net, model)
