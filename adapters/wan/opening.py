"""Open a Wan target by name: a folder, a file of a training program, or a Hub id."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from adapters.wan.loading import load_target
from adapters.wan.settings import FILE, WanSettings, read_settings
from adapters.wan.target import WanTarget

_PARTS = ("transformer", "vae", "text_encoder", "tokenizer")
_NUMBERS = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def open_target(
    name_or_path: str | Path,
    *,
    revision: str | None = None,
    dtype: str = "auto",
    device: str | torch.device | None = None,
    shared: str | Path | None = None,
    like: WanTarget | None = None,
    preset: str | None = None,
    settings: Mapping[str, Any] | None = None,
) -> WanTarget:
    """Load a target, or a drafter beside one.

    Args:
        name_or_path: A diffusers folder, of a pipeline or of a transformer; the file of a
            Self-Forcing, CausVid or Krea model; or the Hub id of a diffusers pipeline.
        revision: Branch, tag or commit on the Hub.
        dtype: Number format; "auto" takes the stored one. The autoencoder stays as it is stored,
            unless this is float32.
        device: Where to put everything; None leaves it on the CPU.
        shared: Diffusers folder or Hub id of the autoencoder and the text encoder, where they are
            not with the transformer.
        like: A target whose autoencoder and text encoder are used as well; a drafter's.
        preset: How the model was distilled, see :data:`~adapters.wan.settings.PRESETS`.
        settings: What is different, see :class:`~adapters.wan.settings.WanSettings`.

    Raises:
        ValueError: Nothing is there, it does not fit, or a part is missing.
    """
    path = _local(name_or_path, revision, "transformer" if like is not None else "")
    chosen = read_settings(path, preset, settings)
    number = None if dtype == "auto" else _NUMBERS[dtype]
    source: str | Path | WanTarget = like if like is not None else _shared(path, shared, chosen)
    target = load_target(
        path,
        source,
        schedule=chosen.schedule,
        block_frames=chosen.block_frames,
        window=chosen.window,
        sink=chosen.sink,
        rebuild=chosen.rebuild,
        reencode=chosen.reencode,
        text_tokens=chosen.text_tokens,
        device=device or "cpu",
        dtype=number,
    )
    target.name, target.defaults = path.stem, chosen.defaults
    return target


def _shared(path: Path, given: str | Path | None, settings: WanSettings) -> Path:
    """The folder of the parts beside the transformer.

    Raises:
        ValueError: Nobody says where they are.
    """
    if given is not None:
        return _local(given, None, "vae")
    if settings.shared is not None:
        return (path if path.is_dir() else path.parent) / settings.shared
    if (path / "vae").is_dir():
        return path
    raise ValueError(
        f"{path} is a transformer alone; give shared=... (--shared), the diffusers folder of a Wan "
        "pipeline with its vae, text_encoder and tokenizer"
    )


def _local(name: str | Path, revision: str | None, only: str) -> Path:
    """What is on disk, or a snapshot from the Hub.

    Args:
        name: Folder, file or Hub id.
        revision: On the Hub.
        only: ``transformer`` leaves the other parts out, ``vae`` the transformer.

    Raises:
        ValueError: There is nothing.
    """
    path = Path(name)
    if path.exists():
        if revision is not None:
            raise ValueError(f"revision={revision!r} was given; files and folders have none")
        return path
    if str(name).count("/") != 1 or path.is_absolute() or str(name).startswith("."):
        raise ValueError(f"there is no file or folder '{name}'")
    from huggingface_hub import snapshot_download

    parts = [only] if only == "transformer" else [p for p in _PARTS if not only or p != _PARTS[0]]
    wanted = [f"{part}/*" for part in parts] + [FILE, "model_index.json"]
    try:
        return Path(snapshot_download(str(name), revision=revision, allow_patterns=wanted))
    except (OSError, ValueError) as error:
        reason = next((line.strip() for line in str(error).splitlines() if line.strip()), "")
        raise ValueError(
            f"there is no folder '{name}', and it cannot be loaded from the Hub: {reason}"
        ) from error
