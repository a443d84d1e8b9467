"""From pictures and words to the tensors a model reads, through its own processor and template."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

_PLACEHOLDERS = ("image_token", "video_token", "boi_token", "fake_image_token")


class Prompter:
    """Formats and encodes prompts.

    Args:
        processor: A multimodal processor, or a tokenizer for a text model; None refuses to encode.
        multimodal: Whether the model takes pictures, and ``processor`` so is no bare tokenizer.
    """

    def __init__(self, processor: Any, multimodal: bool) -> None:
        self._processor = processor
        self._multimodal = multimodal
        self._tokenizer = getattr(processor, "tokenizer", processor)

    def encode(
        self,
        images: Sequence[Sequence[Any]],
        prompts: Sequence[str],
        videos: Sequence[Sequence[Any]] | None,
        device: torch.device,
    ) -> dict[str, Tensor]:
        """One user turn a row: its pictures, its clips, then its text.

        The chat template of the processor is used where it has one. Otherwise the text is one
        placeholder a picture, one a clip, a line break, and the prompt; a bare prompt where there
        is nothing to show.

        Returns:
            The processor's tensors on ``device``, padded on the processor's side.

        Raises:
            ValueError: Counts that do not fit, pictures for a text model, stray placeholders, or a
                target built without a processor.
        """
        clips: Sequence[Sequence[Any]] = videos if videos else [[] for _ in prompts]
        images = images if images else [[] for _ in prompts]
        self._check(images, prompts, clips)
        rows = list(zip(images, clips, prompts, strict=True))
        texts = [self._text(len(pics), len(films), prompt) for pics, films, prompt in rows]
        options: dict[str, Any] = {"padding": len(texts) > 1, "return_tensors": "pt"}
        bos = self._tokenizer.bos_token
        if bos and texts[0].startswith(bos):
            options["add_special_tokens"] = False
        if not self._multimodal:
            encoded = self._tokenizer(texts, **options)
        else:
            if any(images):
                options["images"] = [list(row) for row in images]
            if any(clips):
                options["videos"] = [list(row) for row in clips]
            encoded = self._processor(text=texts, **options)
        return {key: value.to(device) for key, value in encoded.items()}

    def _text(self, pictures: int, clips: int, prompt: str) -> str:
        """The formatted text of one row."""
        template = getattr(self._processor, "chat_template", None)
        if template is None:
            marks = [self._processor.image_token] * pictures if pictures else []
            marks += [self._processor.video_token] * clips if clips else []
            return "".join(marks) + "\n" + prompt if marks else prompt
        content: Any = prompt
        if self._multimodal:
            content = [{"type": "image"}] * pictures + [{"type": "video"}] * clips
            content = [*content, {"type": "text", "text": prompt}]
        turn = [{"role": "user", "content": content}]
        return str(
            self._processor.apply_chat_template(turn, tokenize=False, add_generation_prompt=True)
        )

    def _check(
        self,
        images: Sequence[Sequence[Any]],
        prompts: Sequence[str],
        videos: Sequence[Sequence[Any]],
    ) -> None:
        if self._processor is None:
            raise ValueError(
                "this target was built without a processor; pass one to prepare inputs"
            )
        if not prompts:
            raise ValueError("give at least one prompt")
        if not len(images) == len(videos) == len(prompts):
            raise ValueError(
                f"{len(images)} rows of images and {len(videos)} of videos for {len(prompts)} "
                "prompts; give one (possibly empty) list of each a prompt"
            )
        if not self._multimodal and (any(images) or any(videos)):
            raise ValueError("this is a text model and takes no pictures or videos")
        for row, prompt in enumerate(prompts):
            for token in self._reserved():
                if token in prompt:
                    raise ValueError(
                        f"prompt {row} contains the placeholder '{token}', which stands for a "
                        "picture or video; remove it, placeholders are inserted for you"
                    )

    def _reserved(self) -> list[str]:
        """Strings the processor would take for a picture or video."""
        named = (getattr(self._processor, name, None) for name in _PLACEHOLDERS)
        return [token for token in named if isinstance(token, str) and token]
