"""The acceptance doctor names the ingredient that is wrong, and none for a drafter that is right.

Nothing is trained: the target counts round and round, so networks that know it can be written down,
and one part of each is then made for something else than what is served.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor

from lm_drafting.diagnosis import Diagnosis, changes, examine
from lm_drafting.diagnosis.case import Case
from lm_drafting.diagnosis.report import clearly_better
from lm_drafting.features.network import DraftNetwork, Rope
from lm_drafting.features.rotary import Rotary
from lm_drafting.networks import build_network
from lm_drafting.training.batch import Batch, lesson
from lm_drafting.training.data import Sample
from lm_drafting.training.rollout import rollout
from mmspec.cache import RaggedCache
from mmspec.messages import Features
from mmspec.token_target import Prefilled, TokenTarget
from tests.lm_drafting.toy import padded

VOCAB, FIRST, COUNT = 64, 3, 20  # tokens 3 to 22 follow one another round and round
BEGIN, START, PICTURE = 1, 28, 2
LAYERS = 8
# A hidden size of named parts: what the embedding table says of a token, what the hidden states
# say of it after the final norm, what only those before it say; what a picture says; and where a
# drafter says token 0, which is always wrong.
WIDTH = 32
SEEN, KNOWN, LOST = (slice(start, start + WIDTH) for start in (0, WIDTH, 2 * WIDTH))
SHOWN, WRONG, HIDDEN = 96, 97, 104
DEPTH = 6
PERFECT = 1.0 + DEPTH


def after(token: int, steps: int = 1) -> int:
    """The token that comes some steps after one."""
    return FIRST + (token - FIRST + steps) % COUNT


def units(steps: int = 0) -> Tensor:
    """``(WIDTH, WIDTH)`` that turns each token into the one some steps after it."""
    matrix = torch.zeros(WIDTH, WIDTH)
    for token in range(FIRST, FIRST + COUNT):
        matrix[after(token, steps), token] = 1.0
    return matrix


class ClockDecoder:
    """The core's decoder role for a model that only ever looks at the last token."""

    vocab_size, hidden_size, num_layers = VOCAB, HIDDEN, LAYERS

    def __init__(self, placeholder: float, start: float) -> None:
        self.table = torch.zeros(VOCAB, HIDDEN)
        self.table[:WIDTH, SEEN] = torch.eye(WIDTH)
        self.table[PICTURE] = self.table[START] = 0.0
        self.table[PICTURE, SHOWN] = placeholder
        self.table[START, SHOWN] = start
        self.weight = torch.zeros(VOCAB, HIDDEN)
        self.weight[:WIDTH, KNOWN] = 10.0 * units(1)
        self.weight[0, WRONG] = 10.0

    def read(self, ids: Tensor, features: Features | None) -> Tensor:
        """Hidden states; layer ``n`` holds the token 7 ``n`` steps on, the last one the token."""
        tokens = torch.eye(VOCAB)[ids][..., :WIDTH]
        parts = []
        for layer in (features.layers if features else None) or (None,):
            state = torch.zeros(*ids.shape, HIDDEN)
            steps = 0 if layer in (None, LAYERS) else 7 * layer
            state[..., KNOWN] = tokens @ units(steps).T
            if layer is not None:
                state[..., LOST] = state[..., KNOWN]
            parts.append(state)
        return torch.cat(parts, -1)

    def prefill(self, inputs: dict[str, Any], reserve: int, features: Features | None) -> Prefilled:
        ids, lengths = inputs["input_ids"], inputs["attention_mask"].sum(1).tolist()
        cache = RaggedCache(1, ids.shape[1] + reserve)
        embeds = self.table[ids]
        if "pixel_values" in inputs:
            shown = (ids == PICTURE).unsqueeze(-1)
            embeds = embeds.masked_scatter(shown, inputs["pixel_values"])
        last = torch.tensor(lengths) - 1
        logits = self.read(ids, None)[torch.arange(len(ids)), last] @ self.weight.T
        hidden = self.read(ids, features)
        return Prefilled(ids, lengths, cache, logits, hidden=hidden, embeds=embeds)

    def step(self, tokens: Tensor, positions: Tensor, mask: Any, state: Any) -> Any:
        return self.read(tokens, None) @ self.weight.T, self.read(tokens, state.features)


