"""`generate(custom_generate=speculative(...))` equals `generate`, or says why it cannot run."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from transformers import StoppingCriteria, TextStreamer

import mmspec
from mmspec.custom_generate import Speculative
from tests.core import checkpoints

IMAGE_TOKENS = (checkpoints.SIDE // checkpoints.PATCH) ** 2


@pytest.fixture(scope="module")
def llama() -> Any:
    return checkpoints.llama()


@pytest.fixture(scope="module")
def llava() -> Any:
    return checkpoints.llava()


@pytest.fixture
def spec() -> Speculative:
    return mmspec.speculative(method="prompt-lookup", pacer="fixed")


def padded(rows: int = 3, length: int = 9) -> dict[str, torch.Tensor]:
    """Prompts of different lengths, padded on the left."""
    ids = torch.randint(5, 60, (rows, length), generator=torch.Generator().manual_seed(rows))
    mask = torch.ones_like(ids)
    for row in range(rows):
        mask[row, : 2 * row] = 0
    return {"input_ids": ids * mask, "attention_mask": mask}


def with_picture(lead: int = 0) -> dict[str, torch.Tensor]:
    """A prompt of ``lead`` words, a picture and three words."""
    ids = torch.tensor([[1, *range(20, 20 + lead), *[4] * IMAGE_TOKENS, 7, 8, 9]])
    pixels = torch.randn(1, 3, checkpoints.SIDE, checkpoints.SIDE)
    return {"input_ids": ids, "attention_mask": torch.ones_like(ids), "pixel_values": pixels}


OPTIONS: list[dict[str, Any]] = [
    {},
    {"repetition_penalty": 1.3},
    {"min_new_tokens": 9},
    {"no_repeat_ngram_size": 2},
    {"bad_words_ids": [[7], [8, 9]]},
    {"forced_eos_token_id": 2},
    {"eos_token_id": [2, *range(10, 16)]},
    {"max_length": 20, "max_new_tokens": None},
    {"renormalize_logits": True, "suppress_tokens": [5, 6]},
]


@pytest.mark.parametrize("options", OPTIONS, ids=lambda options: next(iter(options), "greedy"))
def test_llama_left_padded_batch(llama: Any, spec: Speculative, options: dict[str, Any]) -> None:
    options = {"max_new_tokens": 24, "do_sample": False, **options}
    want = llama.generate(**padded(), **options)
    got = llama.generate(**padded(), **options, custom_generate=spec)
    assert torch.equal(got, want)
    assert spec.trace is not None
    assert sum(len(row) for row in spec.trace.units) > 0
    assert spec.lossless


def test_llava_with_pictures(llava: Any, spec: Speculative) -> None:
    for lead in (0, 3):
        torch.manual_seed(lead)
        inputs = with_picture(lead)
        want = llava.generate(**inputs, max_new_tokens=24, do_sample=False)
        got = llava.generate(**inputs, max_new_tokens=24, do_sample=False, custom_generate=spec)
        assert torch.equal(got, want)


def test_llava_left_padded_batch(llava: Any, spec: Speculative) -> None:
    torch.manual_seed(0)
    short, long = with_picture(0), with_picture(3)
    gap = torch.zeros(1, 3, dtype=torch.long)
    inputs = {
        "input_ids": torch.cat([torch.cat([gap, short["input_ids"]], 1), long["input_ids"]]),
        "attention_mask": torch.cat(
            [torch.cat([gap, short["attention_mask"]], 1), long["attention_mask"]]
        ),
        "pixel_values": torch.cat([short["pixel_values"], long["pixel_values"]]),
    }
    want = llava.generate(**inputs, max_new_tokens=24, do_sample=False)
    got = llava.generate(**inputs, max_new_tokens=24, do_sample=False, custom_generate=spec)
    assert torch.equal(got, want)


def test_draft_model(llama: Any) -> None:
    from adapters.hf_vlm import HFTarget

    spec = mmspec.speculative(HFTarget(checkpoints.llama(seed=1)), "draft-model", pacer="fixed")
    want = llama.generate(**padded(), max_new_tokens=24, do_sample=False)
    got = llama.generate(**padded(), max_new_tokens=24, do_sample=False, custom_generate=spec)
    assert torch.equal(got, want)
    assert spec.trace is not None
    assert spec.trace.acceptance_length > 3  # a twin agrees nearly always


def test_sampling_follows_the_seed(llama: Any, spec: Speculative) -> None:
    inputs = {"input_ids": padded(1)["input_ids"]}
    options: dict[str, Any] = {
        "max_new_tokens": 16,
        "do_sample": True,
        "temperature": 0.8,
        "top_k": 12,
        "top_p": 0.9,
        "min_p": 0.02,
        "num_return_sequences": 4,
        "custom_generate": spec,
    }
    first = llama.generate(**inputs, **options, seed=1)
    assert first.shape[0] == 4
    assert len({tuple(row) for row in first.tolist()}) > 1
    assert torch.equal(first, llama.generate(**inputs, **options, seed=1))
    plain = mmspec.speculative(method="none")
    same = llama.generate(**inputs, **{**options, "custom_generate": plain}, seed=1)
    assert torch.equal(first, same)  # the target's draws do not depend on the drafts
    generator = torch.Generator().manual_seed(5)
    one = llama.generate(**inputs, **options, generator=generator)
    two = llama.generate(**inputs, **options, generator=generator)
    assert not torch.equal(one, two)


def test_sampled_tokens_stay_in_the_warped_support(llama: Any, spec: Speculative) -> None:
    inputs = {"input_ids": padded(1)["input_ids"]}
    got = llama.generate(**inputs, max_new_tokens=12, do_sample=True, top_k=1, custom_generate=spec)
    want = llama.generate(**inputs, max_new_tokens=12, do_sample=False)
    assert torch.equal(got, want)


def test_dictionary_output_and_streamer(llama: Any, capsys: pytest.CaptureFixture[str]) -> None:
    inputs = {"input_ids": padded(1)["input_ids"]}
    words = checkpoints.tokenizer()
    options: dict[str, Any] = {"max_new_tokens": 8, "do_sample": False}
    spec = mmspec.speculative(
        method="prompt-lookup", streamer=TextStreamer(words, skip_prompt=True), pacer="fixed"
    )
    out = llama.generate(**inputs, **options, return_dict_in_generate=True, custom_generate=spec)
    want = llama.generate(**inputs, **options)
    assert torch.equal(out.sequences, want)
    new = want[0, inputs["input_ids"].shape[1] :]
    assert capsys.readouterr().out.strip() == words.decode(new)
    with pytest.raises(ValueError, match="follows one row"):
        llama.generate(**padded(), **options, custom_generate=spec)


def test_time_limit(llama: Any, spec: Speculative) -> None:
    got = llama.generate(
        **padded(), max_new_tokens=100, eos_token_id=None, max_time=1e-6, custom_generate=spec
    )
    assert got.shape[1] < 20


class Never(StoppingCriteria):
    def __call__(self, input_ids: Any, scores: Any, **kwargs: Any) -> Any:
        return torch.zeros(input_ids.shape[0], dtype=torch.bool)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"num_beams": 2}, "beam search"),
        ({"return_dict_in_generate": True, "output_scores": True}, "output_scores=True"),
        ({"guidance_scale": 2.0}, "UnbatchedClassifierFreeGuidanceLogitsProcessor"),
        ({"do_sample": True, "typical_p": 0.5}, "TypicalLogitsWarper"),
        ({"stopping_criteria": [Never()]}, "stopping criterion Never"),
        ({"prefix_allowed_tokens_fn": lambda row, ids: [5]}, "PrefixConstrained"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_cannot_be_honoured_is_refused(
    llama: Any, spec: Speculative, options: dict[str, Any], said: str
) -> None:
    inputs = {"input_ids": padded(1)["input_ids"]}
    with pytest.raises(ValueError, match=said):
        llama.generate(**inputs, max_new_tokens=4, custom_generate=spec, **options)


def test_wrong_padding_and_bare_embeddings_are_refused(llama: Any, spec: Speculative) -> None:
    inputs = padded()
    flipped = {key: value.flip(1) for key, value in inputs.items()}
    with pytest.raises(ValueError, match="padded on the left"):
        llama.generate(**flipped, max_new_tokens=4, custom_generate=spec)
    embeds = llama.get_input_embeddings()(inputs["input_ids"])
    with pytest.raises(ValueError, match="inputs_embeds"):
        llama.generate(inputs_embeds=embeds, max_new_tokens=4, custom_generate=spec)
