"""Pictures as output tokens: drawings that are kept and gone on with, pictures that are encoded."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from adapters.llamagen.config import CLASSES
from image_ar.discrete.drawings import encoded_pictures, own_drawings
from image_ar.discrete.grid import Grid
from mmspec.engine import Engine
from mmspec.pipelines.image_options import Subject
from tests.adapters.llamagen.test_llamagen_loading import target_of

SUBJECTS = [Subject(class_id=place) for place in (3, 1, 4, 1, 0)]


def drawn(store: Path, subjects: list[Subject] = SUBJECTS, **rest: Any) -> torch.Tensor:
    return own_drawings(Engine(target_of(CLASSES)), subjects, store, progress=False, **rest)


def test_drawings_are_those_of_the_model_and_their_seeds(tmp_path: Path) -> None:
    found = drawn(tmp_path / "a.jsonl", batch=2, seed=7)
    target = target_of(CLASSES)
    for place, subject in enumerate(SUBJECTS):
        request = target.request(None, [subject.class_id], target.parameters({}))  # type: ignore[list-item]
        rows, _ = Engine(target).generate(request, seeds=[7 + place])
        assert found[place].tolist() == rows[0]
    assert found[1].tolist() != found[3].tolist()  # the same class from another seed


def test_a_stopped_call_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = tmp_path / "deep" / "drawn.jsonl"
    whole = drawn(store, batch=1)
    lines = store.read_text().splitlines()
    store.write_text("\n".join([lines[2], lines[0], lines[4][:20]]))
    rows: list[int] = []
    generate = Engine.generate

    def counted(self: Engine, request: Any, *given: Any, **rest: Any) -> Any:
        rows.append(request.rows)
        return generate(self, request, *given, **rest)

    monkeypatch.setattr(Engine, "generate", counted)
    assert torch.equal(drawn(store, batch=2), whole)
    assert rows == [2, 1]
    assert len(store.read_text().splitlines()) == 5
    assert torch.equal(drawn(store, SUBJECTS[:3]), whole[:3])  # more are there than asked for
    assert len(store.read_text().splitlines()) == 5


def test_a_store_of_other_subjects_is_refused(tmp_path: Path) -> None:
    store = tmp_path / "drawn.jsonl"
    drawn(store)
    with pytest.raises(ValueError, match=r"picture 0 .*'class 3' in 16 tokens; 'class 1'"):
        drawn(store, SUBJECTS[1:])
    entry = json.loads(store.read_text().splitlines()[0])
    store.write_text(json.dumps(entry | {"ids": [1, 2]}) + "\n")
    with pytest.raises(ValueError, match="in 2 tokens"):
        drawn(store)


class Greys:
    """Codes are the brightness of squares of 2 x 2 pixels."""

    def __call__(self, codes: torch.Tensor) -> torch.Tensor:
        grey = (codes.float() / 7).unsqueeze(1).repeat_interleave(2, 2).repeat_interleave(2, 3)
        return grey.expand(-1, 3, -1, -1)

    def encode(self, pixels: torch.Tensor) -> torch.Tensor:
        return (pixels[:, 0, ::2, ::2] * 7).round().long()


def test_pictures_become_tokens_among_line_ends() -> None:
    ids = torch.tensor([20, 4, 6, 8, 10, 12, 14, 16])
    target = SimpleNamespace(
        image_decoder=Greys(),
        grid=Grid(2, 3, line_ids=(1,), end_ids=(2,)),
        image_ids=ids,
        vocab_size=30,
        codebook=torch.zeros(8, 1),
        name="grey",
    )
    codes = torch.tensor([[0, 7, 3], [5, 0, 1]])
    pixels = (Greys()(codes[None])[0] * 255).round().byte().permute(1, 2, 0).numpy()
    tall = np.concatenate([np.zeros((2, 6, 3), np.uint8), pixels, np.zeros((2, 6, 3), np.uint8)])
    pictures = [Image.fromarray(one) for one in (pixels, tall)]
    found = encoded_pictures(target, pictures, batch=1, progress=False)
    wanted = [20, 16, 8, 1, 12, 20, 4, 1, 2]
    assert found.tolist() == [wanted, wanted]  # cut to the middle
    target.image_decoder = object()
    with pytest.raises(ValueError, match="'grey' cannot encode pictures here; train on what"):
        encoded_pictures(target, pictures, progress=False)
