"""Decoders of latent vectors: conditions after any history equal those of a fresh full pass."""

from __future__ import annotations

import pytest
import torch

from adapters.mar.causal import CausalMAR
from adapters.mar.config import MARConfig
from adapters.mar.decoders import CausalDecoder, MaskedDecoder
from adapters.mar.mar import MAR
from image_ar.continuous.decoding import LatentState
from image_ar.continuous.drafter import LatentDrafter
from image_ar.continuous.judging import Own
from image_ar.continuous.request import Denoising, LatentRequest
from image_ar.continuous.rules import SmoothedCoupling, StepwiseCoupling, Tolerance
from image_ar.continuous.target import LatentTarget
from mmspec.engine import Engine
from mmspec.messages import Plan
from mmspec.noise import Noise
from mmspec.pacing import Fixed
from mmspec.paired_cache import PairedCache

WIDTH, GRID = 3, 4


def network(variant: str, depth: int = 2, seed: int = 0) -> CausalMAR | MAR:
    encoder = {"encoder_width": 32, "encoder_depth": depth, "encoder_heads": 2}
    config = MARConfig(
        variant=variant,
        rows=GRID,
        columns=GRID,
        channels=WIDTH,
        decoder_width=32,
        decoder_depth=depth,
        decoder_heads=2,
        head_blocks=2,
        head_width=32,
        buffer=4,
        classes=5,
        **(encoder if variant == "masked" else {}),
    )
    model = CausalMAR(config) if variant == "causal" else MAR(config)
    generator = torch.Generator().manual_seed(seed)
    model.reset_parameters(generator, zero_output=False)
    return model.requires_grad_(False)


def decoder_of(variant: str, **rest) -> CausalDecoder | MaskedDecoder:
    model = network(variant, **rest)
    return CausalDecoder(model) if isinstance(model, CausalMAR) else MaskedDecoder(model)


def request(scale: float = 2.0, rows: int = 3, steps: int = 4, **rest) -> LatentRequest:
    inputs = {
        "labels": torch.arange(rows) % 5,
        "guidance_scale": torch.full((rows,), scale),
        "schedule": "linear",
    }
    return LatentRequest(inputs, GRID * GRID, Denoising(steps), **rest)


def opened(decoder, scale: float = 2.0, ar_steps: int | None = None) -> LatentState:
    asked = request(scale, ar_steps=ar_steps, lookahead=4)
    noise = Noise([3, 4, 5], horizon=GRID * GRID)
    state, _ = LatentState.start(decoder, LatentRequest(**{**vars(asked), "noise": noise}))
    return state


def fill(state: LatentState, lengths: list[int]) -> None:
    """Commit random vectors, another number in every row."""
    generator = torch.Generator().manual_seed(1)
    vectors = torch.randn(state.vectors.shape, generator=generator)
    steps = torch.arange(state.steps)
    known = torch.tensor(lengths).unsqueeze(1) > steps
    places = torch.where(known.unsqueeze(-1), state.layout, -1)
    state.canvas = torch.zeros_like(state.canvas)
    index = state.layout.clamp(min=0).flatten(1).unsqueeze(-1).expand(-1, -1, WIDTH)
    state.write(places, vectors.gather(1, index).view(*places.shape, WIDTH))
    state.lengths = torch.tensor(lengths)
    state.host_lengths, state.pending = list(lengths), max(lengths)


def full_causal(model: CausalMAR, state: LatentState, row: int, vectors, null: bool):
    """Conditions of all places of one picture, by the pass that training makes."""
    labels = state.inputs["labels"][row : row + 1]
    drop = torch.tensor([null])
    return model.training_conditions(vectors.unsqueeze(0), labels, drop)[0]