class Clock(TokenTarget):
    """Counts; its pictures are 32 equal vectors and tell it nothing.

    Args:
        picture: What a picture's features say in their one direction.
        placeholder: What the placeholder's row of the embedding table says there.
        start: What the token in front of the pictures says there.
    """

    model_type = "clock"
    device = torch.device("cpu")
    image_token_ids = (PICTURE,)
    stop_ids: tuple[int, ...] = ()

    def __init__(self, picture: float = 0.0, placeholder: float = 0.0, start: float = 0.0) -> None:
        self.clock = ClockDecoder(placeholder, start)
        super().__init__(self.clock)
        self.picture = torch.zeros(32, HIDDEN)
        self.picture[:, SHOWN] = picture

    def embed(self, ids: Tensor) -> Tensor:
        return self.clock.table[ids]

    def head(self, hidden: Tensor) -> Tensor:
        return hidden @ self.clock.weight.T

    def prepare(self, images: Sequence[Sequence[Any]], prompts: Sequence[str]) -> dict[str, Any]:
        counts = [len(shown) for shown in images]
        rows = [
            [BEGIN, START, *[PICTURE] * (32 * count), *(FIRST + int(digit) for digit in prompt)]
            for count, prompt in zip(counts, prompts, strict=True)
        ]
        inputs = padded(rows)
        if any(counts):
            inputs["pixel_values"] = self.picture.repeat(sum(counts), 1)
        return inputs


def network(kind: str = "eagle", **options: Any) -> Any:
    """A network whose every weight is zero, and every norm neutral."""
    values = {"num_attention_heads": 4, "num_key_value_heads": 4, "intermediate_size": WIDTH}
    shape = {"hidden_size": HIDDEN, "vocab_size": VOCAB, **values}
    made: Any = build_network(kind, {**shape, **options}).requires_grad_(False)
    for name, weight in made.named_parameters():
        weight.fill_(1.0 if "norm" in name else 0.0)
    return made.eval()


def knowing(**options: Any) -> Any:
    """An EAGLE drafter that is always right: the embedding of a token says what it means."""
    made = network(**options)
    made.fc.weight[KNOWN, SEEN] = units()
    return made


def looking(push: float, **options: Any) -> Any:
    """The same, pushed towards token 0, which what all rows have seen of pictures may balance."""
    made = knowing(**options)
    made.fc.bias[WRONG] = push
    made.fc.weight[WRONG, SHOWN] = 1.0
    head_dim = HIDDEN // 4
    made.qkv_proj.weight[8 * head_dim, WRONG] = 1.0  # first value of the first head
    made.o_proj.weight[WRONG, 0] = 1.0
    return made


def near_sighted(**options: Any) -> Any:
    """The same with attention that fades with the distance."""
    made = looking(2.0, qkv_bias=True, **options)
    head_dim = HIDDEN // 4
    for first in (0, 4 * head_dim):  # query and key of the first head, of one slow frequency
        made.qkv_proj.bias[first + 4] = (10.0 * head_dim**0.5) ** 0.5
    return made


def deep(layers: tuple[int, ...], expects: Sequence[int | None], **options: Any) -> Any:
    """An EAGLE-3 drafter that is always right when it reads the layers it expects.

    Args:
        layers: Layers it is configured for.
        expects: The layer that each part of ``fc`` is made for; None for a part that is not used.
    """
    made = network("eagle3", target_layers=layers, **options)
    used = sum(layer is not None for layer in expects)
    for index, layer in enumerate(expects):
        if layer is not None:
            made.fc.weight[KNOWN, index * HIDDEN :][:, KNOWN] = units(1 - 7 * layer) / used
    # A step of the clock on what is fed back: the norm in front makes a unit as long as it is wide.
    made.gate_up_proj.weight[:WIDTH, KNOWN] = 10.0 * units()
    made.gate_up_proj.weight[WIDTH:, KNOWN] = units()
    made.down_proj.weight[KNOWN] = (units(1) - units()) / (10.0 * HIDDEN)
    made.choose_vocabulary(torch.tensor([2 <= token < 26 for token in range(VOCAB)]).long())
    ids = made.d2t + torch.arange(len(made.d2t))
    made.lm_head.weight[:, KNOWN] = torch.eye(VOCAB)[ids][:, :WIDTH]
    return made


