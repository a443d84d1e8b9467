"""The network against its formulas, its official names, and the vocabulary it speaks."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import pytest
import torch

from lm_drafting.eagle3 import Eagle3Config, Eagle3Network, choose_vocabulary, default_layers
from lm_drafting.networks import build_network
from tests.lm_drafting.eagle3.doubles import KNOWN, LAYERS, Reference, make_network, shape
from tests.lm_drafting.networks import run_network
from tests.lm_drafting.toy import HIDDEN, VOCAB, ToyTarget

SHAPES: list[dict[str, Any]] = [
    {},
    {"head_dim": 12, "draft_vocab_size": VOCAB},
    {"qkv_bias": True, "norm_before_residual": True},
    {"attention_bias": True, "norm_output": True, "fc_norm": True},
    {"norm_before_fc": True, "norm_before_residual": True, "norm_output": True},
]


@pytest.mark.parametrize("options", SHAPES)
def test_equals_the_formulas(options: dict[str, Any]) -> None:
    """The reference also loads the weights strictly, so names and shapes are the official ones."""
    network = make_network(**options)
    generator = torch.Generator().manual_seed(1)
    embeds = torch.randn(1, 7, HIDDEN, generator=generator)
    features = torch.randn(1, 7, 3 * HIDDEN, generator=generator)
    rows = network.fuse(embeds, features)
    assert rows.shape[-1] == network.row_size
    got, _ = run_network(network, rows, torch.arange(7).unsqueeze(0))
    reference = Reference(network)
    wanted, logits = reference(embeds, reference.condense(features))
    assert torch.allclose(got, wanted, atol=1e-5)
    assert torch.allclose(network.logits(got, ToyTarget()), logits, atol=1e-4)


def test_state_dict_has_the_official_names_and_shapes() -> None:
    """Those of EAGLE-3's ``cnets.py``, without the target's embedding table."""
    network = make_network()
    shapes = {name: tuple(weight.shape) for name, weight in network.state_dict().items()}
    attention, mlp = "midlayer.self_attn.", "midlayer.mlp."
    assert shapes == {
        f"{attention}q_proj.weight": (HIDDEN, 2 * HIDDEN),
        f"{attention}k_proj.weight": (HIDDEN // 2, 2 * HIDDEN),
        f"{attention}v_proj.weight": (HIDDEN // 2, 2 * HIDDEN),
        f"{attention}o_proj.weight": (HIDDEN, HIDDEN),
        f"{mlp}gate_proj.weight": (48, HIDDEN),
        f"{mlp}up_proj.weight": (48, HIDDEN),
        f"{mlp}down_proj.weight": (HIDDEN, 48),
        "midlayer.hidden_norm.weight": (HIDDEN,),
        "midlayer.input_layernorm.weight": (HIDDEN,),
        "midlayer.post_attention_layernorm.weight": (HIDDEN,),
        "norm.weight": (HIDDEN,),
        "fc.weight": (HIDDEN, 3 * HIDDEN),
        "lm_head.weight": (KNOWN, HIDDEN),
        "d2t": (KNOWN,),
        "t2d": (VOCAB,),
    }
    wrapped = torch.nn.ModuleDict({"drafter": Eagle3Network(network.config)})
    wrapped.load_state_dict({f"drafter.{name}": w for name, w in network.state_dict().items()})
    for name, weight in network.state_dict().items():
        assert torch.equal(wrapped.state_dict()[f"drafter.{name}"], weight)


def test_absent_weights_are_reported() -> None:
    state = make_network().state_dict()
    del state["midlayer.self_attn.k_proj.weight"], state["d2t"]
    with pytest.raises(RuntimeError, match=r"(?s)d2t.*qkv_proj|qkv_proj.*d2t"):
        Eagle3Network(shape()).load_state_dict(state)


def test_start_values_are_drawn_from_the_generator() -> None:
    first, second = Eagle3Network(shape(fc_norm=True)), Eagle3Network(shape(fc_norm=True))
    for network in (first, second):
        network.reset_parameters(torch.Generator().manual_seed(5))
    for name, weight in first.state_dict().items():
        assert torch.equal(weight, second.state_dict()[name])
    assert bool((first.fc_norm[1].weight == 1).all())
    assert first.fc.weight.std().item() == pytest.approx((3 * HIDDEN) ** -0.5, rel=0.1)


def test_the_vocabulary_is_what_answers_use_most() -> None:
    """Ties go to the smaller id; ids stay in order."""
    d2t, t2d = choose_vocabulary(torch.tensor([0, 5, 2, 2, 9, 2, 0]), 4)
    assert (d2t + torch.arange(4)).tolist() == [1, 2, 3, 4]
    assert t2d.nonzero().flatten().tolist() == [1, 2, 3, 4]
    d2t, t2d = choose_vocabulary(torch.tensor([3, 1, 3, 2]), 2)
    assert (d2t.dtype, d2t.tolist()) == (torch.int64, [0, 1])
    assert (t2d.dtype, t2d.tolist()) == (torch.bool, [True, False, True, False])
    for size in (0, 5):
        with pytest.raises(ValueError, match="size from 1"):
            choose_vocabulary(torch.ones(4), size)


def test_draft_ids_become_target_ids() -> None:
    network = make_network()
    known = network.t2d.nonzero().flatten()
    assert len(known) == KNOWN
    assert int(known[-1]) >= KNOWN  # some offsets are not zero
    ids = torch.randint(KNOWN, (3, 4), generator=torch.Generator().manual_seed(0))
    assert torch.equal(network.to_target(ids), known[ids])
    everything = make_network(draft_vocab_size=0)
    assert everything.to_target(torch.arange(VOCAB)).tolist() == list(range(VOCAB))
    with pytest.raises(ValueError, match=f"vocabulary of {VOCAB}"):
        network.choose_vocabulary(torch.ones(VOCAB - 1))


def test_the_head_starts_from_the_targets_rows() -> None:
    network, head = make_network(), ToyTarget().model.lm_head.weight
    network.start_from(head)
    assert torch.equal(network.lm_head.weight, head[network.t2d])
    with pytest.raises(ValueError, match="target's head"):
        network.start_from(head[:, :-1])


def test_the_targets_law_given_that_the_token_is_known() -> None:
    network = make_network()
    logits = 3 * torch.randn(40, VOCAB, generator=torch.Generator().manual_seed(2))
    law, known = network.narrow(logits)
    whole = logits.softmax(-1)
    wanted = whole[:, network.t2d] / whole[:, network.t2d].sum(-1, keepdim=True)
    assert torch.allclose(law, wanted, atol=1e-6)
    best = logits.argmax(-1).tolist()
    assert known.tolist() == [float(network.t2d[token]) for token in best]
    assert 0 < known.sum() < 40
    law, known = make_network(draft_vocab_size=VOCAB).narrow(logits)
    assert torch.equal(law, whole)
    assert bool((known == 1).all())


def test_checkpoints_with_half_a_vocabulary_are_completed() -> None:
    """``t2d`` follows from ``d2t``; a drafter that knows every token needs neither."""
    network = make_network()
    state = network.state_dict()
    del state["t2d"]
    again = Eagle3Network(network.config)
    again.load_state_dict(state)
    assert torch.equal(again.t2d, network.t2d)
    whole = make_network(draft_vocab_size=VOCAB)
    for unfilled in ({}, {"d2t": whole.d2t, "t2d": torch.zeros(VOCAB, dtype=torch.bool)}):
        state = {**whole.state_dict(), **unfilled}
        if not unfilled:
            del state["d2t"], state["t2d"]
        again = Eagle3Network(whole.config)
        again.load_state_dict(state)
        assert bool(again.t2d.all())
        assert not bool(again.d2t.any())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"d2t": torch.full((KNOWN,), VOCAB)}, "no ascending map"),
        ({"d2t": -torch.arange(KNOWN)}, "no ascending map"),
        ({"t2d": torch.zeros(VOCAB, dtype=torch.bool)}, "same tokens"),
    ],
)
def test_damaged_vocabularies_are_refused(changes: dict[str, Any], message: str) -> None:
    """An id outside the target's table would end a process on a GPU."""
    network = make_network()
    with pytest.raises(ValueError, match=message):
        network.load_state_dict({**network.state_dict(), **changes})


