"""Logits, embeddings, inputs of ``generate``, and refusals."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import transformers as hf

from adapters.hf_vlm import HFTarget, inputs_from_generate, load_target
from mmspec.engine import Engine
from mmspec.sampling import Sampling
from mmspec.token_target import Request
from tests.adapters.families import BY_NAME, FAMILIES, IMAGE, TEXT, model_of
from tests.adapters.prompts import batch_of
from tests.adapters.references import NEW, reference, target_of

NAMES = [family.name for family in FAMILIES]
CASES = [(family.name, kind) for family in FAMILIES for kind in family.kinds]


@torch.inference_mode()
@pytest.mark.parametrize("name", NAMES)
def test_head_and_embed_are_the_models_own(name: str) -> None:
    target, model = target_of(name), model_of(name)
    ids = torch.tensor([[5, 17, 40, 8]])
    out = model(input_ids=ids, output_hidden_states=True, use_cache=False)
    torch.testing.assert_close(target.head(out.hidden_states[-1]), out.logits)
    torch.testing.assert_close(target.embed(ids), out.hidden_states[0])


@pytest.mark.parametrize(
    ("kind", "extra"),
    [
        (hf.Gemma2Config, {"final_logit_softcapping": 3.0, "attn_implementation": "eager"}),
        (hf.CohereConfig, {"logit_scale": 0.25}),
        (hf.GraniteConfig, {"logits_scaling": 4.0}),
    ],
)
@torch.inference_mode()
def test_head_scales_and_caps_as_the_model_does(kind: Any, extra: dict[str, Any]) -> None:
    model = hf.AutoModelForCausalLM.from_config(kind(**{**TEXT, **extra})).eval()
    ids = torch.tensor([[5, 17, 40, 8]])
    out = model(input_ids=ids, output_hidden_states=True, use_cache=False)
    torch.testing.assert_close(HFTarget(model).head(out.hidden_states[-1]), out.logits)


class Loop:
    """A ``custom_generate`` that decodes with the engine."""

    def __init__(self) -> None:
        self.inputs: dict[str, Any] = {}

    def __call__(self, model: Any, input_ids: Any, generation_config: Any, **kwargs: Any) -> Any:
        self.inputs = inputs_from_generate(model, input_ids, kwargs)
        sampling = Sampling(max_new_tokens=generation_config.max_new_tokens)
        rows, _ = Engine(HFTarget(model)).generate(Request(self.inputs, sampling))
        return torch.tensor(rows)


@pytest.mark.parametrize("count", [1, 3], ids=["single", "ragged"])
@pytest.mark.parametrize(("name", "kind"), CASES)
def test_what_generate_hands_over_decodes_alike(name: str, kind: str, count: int) -> None:
    rows, expected = reference(name, kind)
    loop = Loop()
    got = model_of(name).generate(
        **batch_of(BY_NAME[name], rows[:count]),
        custom_generate=loop,
        max_new_tokens=NEW,
        eos_token_id=None,
        pad_token_id=0,
        do_sample=False,
    )
    assert got.tolist() == expected[:count]
    assert "past_key_values" not in loop.inputs


def test_stop_ids_come_from_both_configurations() -> None:
    model = hf.LlamaForCausalLM(hf.LlamaConfig(**{**TEXT, "eos_token_id": [2, 7]}))
    model.generation_config.eos_token_id = [9, 2]
    assert HFTarget(model).stop_ids == (9, 2, 7)


def test_attributes() -> None:
    target = target_of("llava_onevision")
    assert target.model_type == "llava_onevision"
    assert target.supports_images
    assert target.supports_video
    assert target.image_token_ids == (94, 95)
    assert target.dtype == torch.float32
    assert target.device.type == "cpu"
    assert not target_of("llama").supports_images
    assert not target_of("llava").supports_video


def test_a_cache_that_holds_tokens_is_refused() -> None:
    cache = hf.DynamicCache()
    cache.update(torch.zeros(1, 2, 3, 8), torch.zeros(1, 2, 3, 8), 0)
    with pytest.raises(ValueError, match="already hold tokens"):
        inputs_from_generate(model_of("llama"), torch.ones(1, 4), {"past_key_values": cache})


def one_image(**change: Any) -> dict[str, Any]:
    rows, _ = reference("llava", "image")
    return {**batch_of(BY_NAME["llava"], rows[:1]), **change}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"input_ids": None}, "need input_ids"),
        ({"pixel_value": torch.zeros(1)}, r"does not take \['pixel_value'\]"),
        ({"attention_mask": torch.ones(1, 3)}, "attention_mask has shape"),
        ({"attention_mask": torch.zeros(1, 22)}, "row 0 has no tokens"),
        ({"pixel_values": torch.zeros(2, 3, 16, 16)}, "do not match"),
    ],
)
def test_bad_inputs_are_refused_with_the_reason(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        target_of("llava").prefill(Request(one_image(**change)))


def test_inputs_on_another_device_are_refused() -> None:
    ids = torch.ones(1, 4, dtype=torch.long, device="meta")
    with pytest.raises(ValueError, match="input_ids is on meta and the model on cpu"):
        target_of("llama").prefill(Request({"input_ids": ids}))


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (hf.MambaConfig(num_hidden_layers=1), "'mamba' keeps a recurrent state"),
        (hf.BloomConfig(n_layer=1), "'bloom' takes no explicit positions"),
        (hf.Llama4TextConfig(num_hidden_layers=2), "'llama4_text' has chunked_attention layers"),
        (hf.T5Config(num_layers=1), "'t5' is not supported; supported are gemma3"),
        (hf.PaliGemmaConfig(), "multimodal model type 'paligemma' is not supported"),
    ],
)
def test_types_that_cannot_be_rolled_back_are_refused_unread(
    config: Any, message: str, tmp_path: Any
) -> None:
    config.save_pretrained(tmp_path)  # no weights: reading them would fail otherwise
    with pytest.raises(ValueError, match=message):
        load_target(str(tmp_path))


def test_a_model_that_looks_both_ways_fails_the_probe() -> None:
    sizes = {key: value for key, value in TEXT.items() if key != "head_dim"}
    model = hf.BertLMHeadModel(hf.BertConfig(**sizes, is_decoder=False))
    with pytest.raises(ValueError, match="'bert' does not score a token tree"):
        HFTarget(model)


@pytest.mark.parametrize("attention", ["flex_attention", "flash_attention_2"])
def test_attention_that_cannot_express_trees_is_refused(attention: str) -> None:
    model = hf.LlamaForCausalLM(hf.LlamaConfig(**TEXT))
    model.config._attn_implementation_internal = attention
    with pytest.raises(ValueError, match="attn_implementation='sdpa' or 'eager'"):
        HFTarget(model)


def test_a_name_that_is_nowhere_is_one_sentence(tmp_path: Any) -> None:
    with pytest.raises(ValueError, match="cannot load the configuration of") as caught:
        load_target(str(tmp_path / "nothing"))
    assert "\n" not in str(caught.value)
    with pytest.raises(ValueError, match="device or device_map"):
        load_target("x", device="cpu", device_map="auto")


def test_placeholders_without_pixels_are_refused() -> None:
    ids = torch.tensor([[5, IMAGE, 6]])
    with pytest.raises(ValueError, match="hold the image placeholder 94 and there are no pixels"):
        target_of("llava").prefill(Request({"input_ids": ids}))