def diagnosis(made: DraftNetwork, target: Clock, pictures: int = 0) -> Diagnosis:
    samples = [Sample([None] * pictures, prompt) for prompt in ("345", "81", "0")]
    return examine(target, made, samples, depth=DEPTH, max_new_tokens=15, batch=2)


@pytest.mark.parametrize("pictures", [0, 1])
@pytest.mark.parametrize(
    "make",
    [
        knowing,
        lambda: knowing(compressor={"kind": "prune"}),
        lambda: deep((1, 3, 6), (1, 3, 6), draft_vocab_size=24),
        lambda: deep((1, 3, 6), (1, 3, 6)),
    ],
)
def test_a_drafter_served_rightly_is_left_alone(make: Callable[[], Any], pictures: int) -> None:
    found = diagnosis(make(), Clock(), pictures)
    assert found.found is None
    assert found.acceptance_length == pytest.approx(PERFECT, abs=0.5)
    assert found.sentence.startswith("nothing wired wrongly found: ")
    assert found.answers == 3


def expects_swapped_halves() -> Any:
    made = network()
    made.fc.weight[KNOWN, HIDDEN + SEEN.start : HIDDEN + SEEN.stop] = units()
    return made


def expects_unshifted_pairs() -> Any:
    made = network()
    made.fc.weight[KNOWN, SEEN] = units(1)
    return made


def expects_no_final_norm() -> Any:
    made = network()
    for part in (KNOWN, LOST):
        made.fc.weight[part, HIDDEN + LOST.start : HIDDEN + LOST.stop] = units(1)
    return made


def expects_a_final_norm() -> Any:
    """Reads what leaves the last layer, and stumbles over what the norm takes away."""
    made = deep((LAYERS,), (0,))
    made.fc.weight[KNOWN, LOST] = -2.0 * units(1)
    return made


def reads_its_map(absolute: bool) -> Any:
    """A drafter of 24 tokens whose map holds target ids, or that was trained without one."""
    made = deep((1, 3, 6), (1, 3, 6), draft_vocab_size=24)
    ids = made.d2t + torch.arange(24)
    if absolute:
        made.d2t.copy_(ids)
    else:
        made.lm_head.weight[:, KNOWN] = torch.eye(VOCAB)[:24, :WIDTH]
    return made


def adds_to_the_normed_state() -> Any:
    """Hidden states so long that a step of the clock is lost in them, unless they are normed."""
    made = deep((1, 3, 6), (1, 3, 6))
    made.fc.weight.mul_(1e3)
    made.down_proj.weight.mul_(HIDDEN**0.5)
    return made