@pytest.mark.parametrize("lengths", [[5, 5, 5], [1, 9, 4]], ids=["even", "ragged"])
@pytest.mark.parametrize("nodes", [0, 1, 4])
def test_causal_conditions_equal_a_full_pass(lengths: list[int], nodes: int) -> None:
    decoder = decoder_of("causal")
    state = opened(decoder)
    fill(state, lengths)
    nothing = torch.zeros(3, 0, 1, WIDTH)
    decoder.conditions(state, nothing)
    state.pending = 1
    drafted = torch.randn(3, nodes, 1, WIDTH, generator=torch.Generator().manual_seed(2))
    found = decoder.conditions(state, drafted)
    assert found.null is not None
    for row, length in enumerate(lengths):
        whole = state.vectors[row].clone()
        whole[length : length + nodes] = drafted[row, :, 0][: len(whole) - length]
        rows = slice(row * (nodes + 1), (row + 1) * (nodes + 1))
        for null, got in ((False, found.vectors[rows]), (True, found.null[rows])):
            wanted = full_causal(decoder.model, state, row, whole, null)
            assert torch.allclose(got, wanted[length : length + nodes + 1], atol=1e-5)


def test_a_refused_draft_leaves_no_trace() -> None:
    decoder = decoder_of("causal")
    state, other = opened(decoder), opened(decoder)
    for one in (state, other):
        fill(one, [6, 6, 6])
    nothing = torch.zeros(3, 0, 1, WIDTH)
    decoder.conditions(other, nothing)
    decoder.conditions(state, nothing)
    state.pending = other.pending = 1
    decoder.conditions(state, torch.full((3, 4, 1, WIDTH), 9.0))
    got, wanted = (decoder.conditions(one, nothing) for one in (state, other))
    assert torch.equal(got.vectors, wanted.vectors)


@pytest.mark.parametrize("ar_steps", [None, 5])
@pytest.mark.parametrize("lengths", [[2, 2, 2], [0, 3, 1]], ids=["even", "ragged"])
def test_masked_conditions_equal_passes_one_by_one(lengths: list[int], ar_steps) -> None:
    decoder = decoder_of("masked")
    state = opened(decoder, ar_steps=ar_steps)
    fill(state, lengths)
    nodes = 2
    drafted = torch.randn(3, nodes, state.group, WIDTH, generator=torch.Generator().manual_seed(2))
    found = decoder.conditions(state, drafted)
    got = found.vectors.view(3, nodes + 1, state.group, -1)
    places = state.places(nodes + 1)
    for row in range(3):
        tokens, unknown = state.vectors[row].clone(), torch.ones(GRID * GRID, dtype=torch.bool)
        for place in state.layout[row, : lengths[row]].flatten().tolist():
            unknown[max(place, 0)] &= place < 0
        for node in range(nodes + 1):
            label = state.inputs["labels"][row : row + 1]
            whole = decoder.model(tokens.unsqueeze(0), unknown.unsqueeze(0), label)[0]
            for index, place in enumerate(places[row, node].tolist()):
                if place >= 0:
                    assert torch.allclose(got[row, node, index], whole[place], atol=1e-5)
                    if node < nodes:
                        tokens[place] = drafted[row, node, index]
                        unknown[place] = False


def test_the_window_hides_its_own_vectors() -> None:
    decoder = decoder_of("masked")
    state = opened(decoder)
    fill(state, [3, 3, 3])
    found = decoder.window_conditions(state, 4).vectors.view(3, 4, -1)
    alone = decoder.conditions(state, torch.zeros(3, 0, 1, WIDTH)).vectors.view(3, 1, -1)
    assert torch.allclose(found[:, :1], alone, atol=1e-6)
    with pytest.raises(ValueError, match="masked model"):
        decoder_of("causal").window_conditions(state, 4)


