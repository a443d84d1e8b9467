"""Tiny random models of every supported family, and pictures for them: no downloads."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
import transformers as hf
from torch import Tensor

VOCAB, IMAGE, VIDEO = 96, 94, 95
WORDS = 90  # ids below are ordinary tokens
TEXT = {
    "vocab_size": VOCAB,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": 512,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "tie_word_embeddings": False,
}
VISION = {
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "image_size": 16,
    "patch_size": 4,
}
QWEN_VISION = {"depth": 2, "hidden_size": 16, "num_heads": 2, "patch_size": 4}
MROPE = {"rope_type": "default", "mrope_section": [1, 1, 2], "rope_theta": 10000.0}


@dataclass(frozen=True)
class Family:
    """A way to build a model and the vision tensors of one picture or clip."""

    name: str
    build: Callable[[], Any]
    image: Callable[[torch.Generator], dict[str, Tensor]] | None = None
    video: Callable[[torch.Generator], dict[str, Tensor]] | None = None
    token_types: str = ""

    @property
    def kinds(self) -> list[str]:
        """What a prompt of this family can hold."""
        pictures = ["image", "images"] if self.image else []
        return ["text", *pictures, *(["video"] if self.video else [])]


def randn(*shape: int, generator: torch.Generator) -> Tensor:
    return torch.randn(*shape, generator=generator)


def _flat_image(generator: torch.Generator) -> dict[str, Tensor]:
    return {"pixel_values": randn(1, 3, 16, 16, generator=generator)}


def nested_image(generator: torch.Generator) -> dict[str, Tensor]:
    return {"pixel_values": randn(1, 1, 3, 16, 16, generator=generator)}


def _anyres_image(generator: torch.Generator) -> dict[str, Tensor]:
    wide = bool(torch.randint(2, (1,), generator=generator))
    return {
        "pixel_values": randn(1, 3, 3, 16, 16, generator=generator),
        "image_sizes": torch.tensor([[14, 30] if wide else [28, 13]]),
    }


def _frames(generator: torch.Generator) -> dict[str, Tensor]:
    return {"pixel_values_videos": randn(1, 2, 3, 16, 16, generator=generator)}


def _grid(name: str, key: str, frames: int) -> Callable[[torch.Generator], dict[str, Tensor]]:
    def make(generator: torch.Generator) -> dict[str, Tensor]:
        sides = 2 * torch.randint(1, 4, (2,), generator=generator)
        grid = torch.tensor([[frames, int(sides[0]), int(sides[1])]])
        pixels = randn(int(grid.prod()), 3 * 2 * 4 * 4, generator=generator)
        return {name: pixels, key: grid}

    return make


def _with_seconds(generator: torch.Generator) -> dict[str, Tensor]:
    clip = _grid("pixel_values_videos", "video_grid_thw", 2)(generator)
    return {**clip, "second_per_grid_ts": torch.tensor([0.5])}


def _tiny(config: Any, builder: Any, seed: int = 0) -> Any:
    """A model whose weights are large enough that context matters and argmax margins are wide."""
    torch.manual_seed(seed)
    model = builder(config).eval()
    generator = torch.Generator().manual_seed(seed + 1)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() >= 2:
                parameter.copy_(0.25 * torch.randn(parameter.shape, generator=generator))
        head = model.get_output_embeddings().weight.mul_(4.0)
        head[WORDS:] = 0.0  # placeholders are never generated
    return model


def _causal(config_class: Any, **extra: Any) -> Callable[[], Any]:
    def build() -> Any:
        return _tiny(config_class(**{**TEXT, **extra}), hf.AutoModelForCausalLM.from_config)

    return build


def _vlm(
    config_class: Any, model_class: Any, text: Any, vision: Any, **extra: Any
) -> Callable[[], Any]:
    def build() -> Any:
        config = config_class(text_config=text(), vision_config=vision(), **extra)
        return _tiny(config, model_class)

    return build


def _llama() -> Any:
    return hf.LlamaConfig(**TEXT)


def _qwen2() -> Any:
    return hf.Qwen2Config(**TEXT)


def _gemma3_text() -> Any:
    kinds = ["sliding_attention", "full_attention", "sliding_attention"]
    return hf.Gemma3TextConfig(
        **TEXT, layer_types=kinds, sliding_window=12, query_pre_attn_scalar=8
    )


_CLIP = lambda: hf.CLIPVisionConfig(**VISION)  # noqa: E731
_SIGLIP = lambda: hf.SiglipVisionConfig(**VISION, vision_use_head=False)  # noqa: E731
_POINTS = [[16, 32], [32, 16]]
_GRIDS = {
    "image": _grid("pixel_values", "image_grid_thw", 1),
    "video": _grid("pixel_values_videos", "video_grid_thw", 2),
    "token_types": "mm_token_type_ids",
}


def _qwen_vl(prefix: str, **vision: Any) -> Callable[[], Any]:
    def build() -> Any:
        config = getattr(hf, f"{prefix}Config")(
            text_config={**TEXT, "rope_parameters": dict(MROPE)},
            vision_config={**QWEN_VISION, **vision},
            image_token_id=IMAGE,
            video_token_id=VIDEO,
        )
        return _tiny(config, getattr(hf, f"{prefix}ForConditionalGeneration"))

    return build


FAMILIES = [
    Family("llama", _causal(hf.LlamaConfig)),
    Family(
        "qwen2",
        _causal(hf.Qwen2Config, use_sliding_window=True, sliding_window=9, max_window_layers=1),
    ),
    Family("qwen3", _causal(hf.Qwen3Config)),
    Family("mistral", _causal(hf.MistralConfig, sliding_window=9)),
    Family("gemma", _causal(hf.GemmaConfig)),
    Family(
        "gemma2",
        _causal(
            hf.Gemma2Config, sliding_window=9, query_pre_attn_scalar=8, attn_implementation="eager"
        ),
    ),
    Family("gemma3_text", lambda: _tiny(_gemma3_text(), hf.Gemma3ForCausalLM)),
    Family("phi", _causal(hf.PhiConfig)),
    Family("phi3", _causal(hf.Phi3Config, sliding_window=9)),
    Family(
        "llava",
        _vlm(
            hf.LlavaConfig, hf.LlavaForConditionalGeneration, _llama, _CLIP, image_token_index=IMAGE
        ),
        _flat_image,
    ),
    Family(
        "llava_next",
        _vlm(
            hf.LlavaNextConfig,
            hf.LlavaNextForConditionalGeneration,
            _llama,
            _CLIP,
            image_token_index=IMAGE,
            image_grid_pinpoints=_POINTS,
        ),
        _anyres_image,
    ),
    Family(
        "llava_onevision",
        _vlm(
            hf.LlavaOnevisionConfig,
            hf.LlavaOnevisionForConditionalGeneration,
            _qwen2,
            _SIGLIP,
            image_token_index=IMAGE,
            video_token_index=VIDEO,
            image_grid_pinpoints=_POINTS,
        ),
        _anyres_image,
        _frames,
    ),
    Family("qwen2_vl", _qwen_vl("Qwen2VL", embed_dim=16, hidden_size=32, mlp_ratio=2), **_GRIDS),
    Family(
        "qwen2_5_vl",
        _qwen_vl(
            "Qwen2_5_VL",
            intermediate_size=24,
            out_hidden_size=32,
            window_size=16,
            fullatt_block_indexes=[1],
        ),
        **{**_GRIDS, "video": _with_seconds},
    ),
    Family(
        "qwen3_vl",
        _qwen_vl(
            "Qwen3VL",
            intermediate_size=24,
            out_hidden_size=32,
            num_position_embeddings=16,
            deepstack_visual_indexes=[0, 1],
        ),
        **_GRIDS,
    ),
    Family(
        "idefics3",
        _vlm(
            hf.Idefics3Config,
            hf.Idefics3ForConditionalGeneration,
            _llama,
            lambda: dict(VISION),
            image_token_id=IMAGE,
        ),
        nested_image,
    ),
    Family(
        "smolvlm",
        _vlm(
            hf.SmolVLMConfig,
            hf.SmolVLMForConditionalGeneration,
            _llama,
            lambda: dict(VISION),
            image_token_id=IMAGE,
        ),
        nested_image,
    ),
    Family(
        "internvl",
        _vlm(
            hf.InternVLConfig,
            hf.InternVLForConditionalGeneration,
            _qwen2,
            lambda: dict(VISION),
            image_token_id=IMAGE,
            tie_word_embeddings=False,
        ),
        _flat_image,
    ),
    Family(
        "gemma3",
        _vlm(
            hf.Gemma3Config,
            hf.Gemma3ForConditionalGeneration,
            _gemma3_text,
            _SIGLIP,
            image_token_id=IMAGE,
            mm_tokens_per_image=4,
            tie_word_embeddings=False,
        ),
        _flat_image,
        token_types="token_type_ids",
    ),
]
# Accepted by their build alone, after a probe.
OTHERS = [
    Family("cohere2", _causal(hf.Cohere2Config, sliding_window=9, logit_scale=0.5)),
    Family("gpt_neox", _causal(hf.GPTNeoXConfig)),
    Family("granite", _causal(hf.GraniteConfig, logits_scaling=2.0)),
    Family("mixtral", _causal(hf.MixtralConfig, sliding_window=9, num_local_experts=3)),
    Family("olmo3", _causal(hf.Olmo3Config, sliding_window=9)),
    Family("smollm3", _causal(hf.SmolLM3Config)),
    Family("starcoder2", _causal(hf.Starcoder2Config, sliding_window=9)),
]
BY_NAME = {family.name: family for family in [*FAMILIES, *OTHERS]}


@cache
def model_of(name: str) -> Any:
    """The model of a family, built once a process."""
    return BY_NAME[name].build()