# What is broken, as the doctor should name it: ingredient and alternative, drafter, target.
BROKEN: dict[str, tuple[str, str, Callable[[], Any], Callable[[], Clock]]] = {
    "halves": ("concatenation", "hidden state, then embedding", expects_swapped_halves, Clock),
    "shift": ("pairs", "embedding of token j, hidden state j", expects_unshifted_pairs, Clock),
    "norm": ("hidden states", "before the final norm", expects_no_final_norm, Clock),
    "top": ("hidden states", "last layer after the final norm", expects_a_final_norm, Clock),
    "lower": ("layer ids", "every id one lower", lambda: deep((2, 3, 5), (1, 2, 4)), Clock),
    "higher": ("layer ids", "every id one higher", lambda: deep((2, 3, 5), (3, 4, 6)), Clock),
    "usual": ("layer ids", "the usual ones", lambda: deep((1, 6, 7), (None, 4, None)), Clock),
    "offsets": ("vocabulary map", "d2t holds target ids", lambda: reads_its_map(True), Clock),
    "map": ("vocabulary map", "no map", lambda: reads_its_map(False), Clock),
    "flag": (
        "norm in front of the residual stream",
        "the other way round",
        adds_to_the_normed_state,
        Clock,
    ),
    "placeholder": (
        "pictures",
        "the placeholder's embedding",
        lambda: looking(2.0),
        lambda: Clock(placeholder=-1e3),
    ),
    "text": (
        "pictures",
        "left out",
        lambda: looking(0.0),
        lambda: Clock(picture=1e3, placeholder=1e3),
    ),
    "pictures": (
        "compressor",
        "off: every visual token",
        lambda: looking(2.0, compressor={"kind": "text-only"}),
        lambda: Clock(picture=-1e3),
    ),
    "positions": (
        "positions",
        "closed up behind it",
        lambda: near_sighted(compressor={"kind": "prune"}),
        lambda: Clock(start=-1e6),
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_the_broken_ingredient_is_named(name: str) -> None:
    ingredient, instead, make, target = BROKEN[name]
    found = diagnosis(make(), target(), pictures=1)
    assert found.acceptance_length < 2.5
    row = found.found
    assert row is not None
    assert (row.ingredient, row.instead) == (ingredient, instead)
    assert row.change == row.acceptance_length - found.acceptance_length > 2.0
    better = {other.ingredient for other in found.rows if other.better}
    # Without pictures nothing has to be closed up behind them: the same cure by other means.
    assert better == {ingredient} | ({"pictures"} if name == "positions" else set())
    assert found.sentence.startswith(f"{ingredient}: ")
    assert found.sentence.endswith(row.advice)


def scrambled(kind: str, **options: Any) -> Any:
    """A network of random weights."""
    made = network(kind, **options)
    made.reset_parameters(torch.Generator().manual_seed(5))
    return made


RANDOM: dict[str, tuple[Callable[[], Any], set[str]]] = {
    "eagle": (lambda: scrambled("eagle"), {"hidden states", "pictures"}),
    "vispec": (
        lambda: scrambled("vispec"),
        {"hidden states", "pictures", "compressor", "positions"},
    ),
    "specvlm": (
        lambda: scrambled(
            "specvlm", compressor={"kind": "elastic", "branches": [{"kind": "prune"}]}
        ),
        {"hidden states", "pictures", "compressor", "positions"},
    ),
    "flash": (
        lambda: scrambled("flash", compressor={"kind": "latent", "tokens": 4}, k=3),
        {"hidden states", "pictures", "compressor", "positions"},
    ),
    "eagle3": (
        lambda: scrambled("eagle3", target_layers=(1, 3, 5)),
        {
            "layer ids",
            "pictures",
            "norm in front of the residual stream",
            "norm of what is fed back",
        },
    ),
}


@pytest.mark.parametrize("kind", RANDOM)
@pytest.mark.parametrize("pictures", [0, 2])
def test_every_architecture_is_examined_and_left_as_it_was(kind: str, pictures: int) -> None:
    make, ingredients = RANDOM[kind]
    made, target = make().train(), Clock(picture=1.0)
    compressor, config = made.compressor, made.config
    before = {name: value.clone() for name, value in made.state_dict().items()}
    table = target.clock.table.clone()
    found = diagnosis(made, target, pictures)
    shown = {"pictures", "compressor", "positions"} if not pictures else set()
    expected = (ingredients | {"pairs", "concatenation"}) - shown
    assert {row.ingredient for row in found.rows} == expected
    assert found.most == (4 if kind == "flash" else 7)
    assert found.found is None
    assert "undertrained for this data" in found.sentence
    assert f"`mmspec train {kind}`" in found.sentence
    assert made.training
    assert made.compressor is compressor
    assert made.config is config
    assert all(torch.equal(value, before[name]) for name, value in made.state_dict().items())
    assert torch.equal(target.clock.table, table)


def test_halves_of_eagle3_are_swapped_where_both_are_read() -> None:
    """Queries, keys and values read the hidden state first; the residual stream is as before."""
    made = scrambled("eagle3", target_layers=(1, 3, 5))
    given = torch.randn(1, 4, 2 * HIDDEN, generator=torch.Generator().manual_seed(0))
    hooked: list[Tensor] = []
    made.qkv_proj.register_forward_pre_hook(lambda module, args: hooked.append(args[0]))
    changed = changes.swapped(case_of(made)).network
    rope = Rotary(made.cache_shape[1], 1e4).between(0, 4, given)

    def attend(queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        return queries + keys + values

    changed(given, rope, attend)
    embeds, hidden = hooked[-1].chunk(2, -1)
    wanted = made.qkv_proj(torch.cat([hidden, embeds], -1))
    assert torch.allclose(changed.qkv_proj(hooked[0]), wanted, atol=1e-5)
    assert torch.equal(changed.fc.weight, made.fc.weight)


def case_of(made: DraftNetwork) -> Case:
    """A case of one text without pictures."""
    ids = torch.arange(FIRST, FIRST + 9).unsqueeze(0)
    target = Clock()
    embeds, hidden = target.embed(ids), target.clock.read(ids, Features())
    layers = made.target_layers
    features = hidden if layers is None else target.clock.read(ids, Features(layers))
    rotary = Rotary(made.cache_shape[1], made.config.rope_theta)
    return Case(target, made, rotary, Batch(ids, hidden, features, embeds, [3], [9], [[]]), {})


class FromOne(Rotary):
    def between(self, start: int, end: int, like: Tensor) -> Rope:
        return super().between(start + 1, end + 1, like)


def test_positions_may_start_anywhere() -> None:
    """Rotary positions are relative: counting from 1 is no alternative worth measuring."""
    case = case_of(scrambled("eagle"))
    taught = lesson(case.network, case.batch)
    zero = rollout(case.network, case.rotary, taught, 3)
    one = rollout(case.network, FromOne(HIDDEN // 4, 1e4), taught, 3)
    assert all(torch.allclose(a, b, atol=1e-4) for a, b in zip(zero, one, strict=True))


def test_weights_of_half_precision_are_examined_in_single() -> None:
    made = knowing().to(torch.bfloat16)
    found = diagnosis(made, Clock())
    assert found.acceptance_length == pytest.approx(PERFECT, abs=0.5)
    assert {weight.dtype for weight in made.parameters()} == {torch.bfloat16}


def test_the_rule_asks_for_half_a_token_and_a_quarter() -> None:
    assert clearly_better(1.6, 1.0)
    assert not clearly_better(1.5, 1.0)
    assert not clearly_better(3.6, 3.0)
    assert clearly_better(3.8, 3.0)


def test_rows_for_json_begin_with_what_is_served() -> None:
    found = diagnosis(expects_swapped_halves(), Clock())
    rows = found.as_rows()
    assert rows[0]["ingredient"] == "nothing"
    assert rows[0]["acceptance_length"] == found.acceptance_length == 1.0
    assert [row["ingredient"] for row in rows if row["better"]] == ["concatenation"]
    assert len({frozenset(row) for row in rows}) == 1
    assert all(set(row) >= {"served", "instead", "change"} for row in rows)


def test_what_cannot_be_examined_is_refused() -> None:
    with pytest.raises(ValueError, match="trained for hidden size 96"):
        diagnosis(network(hidden_size=96), Clock())
    with pytest.raises(ValueError, match="the target has 8 layers"):
        diagnosis(network("eagle3", target_layers=(2, 9)), Clock())
    terse = Clock()
    terse.stop_ids = tuple(range(VOCAB))
    with pytest.raises(ValueError, match="less than two tokens"):
        diagnosis(knowing(), terse)