@pytest.mark.parametrize("variant", ["causal", "masked"])
def test_guidance_follows_the_schedule_of_each_step(variant: str) -> None:
    decoder = decoder_of(variant)
    state = opened(decoder, scale=3.0)
    fill(state, [3, 3, 3])
    found = decoder.conditions(state, torch.zeros(3, 2, 1, WIDTH))
    cells = GRID * GRID
    wanted = [1 + 2 * (cells - left) / cells for left in (cells - 4, cells - 5, cells - 6)]
    assert torch.allclose(found.scale.view(3, 3)[0], torch.tensor(wanted))
    fill(state, [cells - 1] * 3)
    last = decoder.conditions(state, torch.zeros(3, 0, 1, WIDTH)).scale
    # The official sampler never counts fewer than one unknown vector.
    assert torch.allclose(last, torch.full((3,), 1 + 2 * (cells - 1) / cells))


@pytest.mark.parametrize("variant", ["causal", "masked"])
def test_without_guidance_there_is_one_half(variant: str) -> None:
    decoder = decoder_of(variant)
    state = opened(decoder, scale=1.0)
    assert not isinstance(state.context.cache, PairedCache)
    fill(state, [2, 2, 2])
    assert decoder.conditions(state, torch.zeros(3, 1, 1, WIDTH)).null is None


@pytest.mark.parametrize("variant", ["causal", "masked"])
@pytest.mark.parametrize("ar_steps", [None, 5])
@pytest.mark.parametrize("rule", [Tolerance(0.0), Tolerance(1e9), SmoothedCoupling(1.0)])
def test_whole_pictures(variant: str, ar_steps, rule) -> None:
    """At tolerance 0, and with a drafter that equals the target, pictures are the plain ones.

    Random weights blow vectors up to about 1e5, hence relative errors.
    """
    if variant == "causal" and ar_steps is not None:
        with pytest.raises(ValueError, match="num_ar_steps"):
            decoder_of(variant).layout(Noise([0]), ar_steps)
        return
    target = LatentTarget(decoder_of(variant))
    other = decoder_of(variant, depth=1, seed=2)
    drafter = LatentDrafter(
        other if isinstance(rule, Tolerance) and not rule.delta else target.decoder
    )
    run = Engine(target, drafter, rule, Fixed(Plan(3)), lookahead=3, strict=True)
    asked = request(ar_steps=ar_steps)
    made, trace = run.generate(asked, seeds=[0, 1, 2])
    plain, _ = run.plain().generate(asked, seeds=[0, 1, 2])
    one, two = torch.tensor(made), torch.tensor(plain)
    assert one.shape == (3, GRID * GRID, WIDTH)
    assert (one - two).abs().max() <= 2e-5 * two.abs().max()
    if drafter.decoder is target.decoder:
        assert trace.metrics.acceptance_rate == 1.0
    for row in trace.units:
        assert sorted(record.place for record in row) == list(range(GRID * GRID))


@pytest.mark.parametrize("variant", ["causal", "masked"])
def test_a_picture_depends_on_its_own_seed_only(variant: str) -> None:
    target = LatentTarget(decoder_of(variant))
    run = Engine(target, rule=Own("none"))
    both, _ = run.generate(request(rows=2), seeds=[5, 6])
    asked = request(rows=2)
    inputs = {
        name: value[1:] if name != "schedule" else value for name, value in asked.inputs.items()
    }
    alone, _ = run.generate(LatentRequest(inputs, asked.cells, asked.denoising), seeds=[6])
    one, two = torch.tensor(both[1]), torch.tensor(alone[0])
    assert (one - two).abs().max() <= 2e-5 * two.abs().max()


def test_the_own_model_with_fewer_steps_drafts() -> None:
    target = LatentTarget(decoder_of("causal"))
    drafter = LatentDrafter(target.decoder, steps=4)
    run = Engine(target, drafter, Tolerance(1e9), Fixed(Plan(3)), lookahead=3, strict=True)
    _, trace = run.generate(request(steps=8), seeds=[0, 1, 2])
    assert trace.metrics.acceptance_rate == 1.0
    with pytest.raises(ValueError, match="draft_steps"):
        LatentDrafter(target.decoder, steps=4, paths=True)
    assert StepwiseCoupling().reads == "paths"
