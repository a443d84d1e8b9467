"""Pictures as a target's output tokens: its own drawings, kept as they come, or encoded ones."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor
from tqdm.auto import tqdm

from mmspec.engine import Engine
from mmspec.files import replace_file
from mmspec.pipelines.image_options import Subject


def inputs_of(
    target: Any, subjects: Sequence[Subject], guidance_scale: float | None = None
) -> dict[str, Any]:
    """A target's inputs for some subjects, all of them prompts or all of them classes.

    Raises:
        ValueError: Something the model does not take.
    """
    inputs: dict[str, Any] = target.prepare(*_named(subjects), guidance_scale=guidance_scale)
    return inputs


def own_drawings(
    engine: Engine,
    subjects: Sequence[Subject],
    store: Path,
    *,
    batch: int = 8,
    seed: int = 0,
    progress: bool = True,
) -> Tensor:
    """What a target draws of every subject, by its own guidance and sampling.

    Drawings are appended to ``store`` as they come; a call after an interruption goes on where it
    stopped, and a line cut short by a full disk is drawn again.

    Args:
        engine: Draws; an exact method draws the target's own pictures in less time.
        subjects: What is drawn; one may come several times.
        store: JSON lines, one a picture.
        batch: Pictures drawn together.
        seed: Seed of the first picture; every other has its own.
        progress: Show a bar.

    Returns:
        ``(pictures, length)`` output tokens, line ends among them.

    Raises:
        ValueError: A subject the model does not take, or a store of other subjects.
    """
    target: Any = engine.target
    known = _stored(store, subjects, target.grid.length)
    missing = [place for place in range(len(subjects)) if place not in known]
    parameters = target.parameters({})
    store.parent.mkdir(parents=True, exist_ok=True)
    with tqdm(
        total=len(subjects), initial=len(known), desc="pictures", disable=not progress
    ) as bar:
        for begin in range(0, len(missing), batch):
            group = missing[begin : begin + batch]
            request = target.request(*_named([subjects[place] for place in group]), parameters)
            rows, _ = engine.generate(request, seeds=[seed + place for place in group])
            with store.open("a", encoding="utf-8") as file:
                for place, ids in zip(group, rows, strict=True):
                    entry = {"index": place, "of": subjects[place].label, "ids": ids}
                    file.write(json.dumps(entry) + "\n")
            known.update(zip(group, rows, strict=True))
            bar.update(len(group))
    return torch.tensor([known[place] for place in range(len(subjects))])


@torch.inference_mode()
def encoded_pictures(
    target: Any, pictures: Sequence[Image.Image], batch: int = 8, progress: bool = True
) -> Tensor:
    """Pictures through the target's image tokenizer, cut to its shape in the middle.

    Args:
        target: Its image decoder must also encode.
        pictures: Of any size.
        batch: Pictures encoded together.
        progress: Show a bar.

    Returns:
        ``(pictures, length)`` output tokens, line ends among them.

    Raises:
        ValueError: The model comes without an encoder of pictures.
    """
    codec, grid = target.image_decoder, target.grid
    if not hasattr(codec, "encode"):
        raise ValueError(
            f"the image tokenizer of '{target.name}' cannot encode pictures here; train on what "
            "the model draws itself, from prompts"
        )
    device = target.codebook.device
    blank = torch.zeros(1, grid.rows, grid.columns, dtype=torch.long, device=device)
    height, width = codec(blank).shape[-2:]
    ids = _ids(target)
    tokens = torch.zeros(len(pictures), grid.length, dtype=torch.long)
    for position, token in grid.forced_ids():
        tokens[:, position] = token
    cells = torch.tensor(grid.cell_positions())
    starts = range(0, len(pictures), batch)
    for start in tqdm(starts, desc="encoding", disable=not progress):
        some = [_pixels(one, (width, height)) for one in pictures[start : start + batch]]
        codes = codec.encode(torch.stack(some).to(device, target.codebook.dtype))
        tokens[start : start + len(some), cells] = ids[codes.flatten(1).cpu()]
    return tokens


def _named(subjects: Sequence[Subject]) -> tuple[list[str] | None, list[int] | None]:
    prompts = [one.prompt for one in subjects if one.prompt is not None]
    classes = [one.class_id for one in subjects if one.class_id is not None]
    return prompts or None, classes or None


def _ids(target: Any) -> Tensor:
    """``(codes,)`` vocabulary ids of the codes."""
    ids = target.image_ids
    return ids.cpu() if isinstance(ids, Tensor) else torch.arange(target.vocab_size)[ids]


def _pixels(picture: Image.Image, size: tuple[int, int]) -> Tensor:
    """``(3, height, width)`` in [0, 1]."""
    fitted = ImageOps.fit(picture.convert("RGB"), size, Image.Resampling.LANCZOS)
    return torch.from_numpy(np.asarray(fitted).copy()).permute(2, 0, 1).float() / 255


def _stored(store: Path, subjects: Sequence[Subject], length: int) -> dict[int, list[int]]:
    """Drawings of an earlier call; whatever is not a whole line is dropped from the file."""
    if not store.exists():
        return {}
    known: dict[int, list[int]] = {}
    whole = []
    for line in store.read_text(encoding="utf-8").splitlines():
        try:
            entry = json.loads(line)
            place, of, ids = int(entry["index"]), entry["of"], [int(one) for one in entry["ids"]]
        except (ValueError, KeyError, TypeError):
            continue
        if place < len(subjects) and (of != subjects[place].label or len(ids) != length):
            raise ValueError(
                f"picture {place} in {store} shows '{of}' in {len(ids)} tokens; '"
                f"{subjects[place].label}' in {length} is asked for: choose another file, or "
                "delete it"
            )
        whole.append(line)
        known[place] = ids
    text = "".join(line + "\n" for line in whole)
    replace_file(store, lambda path: path.write_text(text, encoding="utf-8"))
    return {place: ids for place, ids in known.items() if place < len(subjects)}
