"""What a prompt of pictures and videos may be; checked before a model is loaded."""

from __future__ import annotations

from collections.abc import Sequence

from mmspec import catalog

MAX_WORDS = 1_000  # of one prompt; models refuse earlier, after they are loaded


def check_prompts(texts: Sequence[str], model: str = "", family: str = "image") -> None:
    """Refuse what cannot be drawn, before a model is loaded.

    Args:
        texts: Prompts.
        model: Name of the model; the embedded ones know the words of the small world only.
        family: What is made of them, ``image`` or ``video``.

    Raises:
        ValueError: No prompt, an empty one, one of more than :data:`MAX_WORDS` words, or words that
            an embedded model does not know.
        TypeError: A prompt that is no text.
    """
    words_of = catalog.IMAGE_WORDS if family == "image" else catalog.VIDEO_WORDS
    read = catalog.resolve(words_of) if model in catalog.embedded(family) else None
    if not texts:
        raise ValueError("the list of prompts is empty; give at least one")
    for place, text in enumerate(texts):
        which = f"prompt {place}" if len(texts) > 1 else "the prompt"
        if not isinstance(text, str):
            raise TypeError(f"{which} must be text, got {type(text).__name__}")
        words = len(text.split())
        if not words:
            raise ValueError(f"{which} is empty; say what to draw")
        if words > MAX_WORDS:
            raise ValueError(
                f"{which} has {words:,} words, at most {MAX_WORDS:,} are read; shorten it"
            )
        try:
            if read is not None:
                read(text)
        except ValueError as error:
            raise ValueError(f"{which}: {error}") from None
