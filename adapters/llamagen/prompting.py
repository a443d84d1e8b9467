"""From prompts and classes to the decoder's inputs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from adapters.image_tokens.prompting import only_prompts
from adapters.llamagen.captions import clean_caption
from adapters.llamagen.conditioning import left_padded


class ClassConditioner:
    """Classes by their numbers.

    Args:
        num_classes: Classes the model knows.
        device: Where the inputs must be.
        classes: Their names, or None.
    """

    def __init__(
        self,
        num_classes: int,
        device: torch.device | str = "cpu",
        classes: Sequence[str] | None = None,
    ) -> None:
        self.num_classes, self.device = num_classes, device
        self.classes = None if classes is None else tuple(classes)

    def __call__(
        self,
        prompts: Sequence[str] | None,
        class_ids: Sequence[int] | None,
        guidance_scale: float,
        cfg_interval: int,
    ) -> dict[str, Any]:
        """``labels`` and what both kinds of model take.

        Raises:
            ValueError: Prompts, or a class out of range.
        """
        last = self.num_classes - 1
        if class_ids is None:
            raise ValueError(
                f"this model draws classes, not prompts; give class_ids (class_id) from 0 to {last}"
            )
        for number in class_ids:
            if not 0 <= number <= last:
                raise ValueError(f"class {number} is out of range; give 0 to {last}")
        labels = torch.tensor(list(class_ids), device=self.device)
        return _guided({"labels": labels}, labels, 1, guidance_scale, cfg_interval)


class TextConditioner:
    """Prompts, through a frozen text encoder.

    Args:
        encoder: A T5 encoder of transformers.
        tokenizer: Its tokenizer.
        length: Positions the transformer keeps for the text.
        width: Width of the features the transformer takes.
        device: Where the inputs must be.
        clean: Tidy prompts the way the released models' captions were.

    Raises:
        ValueError: The encoder's width is another one.
    """

    classes: tuple[str, ...] | None = None

    def __init__(
        self,
        encoder: Any,
        tokenizer: Any,
        length: int,
        width: int,
        device: torch.device | str = "cpu",
        clean: bool = False,
    ) -> None:
        found = encoder.config.d_model
        if found != width:
            raise ValueError(
                f"the text encoder gives features of width {found} and the transformer takes "
                f"{width}; load the encoder the transformer was trained with"
            )
        self.encoder, self.tokenizer = encoder.eval(), tokenizer
        self.length, self.device, self.clean = length, device, clean

    def __call__(
        self,
        prompts: Sequence[str] | None,
        class_ids: Sequence[int] | None,
        guidance_scale: float,
        cfg_interval: int,
    ) -> dict[str, Any]:
        """``caption``, ``caption_mask`` and what both kinds of model take.

        Raises:
            ValueError: Classes, a prompt that is empty once it is tidied, or one longer than the
                model reads.
        """
        texts = only_prompts(prompts, "this model")
        if self.clean:
            texts = _cleaned(texts)
        tokens = self.tokenizer(texts, add_special_tokens=True)["input_ids"]
        for place, row in enumerate(tokens):
            if len(row) > self.length:
                raise ValueError(
                    f"prompt {place} has {len(row)} tokens and the model reads at most "
                    f"{self.length}; shorten it"
                )
        return text_inputs(*self._features(tokens), guidance_scale, cfg_interval)

    @torch.no_grad()
    def _features(self, tokens: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
        """``(batch, T, width)`` right-padded features and their mask ``(batch, T)``."""
        shape = (len(tokens), self.length)
        pad = self.tokenizer.pad_token_id or 0
        ids = torch.full(shape, pad, device=self.encoder.device)
        mask = torch.zeros(shape, dtype=torch.bool, device=self.encoder.device)
        for row, given in enumerate(tokens):
            ids[row, : len(given)] = torch.tensor(list(given))
            mask[row, : len(given)] = True
        features = self.encoder(input_ids=ids, attention_mask=mask.long()).last_hidden_state
        return features.to(self.device), mask.to(self.device)


def text_inputs(
    features: Tensor, mask: Tensor, guidance_scale: float, cfg_interval: int = -1
) -> dict[str, Any]:
    """The decoder's inputs from text features computed elsewhere.

    Args:
        features: ``(batch, T, width)`` right-padded to the transformer's text positions.
        mask: ``(batch, T)``, 1 or True where there is text.
        guidance_scale: Strength of classifier-free guidance.
        cfg_interval: Guided steps after the first code; -1 guides all.
    """
    caption, caption_mask = left_padded(features, mask)
    rest = {"caption": caption, "caption_mask": caption_mask}
    return _guided(rest, caption, features.shape[1], guidance_scale, cfg_interval)


def load_text_encoder(encoder: Any, tokenizer: Any, number: torch.dtype) -> tuple[Any, Any]:
    """Encoder and tokenizer, from folders or names where they are not loaded yet.

    Args:
        encoder: A T5 encoder, its folder or its name.
        tokenizer: Its tokenizer; None takes the one beside the encoder.
        number: Number format of an encoder that is loaded here.

    Raises:
        ValueError: Either cannot be loaded.
    """
    from transformers import AutoTokenizer, T5EncoderModel

    if tokenizer is None:
        if not isinstance(encoder, str | Path):
            raise ValueError("a loaded text_encoder needs its tokenizer; give tokenizer=...")
        tokenizer = encoder
    try:
        if isinstance(encoder, str | Path):
            encoder = T5EncoderModel.from_pretrained(
                str(encoder), dtype=number, use_safetensors=True
            )
        if isinstance(tokenizer, str | Path):
            tokenizer = AutoTokenizer.from_pretrained(str(tokenizer), trust_remote_code=False)
    except (OSError, ValueError, ImportError, KeyError) as error:
        reason = next((line.strip() for line in str(error).splitlines() if line.strip()), "")
        raise ValueError(f"cannot load the text encoder '{encoder}': {reason}") from error
    return encoder, tokenizer


def _cleaned(texts: Sequence[str]) -> list[str]:
    cleaned = [clean_caption(text) for text in texts]
    for place, (text, left) in enumerate(zip(texts, cleaned, strict=True)):
        if not left:
            raise ValueError(
                f"prompt {place}, {text!r}, holds only what is taken out of web captions (links, "
                "file names, article numbers); say in words what to draw"
            )
    return cleaned


def _guided(
    condition: dict[str, Any], like: Tensor, lead: int, guidance_scale: float, cfg_interval: int
) -> dict[str, Any]:
    """The condition with placeholders for its positions and the guidance of every row."""
    rows, device = like.shape[0], like.device
    return {
        "input_ids": torch.zeros(rows, lead, dtype=torch.long, device=device),
        **condition,
        "guidance_scale": torch.full((rows,), guidance_scale, device=device),
        "cfg_interval": cfg_interval,
    }
