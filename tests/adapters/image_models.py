"""Tiny random image models of transformers' own classes, and their laws computed the slow way."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
import transformers as hf
from torch import Tensor

from adapters.chameleon import loading as chameleon
from adapters.chameleon.conditioning import SpecialIds
from adapters.emu3 import loading as emu3
from adapters.image_tokens.prompting import guided_inputs
from adapters.image_tokens.target import Defaults, ImageTokenTarget
from adapters.janus import loading as janus
from adapters.llamagen.vq import VQConfig, VQModel

CODES = 12
TEXT = {
    "vocab_size": 48,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 256,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
JANUS_START, EMU3_START, CHAMELEON_START = 3, 3, 5
# Codes lie scattered in the vocabulary of Emu3 and next to each other in Chameleon's.
EMU3_IDS = [20 + (code * 5) % CODES * 2 for code in range(CODES)]
EMU3_LINE, EMU3_END = 8, 9
CHAMELEON_FIRST = 30
CHAMELEON_IDS = SpecialIds(bos=1, separator=4, image_start=5, image_end=6, line_end=7, sizes=10)
NONE = Defaults(guidance_scale=3.0)


def sharpened(model: Any, seed: int = 0) -> Any:
    """Weights large enough that context and guidance matter."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() >= 2:
                parameter.copy_(0.25 * torch.randn(parameter.shape, generator=generator))
    return model.eval().requires_grad_(False)


@cache
def janus_model() -> Any:
    side = 3
    vision = {
        "hidden_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "image_size": 8 * side,
        "patch_size": 8,
        "projection_dim": 32,
        "num_image_tokens": side * side,
    }
    vq = {
        "embed_dim": 4,
        "num_embeddings": CODES,
        "latent_channels": 32,
        "base_channels": 32,
        "channel_multiplier": [1, 1],
        "num_res_blocks": 1,
        "projection_dim": 32,
        "image_token_embed_dim": 32,
    }
    config = hf.JanusConfig(
        text_config=hf.LlamaConfig(**TEXT),
        vision_config=hf.JanusVisionConfig(**vision),
        vq_config=hf.JanusVQVAEConfig(**vq),
        image_token_id=47,
    )
    model = sharpened(hf.JanusForConditionalGeneration(config))
    said = model.generation_config
    said.bos_token_id, said.eos_token_id, said.pad_token_id = 1, 2, 0
    said.generation_kwargs = {"boi_token_id": JANUS_START}
    return model


@cache
def emu3_model() -> Any:
    names = {f"<|visual token {code:06d}|>": EMU3_IDS[code] for code in range(CODES)}
    names |= {"<image>": 47, emu3.LINE_END: EMU3_LINE, emu3.IMAGE_END: EMU3_END}
    vq = {
        "codebook_size": CODES,
        "embed_dim": 4,
        "latent_channels": 4,
        "base_channels": 32,
        "channel_multiplier": [1, 1],
        "num_res_blocks": 1,
        "hidden_size": 32,
        "attn_resolutions": [],
        "temporal_downsample_factor": 2,
    }
    config = hf.Emu3Config(
        text_config=hf.Emu3TextConfig(**TEXT, attention_dropout=0.0),
        vq_config=hf.Emu3VQVAEConfig(**vq),
        vocabulary_map=names,
    )
    return sharpened(hf.Emu3ForConditionalGeneration(config))


@cache
def chameleon_model() -> Any:
    names = chameleon.released_vocabulary_map(CODES, CHAMELEON_FIRST) | {"<image>": 47}
    vq = {"embed_dim": 4, "num_embeddings": CODES, "latent_channels": 32, "base_channels": 32}
    config = hf.ChameleonConfig(
        **TEXT,
        vocabulary_map=names,
        vq_config=hf.ChameleonVQVAEConfig(**vq, channel_multiplier=[1, 1], num_res_blocks=1),
    )
    return sharpened(hf.ChameleonForConditionalGeneration(config))


@cache
def small_vq(downsamplings: int = 4) -> VQModel:
    shape = VQConfig(
        codebook_size=CODES,
        codebook_embed_dim=4,
        ch=8,
        ch_mult=(1,) * (downsamplings + 1),
        num_res_blocks=1,
        z_channels=8,
        l2_norm=False,
        num_groups=4,
        level_attention=False,
    )
    return sharpened(VQModel(shape))


