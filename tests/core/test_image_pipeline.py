"""`pipeline("image")` on a toy grid model: seeds, batches, callbacks, comparison, refusals."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from mmspec import catalog, pipeline
from mmspec.heatmap import COLOURS, draw_heatmap
from mmspec.pictures import file_stem, save_png
from mmspec.pipelines.image import ImagePipeline
from mmspec.pipelines.prompts import MAX_WORDS
from mmspec.pipelines.result import Interrupted
from tests.core.image_target import CODES, HERE, ROWS, ToyImages
from tests.core.image_target import given as loaded


@pytest.fixture(autouse=True)
def rows(monkeypatch: pytest.MonkeyPatch) -> None:
    text = tuple(row for row in catalog.METHODS if row.family == "text")
    monkeypatch.setattr(catalog, "METHODS", (*text, *ROWS))
    monkeypatch.setattr(catalog, "IMAGE_LOADER", f"{HERE}:load")
    monkeypatch.setattr(catalog, "IMAGE_SCORER", f"{HERE}:judge")
    monkeypatch.setattr(catalog, "IMAGE_WORDS", f"{HERE}:read_words")


def pipe(method: str = "scd", **options: Any) -> ImagePipeline:
    made: ImagePipeline = pipeline("image", ToyImages(), method=method, **options)
    return made


def test_prompts_become_images_in_order() -> None:
    result = pipe("none")(["a red circle", "a blue star"], num_images_per_prompt=2, seed=3)
    assert [output.seed for output in result.outputs] == [3, 4, 5, 6]
    prompts = [output.subject.prompt for output in result.outputs]
    assert prompts == ["a red circle"] * 2 + ["a blue star"] * 2
    assert all(isinstance(image, Image.Image) for image in result.images)
    assert result.images[0].size == (16, 16)
    assert all(len(tokens) == 16 and max(tokens) < CODES for tokens in result.tokens)
    assert result.lossless
    assert result.bias is None
    assert result.nfe == 4 * 20
    assert result.step_compression == 1


def test_classes_instead_of_prompts() -> None:
    result = pipe()(class_id=[2, 0], seed=0)
    assert [output.subject.label for output in result.outputs] == ["class 2", "class 0"]
    assert result.to_json()["outputs"][0]["class_id"] == 2
    assert pipe()(class_id=2, seed=0).tokens[0] == result.tokens[0]


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_batches_and_exact_methods_change_nothing(temperature: float) -> None:
    options = {"temperature": temperature, "seed": 5, "num_images_per_prompt": 3}
    want = pipe("none")(["a star", "a red star"], **options).tokens
    for method in ("none", "scd"):
        for batch in (1, 4, 6):
            got = pipe(method)(["a star", "a red star"], batch_size=batch, **options)
            assert got.tokens == want
    later = pipe("scd")("a red star", seed=8, temperature=temperature, num_images_per_prompt=3)
    assert later.tokens == want[3:]


def test_ragged_rows_count_the_passes_they_were_in() -> None:
    result = pipe("scd", draft_length=6)("a star", num_images_per_prompt=4, batch_size=4, seed=0)
    assert result.nfe < 20
    assert 1 < result.step_compression < 20
    assert result.step_compression >= result.metrics.tokens / (4 * result.nfe)


def test_generators_give_the_seeds() -> None:
    generator = torch.Generator().manual_seed(1)
    call = pipe("none")
    first = call("a star", generator=generator).tokens
    second = call("a star", generator=generator).tokens
    generator.manual_seed(1)
    assert call("a star", generator=generator).tokens == first != second
    many = [torch.Generator().manual_seed(seed) for seed in (7, 1)]
    result = call("a star", num_images_per_prompt=2, generator=many)
    assert result.tokens[1] == first[0]
    with pytest.raises(ValueError, match="1 generators given for 2 outputs"):
        call("a star", num_images_per_prompt=2, generator=many[:1])


def test_output_types() -> None:
    call = pipe("none")
    options = {"num_images_per_prompt": 2, "seed": 0}
    pictures = call("a star", **options).images
    tensors = call("a star", output_type="pt", **options).images
    arrays = call("a star", output_type="np", **options).images
    assert tensors.shape == (2, 3, 16, 16)
    assert arrays.shape == (2, 16, 16, 3)
    assert np.array_equal(arrays, tensors.permute(0, 2, 3, 1).numpy())
    assert np.array_equal(np.asarray(pictures[1]), (arrays[1] * 255).round().astype(np.uint8))


def test_guidance_reaches_the_model_and_defaults_are_its_own() -> None:
    call = pipe("none")
    result = call("a star", guidance_scale=5.5, temperature=0.0, seed=0)
    assert call.target.prepared[-1]["guidance_scale"] == 5.5
    assert result.parameters["temperature"] == 0.0
    assert call("a star").parameters["guidance_scale"] == 2.0


def test_every_prompt_is_encoded_once() -> None:
    call = pipe("scd")
    begun = call.begin(["a star", "a red star", "a circle"], batch_size=2, compare=True, seed=0)
    assert [one["rows"] for one in call.target.prepared] == [2]
    result = begun.run()
    assert [one["rows"] for one in call.target.prepared] == [2, 1]
    again = call(["a star", "a red star", "a circle"], batch_size=2, seed=0)
    assert again.tokens == result.tokens
    assert [one["rows"] for one in call.target.prepared] == [2, 1, 2, 1]


def test_classes_of_later_batches_are_refused_before_any_is_drawn() -> None:
    call = pipe("none")
    with pytest.raises(ValueError, match="class 7 is out of range"):
        call.begin(class_id=[0, 7])
    assert call.target.drawn == 0


def test_callback_follows_the_rounds() -> None:
    heard: list[tuple[int, int, dict[str, Any]]] = []

    def listen(who: Any, step: int, timestep: int, kwargs: dict[str, Any]) -> dict[str, Any]:
        assert who is call
        heard.append((step, timestep, kwargs))
        return {}

    call = pipe("scd")
    result = call(
        "a star", num_images_per_prompt=3, batch_size=2, seed=0, callback_on_step_end=listen
    )
    starts = [place for place, (step, _, _) in enumerate(heard) if step == 0]
    assert len(starts) == 2
    assert [heard[place][2]["indices"] for place in starts] == [[0, 1], [2]]
    last = heard[starts[1] - 1]
    assert last[1] == 32
    assert last[2]["cells"] == [16, 16]
    assert last[2]["tokens"] == result.tokens[:2]
    drawn = [timestep for _, timestep, _ in heard[: starts[1]]]
    assert drawn == sorted(drawn)


@pytest.mark.parametrize("kind", [StopIteration, ZeroDivisionError])
def test_what_a_callback_raises_is_not_swallowed(kind: type[Exception]) -> None:
    def stop(*given: Any) -> None:
        raise kind("enough")

    call = pipe("none")
    with pytest.raises(kind, match="enough"):
        call("a star", callback_on_step_end=stop)
    assert call("a star", seed=0).images  # still usable


def test_interruption_keeps_finished_images() -> None:
    def stop(who: Any, step: int, timestep: int, kwargs: dict[str, Any]) -> None:
        if kwargs["indices"] == [2] and step == 1:
            raise KeyboardInterrupt

    call = pipe("scd")
    whole = call("a star", num_images_per_prompt=3, seed=0)
    with pytest.raises(Interrupted) as caught:
        call("a star", num_images_per_prompt=3, seed=0, callback_on_step_end=stop)
    assert caught.value.result.tokens == whole.tokens[:2]
    assert caught.value.result.heatmap(1).size == whole.heatmap(1).size


def test_compare_reports_both_sides() -> None:
    call = pipe("scd")
    result = call.compare("a star", num_images_per_prompt=3, batch_size=2, temperature=0, seed=0)
    document = result.to_json()
    assert result.identical is True
    assert document["baseline"]["identical"] is True
    assert document["baseline"]["nfe"] == 2 * 20 > document["nfe"]
    assert document["speedup"] == pytest.approx(
        document["baseline"]["seconds"] / document["metrics"]["seconds"]
    )
    assert 0 < document["metrics"]["decode_seconds"] < document["metrics"]["seconds"]
    assert call.compare("a star", seed=0).identical is None
    assert call.target.drawn == 2 * 3 + 2 * 1


def test_document_has_what_the_contract_lists() -> None:
    document = pipe()("a star", seed=1).to_json()
    assert document["command"] == "image"
    output = document["outputs"][0]
    assert output["text"] is None
    assert output["path"] is None
    assert (output["tokens"], output["seed"], output["input"]) == (16, 1, "a star")
    assert document["grid"] == [4, 4]
    assert not {"baseline", "speedup", "quality"} & set(document)
    assert {"target_forwards", "acceptance_length", "ideal_speedup"} <= set(document["metrics"])


def test_lossy_methods_say_so_and_report_their_bias() -> None:
    result = pipe("loose", tolerance=1)("a star", seed=0)
    assert not result.lossless
    assert result.certificate == "lossy: made for a test"
    assert 0 < result.bias <= 0.25
    assert result.to_json()["bias"] == result.bias
    assert pipe("loose", bias_budget=0.0)("a star", seed=0).images
    with pytest.raises(ValueError, match="'scd' is exact and spends no bias"):
        pipe("scd", bias_budget=0.1)
    with pytest.raises(ValueError, match="the bias budget must be between"):
        pipe("loose", bias_budget=2.0)


def test_scores_of_both_sides(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match=r"small world \(tiny, tiny-c2i, .*\).*'toy'"):
        pipe()("a star", score=True)
    monkeypatch.setattr(catalog, "embedded_folder", lambda *given: Path("there"))
    call = pipeline("image", "tiny", method="none")
    with monkeypatch.context() as without:
        without.setattr("mmspec.pipelines.comparing.find_spec", lambda name: None)
        with pytest.raises(ValueError, match=r"pip install 'mmspec\[generation\]'"):
            call("a star", score=True)
    document = call.compare("a star", seed=0, score=True, num_images_per_prompt=2).to_json()
    assert document["quality"] == {"attribute_accuracy": 0.5, "shape": 0.25}
    assert document["baseline"]["quality"] == document["quality"]
    assert "quality" not in call("a star").to_json()


def test_heatmap_of_a_run() -> None:
    result = pipe("scd")("a star", seed=0)
    origins = {record.origin for record in result.records(0)}
    assert {"accepted", "corrected"} <= origins <= set(COLOURS)
    assert len(result.records(0)) == 16
    size = result.heatmap().size
    assert size[0] == 512
    assert size[1] > 512
    plain = pipe("none")("a star", seed=0)
    assert {record.origin for record in plain.records(0)} == {"target"}


def test_heatmap_colours_every_origin() -> None:
    image = Image.new("RGB", (5, 1), "white")
    drawn = draw_heatmap(image, list(COLOURS), (1, 5), legend=False)
    step = drawn.width // 5
    seen = [drawn.getpixel((place * step + step // 2, 3)) for place in range(5)]
    for colour, pixel in zip(COLOURS.values(), seen, strict=True):
        tint = (255, 255, 255) if colour is None else colour
        want = [255 + 0.55 * (part - 255) for part in tint]
        assert pixel == pytest.approx(want, abs=1.5)
    assert len(set(seen)) == 5
    with pytest.raises(ValueError, match="4 cells given for a grid of 1 x 5"):
        draw_heatmap(image, ["target"] * 4, (1, 5))
    with pytest.raises(ValueError, match="unknown origin nobody"):
        draw_heatmap(image, ["nobody"] * 5, (1, 5))


def test_every_origin_of_a_trace_has_a_colour() -> None:
    from typing import get_args

    from mmspec.trace import Origin

    assert set(get_args(Origin)) == set(COLOURS)


def test_png_metadata_and_names(tmp_path: Path) -> None:
    result = pipe()("a red star", seed=9, guidance_scale=3.0)
    path = tmp_path / "x.png"
    settings = result.outputs[0].settings | {"note": "ночь ★"}
    save_png(result.images[0], path, settings)
    read = Image.open(path)
    assert read.text["prompt"] == "a red star"
    assert read.text["seed"] == "9"
    assert read.text["method"] == "scd"
    assert read.text["lossless"] == "yes"
    assert read.text["guidance_scale"] == "3.0"
    assert read.text["note"] == "ночь ★"
    assert "class_id" not in read.text
    assert [file.name for file in tmp_path.iterdir()] == ["x.png"]
    assert file_stem(3, "../A red; star!") == "0003-a-red-star"
    assert file_stem(3, "ночь") == "0003"
    assert len(file_stem(0, "word " * 100)) < 60


@pytest.mark.parametrize(
    ("given", "kind", "said"),
    [
        ({}, ValueError, "give a prompt or a class_id, neither was given"),
        ({"prompt": "a", "class_id": 1}, ValueError, "both was given"),
        ({"prompt": ""}, ValueError, "the prompt is empty; say what to draw"),
        ({"prompt": ["a star", "  "]}, ValueError, "prompt 1 is empty"),
        ({"prompt": []}, ValueError, "the list of prompts is empty"),
        ({"prompt": [3]}, TypeError, "must be text, got int"),
        ({"prompt": "a " * 10_000}, ValueError, "10,000 words, at most 1,000"),
        ({"class_id": []}, ValueError, "list of class_id is empty"),
        ({"class_id": -1}, ValueError, "class_id must be 0 or above, got -1"),
        ({"class_id": [1.5]}, TypeError, "whole number, got 1.5"),
        ({"class_id": True}, TypeError, "whole number, got True"),
        ({"class_id": 7}, ValueError, "class 7 is out of range"),
        ({"guidance_scale": -1}, ValueError, "guidance_scale must be 0 or above"),
        ({"guidance_scale": float("nan")}, ValueError, "guidance_scale must be 0"),
        ({"temperature": -1}, ValueError, "temperature must be 0"),
        ({"top_k": -1}, ValueError, "top_k must be 0"),
        ({"top_p": 0}, ValueError, "top_p must be above 0"),
        ({"cfg_interval": -2}, ValueError, "cfg_interval must be -1"),
        ({"batch_size": 0}, ValueError, "batch_size must be between 1 and 256"),
        ({"num_images_per_prompt": 0}, ValueError, "num_images_per_prompt must be between"),
        ({"output_type": "latent"}, ValueError, "output_type must be one of pil, pt, np"),
        ({"guidance": 3}, TypeError, r"unknown option guidance; known: .*guidance_scale"),
    ],
)
def test_wrong_calls_are_explained(given: dict[str, Any], kind: type[Exception], said: str) -> None:
    call = pipe("none")
    subject = {} if {"prompt", "class_id"} & set(given) or not given else {"prompt": "a star"}
    with pytest.raises(kind, match=said):
        call(**subject, **given)
    assert call.target.drawn == 0


def test_embedded_models_know_their_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catalog, "embedded_folder", lambda *given: Path("there"))
    call = pipeline("image", "tiny", method="none")
    with pytest.raises(ValueError, match="prompt 1: unknown word 'purple'; nearest words: red"):
        call(["a star", "a purple star"])
    assert call("a star").images


def test_files_of_official_models_reach_the_loader() -> None:
    pipeline(
        "image", "x.pt", method="none", vq="y.pt", image_size=384, dtype="bfloat16", device="cpu"
    )
    assert loaded[-1] == {
        "dtype": "bfloat16",
        "device": "cpu",
        "revision": None,
        "vq": "y.pt",
        "image_size": 384,
    }


def test_long_prompts_are_refused_by_words() -> None:
    assert pipe("none")("a " * MAX_WORDS).images
    with pytest.raises(ValueError, match="shorten it"):
        pipe("none")("a " * (MAX_WORDS + 1))


def test_wrong_pipelines_are_explained(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match=r"unknown method 'eagle'; .*none, scd, loose"):
        pipe("eagle")
    with pytest.raises(ValueError, match="has no option tolerance"):
        pipe("scd", tolerance=1)
    with pytest.raises(ValueError, match="method 'learned' needs"):
        pipe("learned")
    with pytest.raises(ValueError, match=r"name the method that the drafter is for.*learned"):
        pipeline("image", ToyImages(), drafter="some/folder")
    with pytest.raises(TypeError, match="model must be a name, a folder or a loaded target"):
        pipeline("image", 3)
    with pytest.raises(ValueError, match="cannot load 'missing'"):
        pipeline("image", "missing")
    monkeypatch.setattr(catalog, "embedded_folder", lambda *given: None)
    with pytest.raises(ValueError, match="embedded model 'tiny-c2i' are not there"):
        pipeline("image", "tiny-c2i", method="none")
    assert pipeline("image", "folder").method.name == "scd"


def test_memory_that_runs_out_names_the_fix(monkeypatch: pytest.MonkeyPatch) -> None:
    call = pipe("none")

    def full(*given: Any, **options: Any) -> Any:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate")

    monkeypatch.setattr(call.engine, "generate", full)
    with pytest.raises(RuntimeError, match="ran out with 2 images at once; lower batch_size"):
        call("a star", num_images_per_prompt=2, batch_size=2)
