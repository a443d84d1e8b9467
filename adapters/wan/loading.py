"""Wan targets from disk: a transformer, and the autoencoder and text encoder that it shares."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from adapters.wan.blocks import BlockCausalWan
from adapters.wan.checkpoints import is_far, load_far, load_vae, load_wan
from adapters.wan.far import FarBlocks, FarWan
from adapters.wan.narrow import hasten_narrow
from adapters.wan.rebuilding import RebuiltWan
from adapters.wan.target import TEXT_TOKENS, WanBlocks, WanTarget
from adapters.wan.vae import WanVae
from video_ar.rewards.prompts import PromptWindow
from video_ar.schedule import Schedule, few_steps

# Frames are decoded together up to this many latent cells: four of 8 x 8, one of a usual video.
CELLS_AT_ONCE = 256
Encoder = Callable[[str], Tensor]


class TextEncoder:
    """States of a prompt as the released models read them: zeros after its last token.

    Args:
        model: A transformers ``UMT5EncoderModel``, or one like it.
        tokenizer: Its own.
        length: Tokens that are read; longer prompts are cut, with a warning for the first one.
    """

    def __init__(self, model: Any, tokenizer: Any, length: int = TEXT_TOKENS) -> None:
        self.model, self.tokenizer = model.eval(), tokenizer
        self._window = PromptWindow(tokenizer, length, "the text encoder")

    @torch.no_grad()
    def __call__(self, prompt: str) -> Tensor:
        """``(1, length, width)`` on the encoder's device."""
        ids, mask = self._window(prompt, self.model.device)
        states: Tensor = self.model(ids, mask).last_hidden_state
        return states * mask.unsqueeze(-1).to(states.dtype)


def load_text_encoder(
    folder: str | Path, dtype: torch.dtype | None = None, length: int = TEXT_TOKENS
) -> TextEncoder:
    """The text encoder of a diffusers pipeline folder, from local files only.

    Args:
        folder: With ``text_encoder`` (UMT5, or T5) in it; ``tokenizer`` lies beside or inside it.
        dtype: Number format, that of the files by default.
        length: Tokens that are read.

    Raises:
        ValueError: A part is missing, or the encoder is another one.
    """
    from transformers import AutoConfig, AutoTokenizer, T5EncoderModel, UMT5EncoderModel

    folder = Path(folder)
    encoder, words = folder / "text_encoder", folder / "tokenizer"
    if (encoder / "tokenizer_config.json").is_file():
        words = encoder
    if absent := [path.name for path in dict.fromkeys((encoder, words)) if not path.is_dir()]:
        raise ValueError(
            f"{folder} has no {' and no '.join(absent)}; give the folder of a diffusers Wan "
            "pipeline, or a ready encoder"
        )
    kinds = {"umt5": UMT5EncoderModel, "t5": T5EncoderModel}
    found = AutoConfig.from_pretrained(encoder, local_files_only=True).model_type
    if found not in kinds:
        raise ValueError(f"{encoder} is a {found}; Wan models read {' or '.join(kinds)}")
    model = kinds[found].from_pretrained(encoder, dtype=dtype or "auto", local_files_only=True)
    tokenizer = AutoTokenizer.from_pretrained(words, local_files_only=True)
    return TextEncoder(model, tokenizer, length)


def load_stream(
    path: str | Path, dtype: torch.dtype | None = None, device: str | torch.device = "cpu"
) -> WanVae:
    """Read an autoencoder, ready to stream, on a CPU by the quick way through narrow layers.

    Args:
        path: As for :func:`~adapters.wan.checkpoints.load_vae`.
        dtype: As there.
        device: Where it is put.

    Raises:
        ValueError: As there.
    """
    vae = load_vae(path, dtype).to(device)
    return WanVae(hasten_narrow(vae) if vae.device.type == "cpu" else vae, CELLS_AT_ONCE)


def load_target(
    path: str | Path,
    shared: str | Path | WanTarget,
    *,
    encoder: Encoder | None = None,
    schedule: Schedule | None = None,
    block_frames: int = 3,
    window: int | None = None,
    sink: int = 0,
    rebuild: int | None = None,
    reencode: bool = True,
    text_tokens: int = TEXT_TOKENS,
    heads: int | None = None,
    averaged: bool = True,
    device: torch.device | str = "cpu",
    dtype: torch.dtype | None = None,
) -> WanTarget:
    """A target, or a drafter: both are loaded in the same way.

    Args:
        path: The transformer, as :func:`~adapters.wan.checkpoints.load_wan` takes it: a diffusers
            folder, Wan's original files, or a file of Self-Forcing, CausVid or Krea; or the
            diffusers folder of an AnyFlow-FAR.
        shared: Diffusers folder with the autoencoder, and the text encoder unless ``encoder`` is
            given; or a target, whose own are used: a drafter needs none beside them.
        encoder: From a prompt to the text states.
        schedule: Steps that the model was distilled for; those of Self-Forcing by default. Krea's
            has ``final_zero_step``, that of AnyFlow-FAR no fresh noise.
        block_frames: Latent frames of a block.
        window: Latent frames that are remembered; None keeps all.
        sink: First frames that stay in the window.
        rebuild: Frames that Krea's discipline keeps, 3 in its program; None carries the cache on.
        reencode: Whether that discipline encodes the oldest kept picture anew, as Krea's program
            does, see :class:`~adapters.wan.rebuilding.RebuiltWan`.
        text_tokens: Tokens of a prompt that are read.
        heads: As for ``load_wan``.
        averaged: As for ``load_wan``.
        device: Where everything is put.
        dtype: Number format of the transformer and the text encoder. The autoencoder is kept as it
            is stored, but in float32 if this is.

    Raises:
        ValueError: Files that do not fit, or a window beside ``rebuild`` or for AnyFlow-FAR.
    """
    if rebuild is not None and (window is not None or sink):
        raise ValueError("rebuild fills the cache anew for every block; leave out window and sink")
    far = is_far(path)
    if far and (window is not None or sink or rebuild is not None):
        raise ValueError("AnyFlow-FAR has a past of its own; leave out window, sink and rebuild")
    if far:
        wan: FarWan | BlockCausalWan = FarWan(load_far(path, dtype).to(device), block_frames)
    else:
        transformer = load_wan(path, heads=heads, averaged=averaged, dtype=dtype).to(device)
        wan = BlockCausalWan(transformer, block_frames)
    if isinstance(shared, WanTarget):
        vae, encoder = shared.vae, encoder or shared.encoder
    else:
        vae = load_stream(shared, dtype if dtype == torch.float32 else None, device)
        if encoder is None:
            encoder = load_text_encoder(shared, dtype, text_tokens)
            encoder.model.to(device)
    schedule = schedule or few_steps(fresh=not far)
    if isinstance(wan, FarWan):
        return WanTarget(FarBlocks(wan), vae, schedule, encoder)
    if rebuild is None:
        return WanTarget(WanBlocks(wan, window, sink), vae, schedule, encoder)
    return WanTarget(RebuiltWan(wan, rebuild, vae if reencode else None), vae, schedule, encoder)
