"""`pipeline("caption")` on a tiny random LLaVA: inputs, seeds, failures, comparison."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from mmspec import pipeline
from mmspec.media import MediaError
from mmspec.messages import Draft, Plan
from mmspec.noise import Noise
from mmspec.pacing import Plain
from mmspec.pipelines.caption import CaptionPipeline
from mmspec.pipelines.result import Interrupted
from mmspec.render import Piece

Pipe = CaptionPipeline


class Drafter:
    """Drafts whatever its function makes; by default nothing useful."""

    name = "by-hand"

    def __init__(self, make: Any) -> None:
        self.make = make

    def draft(self, state: Any, plan: Plan, noise: Noise) -> Draft:
        return self.make(state, plan)

    def observe(self, *args: Any) -> None: ...

    def reset(self) -> None: ...


def raising(state: Any, plan: Plan) -> Draft:
    raise RuntimeError("out of ideas")


def not_finite(state: Any, plan: Plan) -> Draft:
    units = torch.zeros(state.batch, plan.length, dtype=torch.long)
    return Draft.chain(units, healthy=torch.zeros(state.batch, dtype=torch.bool))


@pytest.fixture(scope="module")
def plain(llava_folder: Path) -> Pipe:
    return pipeline("caption", str(llava_folder), method="none", dtype="float32")


@pytest.fixture(scope="module")
def lookup(llava_folder: Path) -> Pipe:
    options: dict[str, Any] = {"method": "prompt-lookup", "dtype": "float32", "pacer": "fixed"}
    return pipeline("caption", str(llava_folder), **options)


def test_one_picture_gives_one_text(plain: Pipe, photos: Path) -> None:
    result = plain(photos / "0.png", max_new_tokens=12)
    assert isinstance(result.text, str)
    assert result.lossless
    assert result.outputs[0].ids == result.outputs[0].ids[:12]
    assert result.metrics.tokens == len(result.outputs[0].ids)
    assert result.trace.acceptance_length == 1


def test_every_kind_of_input_gives_the_same(plain: Pipe, photos: Path) -> None:
    path = photos / "1.png"
    image = Image.open(path)
    kinds = [path, str(path), image, np.asarray(image), path.read_bytes()]
    texts = {plain(kind, max_new_tokens=8).text for kind in kinds}
    assert len(texts) == 1


def test_folders_lists_and_clips(plain: Pipe, photos: Path) -> None:
    whole = plain(photos, max_new_tokens=6)
    assert [Path(output.input).name for output in whole.outputs] == ["0.png", "1.png", "2.png"]
    assert whole.text == plain(sorted(photos.iterdir()), max_new_tokens=6).text
    frames = [Image.open(path) for path in sorted(photos.iterdir())]
    clip = plain([frames], max_new_tokens=6, frames=2)
    assert clip.outputs[0].note == "2 of 3 frames used"
    array = np.stack([np.asarray(frame) for frame in frames])
    assert plain(array, max_new_tokens=6, frames=2).text == clip.text[0]


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_batch_size_and_method_change_nothing(
    plain: Pipe, lookup: Pipe, photos: Path, temperature: float
) -> None:
    options = {"max_new_tokens": 20, "temperature": temperature, "seed": 5}
    one = plain(photos, **options)
    assert plain(photos, batch_size=3, **options).text == one.text
    assert lookup(photos, batch_size=2, **options).text == one.text
    assert [output.seed for output in one.outputs] == [5, 6, 7]


def test_generator_gives_seeds_and_moves_on(plain: Pipe, photos: Path) -> None:
    generator = torch.Generator().manual_seed(3)
    options = {"max_new_tokens": 20, "temperature": 1.0, "generator": generator}
    first, second = plain(photos, **options).text, plain(photos, **options).text
    generator.manual_seed(3)
    assert plain(photos, **options).text == first != second


def test_compare_reports_both_sides(lookup: Pipe, photos: Path) -> None:
    result = lookup.compare(photos, max_new_tokens=16, batch_size=2)
    document = result.to_json()
    assert result.identical is True
    assert document["baseline"]["identical"] is True
    assert document["baseline"]["tokens"] == result.metrics.tokens
    assert document["speedup"] == pytest.approx(
        document["baseline"]["seconds"] / document["metrics"]["seconds"]
    )
    ideal, efficiency = document["metrics"]["ideal_speedup"], document["metrics"]["efficiency"]
    assert efficiency == pytest.approx(document["speedup"] / ideal)
    assert lookup.compare(photos, max_new_tokens=8, temperature=1.0).identical is None


def test_streaming_says_the_same(lookup: Pipe, photos: Path) -> None:
    heard: dict[int, list[Piece]] = {}
    result = lookup(
        photos,
        max_new_tokens=16,
        batch_size=2,
        on_text=lambda index, piece: heard.setdefault(index, []).append(piece),
    )
    for index, text in enumerate(result.text):
        assert "".join(piece.text for piece in heard[index]) == text
        assert [p.origin for p in heard[index]] == [
            p.origin for p in result.pieces(index) if p.text
        ]


def test_transformers_streamer(plain: Pipe, photos: Path) -> None:
    class Streamer:
        ids: list[int] = []  # noqa: RUF012
        ended = False

        def put(self, ids: torch.Tensor) -> None:
            self.ids += ids.tolist()

        def end(self) -> None:
            self.ended = True

    streamer = Streamer()
    result = plain(photos / "0.png", max_new_tokens=5, streamer=streamer)
    assert streamer.ids == result.outputs[0].ids
    assert streamer.ended
    with pytest.raises(ValueError, match="follows one input, 3 were given"):
        plain(photos, streamer=streamer)


def test_bad_input_raises_or_is_skipped(plain: Pipe, photos: Path, tmp_path: Path) -> None:
    bad = tmp_path / "bad.png"
    bad.write_text("no picture")
    inputs = [photos / "0.png", bad, tmp_path / "missing.png", photos / "1.png"]
    with pytest.raises(MediaError, match=r"bad\.png|missing\.png"):
        plain(inputs, max_new_tokens=4)
    result = plain(inputs, max_new_tokens=4, on_error="skip", batch_size=2, seed=0)
    assert [bool(output.error) for output in result.outputs] == [False, True, True, False]
    assert result.outputs[1].to_json()["text"] is None
    assert [output.seed for output in result.outputs] == [0, 1, 2, 3]
    assert result.outputs[3].ids == plain(photos / "1.png", max_new_tokens=4).outputs[0].ids


def test_interruption_keeps_what_is_done(plain: Pipe, photos: Path) -> None:
    def stop(index: int, piece: Piece) -> None:
        if index == 1:
            raise KeyboardInterrupt

    with pytest.raises(Interrupted) as caught:
        plain(photos, max_new_tokens=4, on_text=stop)
    assert [output.text is not None for output in caught.value.result.outputs] == [True, False]
    assert plain(photos, max_new_tokens=4).text[2]  # still usable


@pytest.mark.parametrize(("make", "said"), [(raising, "out of ideas"), (not_finite, "not finite")])
def test_failing_drafter_costs_speed_only(
    plain: Pipe, photos: Path, caplog: pytest.LogCaptureFixture, make: Any, said: str
) -> None:
    want = plain(photos, max_new_tokens=10).text
    options: dict[str, Any] = {"drafter": Drafter(make), "pacer": "fixed"}
    pipe = pipeline("caption", plain.target, **options)
    with caplog.at_level(logging.WARNING):
        result = pipe(photos, max_new_tokens=10)
    assert result.text == want
    assert sum(said in note for note in result.notes) == 1
    strict = pipeline("caption", plain.target, strict=True, **options)
    with pytest.raises(RuntimeError, match=said):
        strict(photos, max_new_tokens=10)


def test_wrong_use_is_explained(plain: Pipe, photos: Path) -> None:
    with pytest.raises(ValueError, match="unknown task 'paint'; tasks are caption"):
        pipeline("paint")
    with pytest.raises(ValueError, match="method 'eagle' needs a drafter trained"):
        pipeline("caption", plain.target, method="eagle")
    with pytest.raises(ValueError, match="has no option ngram"):
        pipeline("caption", plain.target, method="prompt-lookup", ngram=2)
    with pytest.raises(TypeError, match=r"unknown option tmperature; known: .*temperature"):
        plain(photos, tmperature=1)
    with pytest.raises(ValueError, match="temperature must be 0"):
        plain(photos, temperature=-1)
    with pytest.raises(ValueError, match="max_new_tokens must be between 1"):
        plain(photos, max_new_tokens=0)
    with pytest.raises(ValueError, match="the model holds 256"):
        plain(photos, max_new_tokens=250)
    with pytest.raises(ValueError, match="placeholder '<image>'"):
        plain(photos, "what is <image> ?")
    with pytest.raises(TypeError, match="cannot caption a int"):
        plain([3])
    with pytest.raises(MediaError, match="no input was given"):
        plain([])


def test_draft_model_from_a_folder(plain: Pipe, llama_folder: Path, photos: Path) -> None:
    pipe = pipeline("caption", plain.target, drafter=llama_folder, pacer="fixed", dtype="float32")
    assert pipe.method.name == "draft-model"
    result = pipe.compare(photos, max_new_tokens=12)
    assert result.identical
    assert result.notes == ["auto chose draft-model: it fits the given drafter"]


class Declining(Plain):
    """A pacer that has measured and prefers plain decoding."""

    declined = True


def test_declining_is_said_once(plain: Pipe, photos: Path) -> None:
    pipe = pipeline("caption", plain.target, method="prompt-lookup", pacer=Declining())
    result = pipe(photos, max_new_tokens=4)
    rounds = result.metrics.rounds
    assert len(result.notes) == 1
    assert f"speculation declined in {rounds} of {rounds} rounds" in result.notes[0]
