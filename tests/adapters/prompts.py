"""Prompts for the tiny families, made by hand: token ids, placeholders, padding."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from tests.adapters.families import IMAGE, VIDEO, WORDS, Family, model_of, nested_image


@dataclass
class Row:
    """One prompt: token ids and what its placeholders stand for."""

    ids: list[int]
    vision: dict[str, Tensor] = field(default_factory=dict)


def rows_of(family: Family, kind: str, count: int, seed: int = 0) -> list[Row]:
    """Ragged prompts: words, then pictures or a clip where ``kind`` has them, then words."""
    generator = torch.Generator().manual_seed(1000 * seed + len(kind))
    rows = []
    for index in range(count):
        row = Row(_words(3 + index, generator))
        shown = {"text": 0, "image": 1, "images": 2 + index % 2, "video": 1}[kind]
        for _ in range(shown):
            _show(row, family, "video" if kind == "video" else "image", generator)
        row.ids += _words(2 + 2 * (index % 2), generator)
        rows.append(row)
    return rows


def batch_of(family: Family, rows: Sequence[Row], side: str = "left") -> dict[str, Tensor]:
    """What a processor returns for ``rows``, padded on ``side``."""
    longest = max(len(row.ids) for row in rows)
    ids, mask = [], []
    for row in rows:
        gap = longest - len(row.ids)
        blank, real = [0] * gap, [1] * len(row.ids)
        ids.append(blank + row.ids if side == "left" else row.ids + blank)
        mask.append(blank + real if side == "left" else real + blank)
    batch = {"input_ids": torch.tensor(ids), "attention_mask": torch.tensor(mask)}
    if family.token_types:
        types = (batch["input_ids"] == IMAGE).long() + 2 * (batch["input_ids"] == VIDEO).long()
        batch[family.token_types] = types
    for key in {key for row in rows for key in row.vision}:
        batch[key] = _stack(key, [row.vision[key] for row in rows if key in row.vision])
    return batch


def _stack(key: str, parts: list[Tensor]) -> Tensor:
    """Pictures of all rows one after the other; Idefics pads rows to one number of pictures."""
    if (
        key == "pixel_values"
        and parts[0].dim() == 5
        and parts[0].shape[0] == 1
        and parts[0].shape[1] != 3
    ):
        most = max(part.shape[1] for part in parts)
        blank = [part.new_zeros(1, most - part.shape[1], *part.shape[2:]) for part in parts]
        parts = [torch.cat(pair, dim=1) for pair in zip(parts, blank, strict=True)]
    return torch.cat(parts)


def _words(count: int, generator: torch.Generator) -> list[int]:
    return torch.randint(3, WORDS, (count,), generator=generator).tolist()


def _show(row: Row, family: Family, kind: str, generator: torch.Generator) -> None:
    """Append one picture or clip: its tensors and as many placeholders as it has features."""
    make = family.image if kind == "image" else family.video
    assert make is not None
    new = make(generator)
    base = model_of(family.name).base_model
    encode = base.get_image_features if kind == "image" else base.get_video_features
    with torch.no_grad():
        told = {key: value for key, value in new.items() if key != "second_per_grid_ts"}
        features = encode(**told, return_dict=True).pooler_output
    if not isinstance(features, Tensor):
        features = torch.cat(list(features))
    count = features.shape[:-1].numel()
    # Qwen3-VL separates the frames of a clip by words (time stamps).
    pieces = 2 if kind == "video" and family.name == "qwen3_vl" else 1
    for _ in range(pieces):
        row.ids += [IMAGE if kind == "image" else VIDEO] * (count // pieces)
        row.ids += _words(1, generator)
    nested = family.image is nested_image
    for key, value in new.items():
        old = row.vision.get(key)
        row.vision[key] = value if old is None else torch.cat([old, value], dim=1 if nested else 0)
