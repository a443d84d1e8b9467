"""Metamorphic properties: batches, padding, stops, limits, seeds, failures."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from adapters.hf_vlm import HFTarget
from mmspec.sampling import Sampling
from mmspec.token_target import Request
from tests.adapters.families import BY_NAME
from tests.adapters.prompts import Row, batch_of
from tests.adapters.references import NEW, reference, target_of
from tests.drafters import DRAFTERS, Failing, Recipe

FEW = ["llama", "llava", "qwen2_5_vl", "gemma3"]
BUSY = ["oracle", "flaky", "bush"]


def run(
    name: str, drafter: str, sampling: Sampling, side: str = "left", **options
) -> list[list[int]]:
    rows, expected = reference(name, BY_NAME[name].kinds[-1])
    engine = DRAFTERS[drafter].engine(target_of(name), expected)
    request = Request(batch_of(BY_NAME[name], rows, side), sampling)
    return engine.generate(request, **options)[0]


@pytest.mark.parametrize("drafter", ["none", *BUSY])
@pytest.mark.parametrize("name", FEW)
def test_padding_side_does_not_matter(name: str, drafter: str) -> None:
    assert (
        run(name, drafter, Sampling(max_new_tokens=NEW), "right")
        == reference(name, BY_NAME[name].kinds[-1])[1]
    )


@pytest.mark.parametrize("limit", [1, 2, 7])
@pytest.mark.parametrize("drafter", ["none", *BUSY])
@pytest.mark.parametrize("name", FEW)
def test_the_limit_is_exact(name: str, drafter: str, limit: int) -> None:
    full = reference(name, BY_NAME[name].kinds[-1])[1]
    assert run(name, drafter, Sampling(max_new_tokens=limit)) == [row[:limit] for row in full]


@pytest.mark.parametrize("drafter", ["none", *BUSY])
@pytest.mark.parametrize("name", FEW)
def test_rows_end_at_the_first_of_several_stop_ids(name: str, drafter: str) -> None:
    full = reference(name, BY_NAME[name].kinds[-1])[1]
    stops = (full[0][9], full[1][4], full[2][13])
    ends = [next(i for i, token in enumerate(row) if token in stops) + 1 for row in full]
    got = run(name, drafter, Sampling(max_new_tokens=NEW, stop_ids=stops))
    assert got == [row[:end] for row, end in zip(full, ends, strict=True)]


@pytest.mark.parametrize("drafter", ["adversary", *BUSY, "static"])
@pytest.mark.parametrize("name", FEW)
def test_sampling_with_equal_seeds_gives_the_plain_tokens(name: str, drafter: str) -> None:
    sampling = Sampling(max_new_tokens=NEW, temperature=1.0, top_k=40, top_p=0.95)
    plain = run(name, "none", sampling, seeds=[3, 4, 5])
    assert run(name, drafter, sampling, seeds=[3, 4, 5]) == plain
    assert run(name, "none", sampling, seeds=[6, 7, 8]) != plain


@pytest.mark.parametrize("name", FEW)
def test_a_sampled_row_does_not_depend_on_its_batch(name: str) -> None:
    sampling = Sampling(max_new_tokens=NEW, temperature=1.0)
    rows, expected = reference(name, BY_NAME[name].kinds[-1])
    together = run(name, "flaky", sampling, seeds=[3, 4, 5])
    engine = DRAFTERS["flaky"].engine(target_of(name), expected[1:2])
    request = Request(batch_of(BY_NAME[name], rows[1:2]), sampling)
    assert engine.generate(request, seeds=[4])[0] == together[1:2]


def test_a_drafter_that_fails_costs_nothing_but_speed() -> None:
    rows, expected = reference("llava", "images")
    target = target_of("llava")
    recipe = Recipe(lambda target, known: Failing(known, target.decoder.vocab_size))
    request = Request(batch_of(BY_NAME["llava"], rows), Sampling(max_new_tokens=NEW))
    got, trace = recipe.engine(target, expected, strict=False).generate(request)
    assert got == expected
    assert any("out of ideas" in note for note in trace.notes)


def test_features_are_the_models_own() -> None:
    rows, _ = reference("llava", "images")
    target = target_of("llava")
    inputs = batch_of(BY_NAME["llava"], rows)
    with torch.inference_mode():
        state, evidence = target.prefill(Request(inputs, features=True))
        assert state.prompt.hidden is not None
        assert state.prompt.embeds is not None
        for index, row in enumerate(rows):
            out = target.model(
                **batch_of(BY_NAME["llava"], [row]), output_hidden_states=True, use_cache=False
            )
            length = len(row.ids)
            hidden = state.prompt.hidden[index, :length]
            torch.testing.assert_close(hidden, out.hidden_states[-1][0], atol=1e-5, rtol=1e-4)
            embeds = state.prompt.embeds[index, :length]
            torch.testing.assert_close(embeds, out.hidden_states[0][0], atol=1e-5, rtol=1e-4)
    assert evidence.hidden is not None
    assert not target.model.get_decoder()._forward_pre_hooks, "the hook must be gone"


def test_requests_leave_no_rotary_state_on_the_model() -> None:
    rows, expected = reference("qwen2_5_vl", "image")
    target = target_of("qwen2_5_vl")
    target.model.model.rope_deltas = None
    got = run("qwen2_5_vl", "bush", Sampling(max_new_tokens=NEW))
    assert got == reference("qwen2_5_vl", "video")[1]
    assert target.model.model.rope_deltas is None
    request = Request(batch_of(BY_NAME["qwen2_5_vl"], rows), Sampling(max_new_tokens=NEW))
    assert DRAFTERS["none"].engine(target, expected).generate(replace(request))[0] == expected


@torch.inference_mode()
def test_in_bf16_only_near_ties_may_part_from_generate() -> None:
    model = BY_NAME["llava"].build().to(torch.bfloat16)
    target, family = HFTarget(model), BY_NAME["llava"]
    rows, fp32 = reference("llava", "image")
    for row, known in zip(rows, fp32, strict=True):
        inputs = batch_of(family, [row])
        pixels = {"pixel_values": inputs["pixel_values"].bfloat16()}
        plain = model.generate(
            **{**inputs, **pixels}, max_new_tokens=NEW, do_sample=False, eos_token_id=None
        )[0, len(row.ids) :].tolist()
        engine = DRAFTERS["bush"].engine(target, [known])
        got = engine.generate(Request(inputs, Sampling(max_new_tokens=NEW)))[0][0]
        part = next((i for i in range(NEW) if plain[i] != got[i]), None)
        if part is not None:
            longer = batch_of(family, [Row(row.ids + plain[:part], row.vision)])
            logits = model(**{**longer, **pixels}).logits[0, -1].float()
            gap = logits[plain[part]] - logits[got[part]]
            assert gap.abs() < 0.05 * logits.std(), f"parted at {part} over a gap of {gap}"
