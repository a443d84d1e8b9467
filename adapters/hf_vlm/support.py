"""Which transformers models can verify drafts, decided from their configuration."""

from __future__ import annotations

import inspect
from typing import Any

MULTIMODAL = (
    "gemma3",
    "idefics3",
    "internvl",
    "llava",
    "llava_next",
    "llava_onevision",
    "qwen2_5_vl",
    "qwen2_vl",
    "qwen3_vl",
    "smolvlm",
)
# Show a clip as a row of pictures: no placeholder or encoder of its own.
FRAME_VIDEO = ("internvl", "smolvlm")
# Text models that the tests run; others of the same build are accepted after a probe.
TEXT = (
    "gemma",
    "gemma2",
    "gemma3_text",
    "llama",
    "mistral",
    "phi",
    "phi3",
    "qwen2",
    "qwen3",
)
ATTENTION = ("eager", "sdpa")
KINDS = ("full_attention", "sliding_attention")


def check_config(config: Any) -> None:
    """Refuse a model type before its weights are loaded.

    Raises:
        ValueError: The type, why it cannot be used, and what can.
    """
    from transformers import AutoModelForCausalLM, AutoModelForImageTextToText

    kind = config.model_type
    if kind in MULTIMODAL:
        _check_layers(config.get_text_config())
        return
    if type(config) in AutoModelForImageTextToText._model_mapping and kind not in TEXT:
        raise ValueError(
            f"multimodal model type '{kind}' is not supported; supported: {', '.join(MULTIMODAL)}, "
            "and decoder-only text models"
        )
    if type(config) not in AutoModelForCausalLM._model_mapping:
        raise ValueError(f"model type '{kind}' is not supported; {supported()}")
    _check_text_class(kind, AutoModelForCausalLM._model_mapping[type(config)])
    _check_layers(config)


def check_model(model: Any) -> None:
    """Refuse a loaded model that cannot look at a token tree.

    Raises:
        ValueError: What is wrong and how to load the model instead.
    """
    check_config(model.config)
    used = model.get_decoder().config._attn_implementation
    if used not in ATTENTION:
        raise ValueError(
            f"attention '{used}' cannot express the masks that draft trees need; load the model "
            "with attn_implementation='sdpa' or 'eager'"
        )


def needs_probe(model: Any) -> bool:
    """Whether the model's type is accepted by its build alone and was never run by the tests."""
    return model.config.model_type not in (*MULTIMODAL, *TEXT)


def supported() -> str:
    """One sentence naming what works."""
    return (
        f"supported are {', '.join(MULTIMODAL)}, and decoder-only text models with full or "
        f"sliding-window attention ({', '.join(TEXT)} and others of their build)"
    )


def layer_kinds(config: Any) -> list[str]:
    """The different kinds of attention layers of a text decoder, sorted."""
    kinds = getattr(config, "layer_types", None)
    if kinds:
        return sorted(set(kinds))
    # Families without a list of layers (Mistral, Phi-3) slide in every layer or in none.
    slides = getattr(config, "sliding_window", None) is not None
    return ["sliding_attention" if slides else "full_attention"]


def window_of(config: Any) -> int:
    """Tokens a sliding layer sees, itself included; 0 where no layer slides."""
    return int(getattr(config, "sliding_window", None) or 0)


def placeholder_ids(config: Any) -> dict[int, str]:
    """Placeholder token ids and what they stand for, "image" or "video"."""
    found = {}
    for kind in ("image", "video"):
        token = getattr(config, f"{kind}_token_id", None)
        if token is not None:
            found[int(token)] = kind
    return found


def _check_layers(config: Any) -> None:
    strange = set(layer_kinds(config)) - set(KINDS)
    if strange:
        raise ValueError(
            f"model type '{config.model_type}' has {', '.join(sorted(strange))} layers, whose "
            f"state cannot be rolled back to the accepted tokens; {supported()}"
        )
    if getattr(config, "num_kv_shared_layers", 0):
        raise ValueError(
            f"model type '{config.model_type}' shares keys and values between layers, which is not "
            f"supported; {supported()}"
        )


def _check_text_class(kind: str, cls: type) -> None:
    """Only what reads a cache, explicit positions and a 4-D mask can verify a draft."""
    stateful = cls._is_stateful  # type: ignore[attr-defined]
    backend = cls._supports_attention_backend  # type: ignore[attr-defined]
    positions = "position_ids" in inspect.signature(cls.forward).parameters  # type: ignore[attr-defined]
    if stateful:
        raise ValueError(
            f"model type '{kind}' keeps a recurrent state that cannot be rolled back to the "
            f"accepted tokens; {supported()}"
        )
    if not (backend and positions):
        raise ValueError(
            f"model type '{kind}' takes no explicit positions and attention masks; {supported()}"
        )