@dataclass(frozen=True)
class Painter:
    """A family of image models.

    Attributes:
        name: What to call it.
        make: A target around a tiny model.
        prompts: Prompt ids of four images of different lengths.
        nulls: Those of their unconditional halves.
        full: ``(model, prompt ids, output ids) -> logits`` of the model's own full forward, one
            row a position from the last prompt token on, over the decoder's vocabulary.
    """

    name: str
    make: Callable[[], ImageTokenTarget]
    prompts: list[list[int]]
    nulls: list[list[int]]
    full: Callable[[Any, list[int], list[int]], Tensor]

    def inputs(
        self, rows: Sequence[int] = (0, 1, 2, 3), scale: float = 3.0, interval: int = -1
    ) -> dict[str, Any]:
        chosen = [self.prompts[row] for row in rows], [self.nulls[row] for row in rows]
        return guided_inputs(*chosen, scale, interval)

    def allowed(self, target: ImageTokenTarget) -> Tensor:
        """``(codes,)`` ids that may stand in cells."""
        ids = target.image_ids
        return torch.arange(target.vocab_size)[ids] if isinstance(ids, slice) else ids

    @torch.no_grad()
    def laws(self, target: ImageTokenTarget, row: int, output: list[int], scale: float) -> Tensor:
        """``(len(output) + 1, codes)`` guided logits, from two full forwards of the model."""
        model = target.decoder.model  # type: ignore[attr-defined]
        c = self.full(model, self.prompts[row], output)
        u = self.full(model, self.nulls[row], output)
        return (u + scale * (c - u))[:, self.allowed(target)]


def _janus_full(model: Any, prompt: list[int], output: list[int]) -> Tensor:
    words = model.get_input_embeddings()(torch.tensor([prompt]))
    codes = torch.tensor([output], dtype=torch.long)
    embeds = torch.cat([words, model.prepare_embeddings_for_image_generation(codes)], 1)
    hidden = model.model.language_model(inputs_embeds=embeds).last_hidden_state
    return model.model.generation_head(hidden)[0, len(prompt) - 1 :]


def _emu3_full(model: Any, prompt: list[int], output: list[int]) -> Tensor:
    return model(input_ids=torch.tensor([prompt + output])).logits[0, len(prompt) - 1 :]


def _chameleon_full(model: Any, prompt: list[int], output: list[int]) -> Tensor:
    hidden = model.model(input_ids=torch.tensor([prompt + output])).last_hidden_state
    return model.lm_head(hidden)[0, len(prompt) - 1 :]


_WORDS = [[1, 11, 12, 13], [1, 14], [1, 15, 16, 17, 18, 19, 11], [1, 12, 15]]
_JANUS = [[*words, JANUS_START] for words in _WORDS]
_EMU3 = [[*words, EMU3_START] for words in _WORDS]
_EMU3_NULL = [[1, 19, 18, 17, EMU3_START], [1, EMU3_START], [1, 11, EMU3_START], [1, 18, 3]]
_CHAMELEON = [[*words, 4, CHAMELEON_START] for words in _WORDS]
_LUMINA = [[*words, 4, CHAMELEON_START, 12, 11] for words in _WORDS]

PAINTERS = [
    Painter(
        "janus",
        lambda: janus.assemble(janus_model(), defaults=NONE),
        _JANUS,
        [[1, *[0] * (len(row) - 2), JANUS_START] for row in _JANUS],
        _janus_full,
    ),
    Painter(
        "emu3",
        lambda: emu3.assemble(emu3_model(), image_size=(6, 8), defaults=NONE),
        _EMU3,
        _EMU3_NULL,
        _emu3_full,
    ),
    Painter(
        "anole",
        lambda: chameleon.assemble(
            chameleon_model(), small_vq(), image_size=48, ids=CHAMELEON_IDS, defaults=NONE
        ),
        _CHAMELEON,
        [[1, CHAMELEON_START]] * 4,
        _chameleon_full,
    ),
    Painter(
        "lumina",
        lambda: chameleon.assemble(
            chameleon_model(),
            small_vq(),
            variant="lumina",
            image_size=(64, 32),
            ids=CHAMELEON_IDS,
            defaults=NONE,
        ),
        _LUMINA,
        [[CHAMELEON_START, 12, 11]] * 4,
        _chameleon_full,
    ),
]
BY_NAME = {painter.name: painter for painter in PAINTERS}
NAMES = list(BY_NAME)
