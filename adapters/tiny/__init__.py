"""The embedded default: a small drawn world with ground truth, and models trained on it.

`world` draws scenes and clips, describes them, and reads descriptions back; `weights/captioner` is
a `LlavaForConditionalGeneration` folder, `weights/draft-text` a text-only draft model for it, and
`weights/{eagle,vispec,specvlm,flash}` are drafters on its hidden states. `images` trains the models
that draw: `weights/llamagen` (texts) and `weights/llamagen-c2i` (classes), `image-eagle`,
`llamagen-low` and `upsampler`, which draft for the first, and the `judge` of their pictures.
"""

from __future__ import annotations

from pathlib import Path


def folder(name: str) -> Path:
    """Folder of an embedded model, by its name under ``weights``; it may not exist."""
    return Path(__file__).parent / "weights" / name