def test_own_hidden_states_skip_fc_where_the_widths_are_the_same() -> None:
    """Four layers a quarter as wide as the drafter: telling them apart by width cannot work."""
    network = make_network(hidden_size=HIDDEN, target_layers=(0, 1, 2, 3), target_hidden_size=8)
    generator = torch.Generator().manual_seed(1)
    embeds, hidden = torch.randn(2, 1, 3, HIDDEN, generator=generator)
    assert torch.equal(network.fuse_own(embeds, hidden)[..., HIDDEN:], hidden)
    real = network.fuse(embeds, hidden)[..., HIDDEN:]
    assert torch.allclose(real, network.fc(hidden))
    assert not torch.allclose(real, hidden, atol=0.01)


def test_widths_of_another_target_are_refused() -> None:
    network = make_network()
    embeds, features = torch.zeros(1, 2, HIDDEN), torch.zeros(1, 2, 3 * HIDDEN)
    with pytest.raises(ValueError, match=r"embeddings are 33 wide.*32"):
        network.fuse(torch.zeros(1, 2, HIDDEN + 1), features)
    with pytest.raises(ValueError, match=r"layers \(1, 2, 4\).*96 wide.*got 32"):
        network.fuse(embeds, features[..., :HIDDEN])


def test_configurations_are_checked_and_survive_json() -> None:
    config = shape(target_layers=list(LAYERS), target_hidden_size=None, draft_vocab_size=0)
    assert config.target_layers == LAYERS
    assert (config.features_size, config.draft_vocab_size) == (3 * HIDDEN, VOCAB)
    assert Eagle3Config(**asdict(config)) == config
    assert build_network("eagle3", asdict(config)).target_layers == LAYERS
    for wrong, message in (
        ({"target_layers": (4, 2)}, "ascending"),
        ({"target_layers": None}, "ascending"),
        ({"num_key_value_heads": 3}, "multiple"),
        ({"draft_vocab_size": VOCAB + 1}, "draft_vocab_size"),
    ):
        with pytest.raises(ValueError, match=message):
            shape(**wrong)


def test_default_layers_are_the_official_ones_and_distinct_everywhere() -> None:
    assert default_layers(32) == (2, 16, 29)
    assert default_layers(28) == (2, 14, 25)
    assert default_layers(4) == (1, 2, 3)
    for count in range(2, 100):
        layers = default_layers(count)
        assert len(layers) == 3
        assert list(layers) == sorted(set(layers))
        assert 0 <= layers[0] < layers[-1] <= count
