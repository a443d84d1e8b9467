"""`pipeline("video")` on tiny random Wan models: identities, seeds, output types, failures."""

from __future__ import annotations

import math
import time
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from mmspec import catalog, pipeline
from mmspec.pipelines import video
from mmspec.pipelines.result import Interrupted
from mmspec.pipelines.video import VideoPipeline
from mmspec.pipelines.video_result import UnfinishedError, VideoOutput
from tests.core.video_target import BLOCKS, HEIGHT, HERE, WIDTH, given, tiny_target
from video_ar.rewards.sharpness import NegativeTotalVariation

FRAMES = 9 + 12 * (BLOCKS - 1)
STILL: dict[str, Any] = {"scorer": "negative-total-variation"}


@pytest.fixture(autouse=True)
def loaders(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catalog, "VIDEO_LOADER", f"{HERE}:load")
    monkeypatch.setattr(catalog, "VIDEO_SCORER", f"{HERE}:judge")
    monkeypatch.setattr(catalog, "VIDEO_WORDS", f"{HERE}:read_words")


def pipe(method: str = "none", **options: Any) -> VideoPipeline:
    drafter = tiny_target(1) if catalog.get(method, "video").build else None
    made: VideoPipeline = pipeline(
        "video", tiny_target(), method=method, drafter=drafter, strict=True, **options
    )
    return made


def latents(made: VideoPipeline, prompt: Any = "a ball", **options: Any) -> torch.Tensor:
    found: torch.Tensor = made(prompt, output_type="latent", **options).frames
    return found


def test_prompts_become_videos_in_order() -> None:
    result = pipe()(["a ball", "a star"], num_videos_per_prompt=2, seed=3, blocks=1)
    assert [output.prompt for output in result.outputs] == ["a ball"] * 2 + ["a star"] * 2
    assert [output.seed for output in result.outputs] == [3, 4, 5, 6]
    assert [len(frames) for frames in result.frames] == [9] * 4
    assert result.frames[0][0].size == (WIDTH, HEIGHT)
    assert result.lossless
    assert result.certificate.startswith("exact")
    assert result.target_blocks == 1.0
    assert [block["decision"] for block in result.timeline[0]] == ["forced"]
    assert result.parameters["fps"] == 8.0


def test_a_seed_is_a_video_whatever_the_call() -> None:
    both = latents(pipe("first-block"), ["a ball", "a star"], seed=3)
    assert torch.equal(latents(pipe("first-block"), "a star", seed=4), both[1:])
    assert not torch.equal(latents(pipe("first-block"), "a star", seed=5), both[1:])
    generator = torch.Generator().manual_seed(0)
    one, two = (latents(pipe(), generator=generator, blocks=1) for _ in range(2))
    assert not torch.equal(one, two)
    assert torch.equal(latents(pipe(), generator=generator.manual_seed(0), blocks=1), one)


def test_infinite_thresholds_and_what_comparing_says() -> None:
    never = pipe("sdvg", threshold=math.inf, **STILL).compare("a ball", seed=1)
    assert never.identical is True
    assert never.latent_distance == 0.0
    assert never.ideal_speedup == 1.0
    assert not never.lossless
    decisions = [block["decision"] for block in never.timeline[0]]
    assert decisions == ["forced", "regenerated", "regenerated"]
    always = pipe("sdvg", threshold=-math.inf, **STILL).compare("a ball", seed=1)
    assert always.identical is False
    assert always.latent_distance is not None
    assert always.latent_distance > 0.1
    assert always.ideal_speedup == BLOCKS
    assert always.target_blocks == pytest.approx(1 / BLOCKS)
    assert torch.equal(
        always.outputs[0].film.whole_latents, latents(pipe("first-block"), seed=1)[0]
    )
    document = always.to_json()
    assert document["baseline"]["identical"] is False
    assert document["speedup"] == always.speedup > 0
    assert set(document["metrics"]["stages"]) == {"draft", "score", "target", "decode"}
    blocks = document["outputs"][0]["blocks"]
    assert [block["block"] for block in blocks] == list(range(BLOCKS))
    assert blocks[0]["score"] is None
    assert blocks[1]["score"] < 0
    assert blocks[1]["seconds"] == pytest.approx(sum(blocks[1]["stages"].values()))
    assert {"draft", "decode", "score"} == set(blocks[1]["stages"])


def test_output_types_hold_the_same_video() -> None:
    call = pipe()
    options: dict[str, Any] = {"seed": 0, "blocks": 1}
    pictures = call("a ball", **options).frames
    tensors = call("a ball", output_type="pt", **options).frames
    arrays = call("a ball", output_type="np", **options).frames
    assert tensors.shape == (1, 9, 3, HEIGHT, WIDTH)
    assert np.array_equal(arrays, tensors.permute(0, 1, 3, 4, 2).numpy())
    assert np.array_equal(np.asarray(pictures[0][4]), (arrays[0, 4] * 255).round().astype(np.uint8))
    result = call("a ball", output_type="latent", **options)
    assert result.frames.shape == (1, 4, 3, HEIGHT // 8, WIDTH // 8)
    assert result.stages["decode"] == 0.0
    decoded, _ = call.target.vae.decode(result.frames)
    torch.testing.assert_close(decoded[0].transpose(0, 1).add(1).div(2), tensors[0])


def test_lengths_in_frames_or_blocks() -> None:
    call = pipe()
    result = call("a ball", num_frames=21, seed=0, output_type="latent")
    assert result.frames.shape[2] == 6
    assert result.parameters["blocks"] == 2
    assert result.parameters["num_frames"] == 21
    small = call("a ball", blocks=1, seed=0, height=32, width=16)
    assert small.frames[0][0].size == (16, 32)


def test_callback_follows_the_blocks_and_costs_nothing() -> None:
    heard: list[tuple[int, int, dict[str, Any]]] = []

    def listen(who: Any, step: int, timestep: int, kwargs: dict[str, Any]) -> None:
        assert who is call
        heard.append((step, timestep, kwargs))
        time.sleep(3)

    call = pipe("first-block")
    result = call("a ball", seed=0, blocks=2, callback_on_step_end=listen)
    assert [(step, done) for step, done, _ in heard] == [(0, 1), (1, 2)]
    assert [len(kwargs["frames"]) for _, _, kwargs in heard] == [9, 12]
    assert isinstance(heard[0][2]["frames"][0], Image.Image)
    assert heard[1][2]["block"] == result.timeline[0][1]
    whole = torch.cat([kwargs["latents"] for _, _, kwargs in heard], 1)
    assert torch.equal(whole, result.outputs[0].film.whole_latents)
    spent = sum(block["seconds"] for block in result.timeline[0])
    assert spent <= result.metrics.seconds < spent + 3


def test_an_error_of_a_callback_is_the_caller_s() -> None:
    def stop(*given: Any) -> None:
        raise LookupError("enough")

    with pytest.raises(LookupError, match="enough"):
        pipe()("a ball", blocks=2, callback_on_step_end=stop)


@pytest.mark.parametrize(
    ("error", "kind", "said"),
    [
        (RuntimeError("bad weights"), UnfinishedError, "blocks 0 to 1 are kept: bad weights"),
        (torch.OutOfMemoryError("CUDA"), UnfinishedError, "memory ran out; make smaller pictures"),
        (KeyboardInterrupt(), Interrupted, ""),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else "",
)
def test_committed_blocks_outlive_a_failure(
    monkeypatch: pytest.MonkeyPatch, error: BaseException, kind: type[Any], said: str
) -> None:
    whole = latents(pipe(), seed=4)
    call = pipe()
    real, count = call.target.model.denoise, iter(range(99))

    def fail_in_third_block(*parts: Any) -> torch.Tensor:
        if next(count) == 4:
            raise error
        made: torch.Tensor = real(*parts)
        return made

    monkeypatch.setattr(call.target.model, "denoise", fail_in_third_block)
    kept: list[VideoOutput] = []
    with pytest.raises(kind) as caught:
        call("a ball", seed=4, on_video=kept.append)
    result = caught.value.result
    assert kept == result.outputs
    assert "'a ball' stopped in block 2 of 3" in kept[0].error
    assert said in kept[0].error
    assert len(kept[0].images) == 21
    assert torch.equal(kept[0].film.whole_latents, whole[0, :, :6])
    assert result.to_json()["outputs"][0]["error"] == kept[0].error
    assert result.frames == []


def test_scores_of_blocks_reach_routers_that_adapt() -> None:
    made = pipe("sdvg", accept_rate=0.5, **STILL)
    asked: list[tuple[float, ...]] = []
    real = made.target.request

    def remember(*parts: Any, earlier: tuple[float, ...], **rest: Any) -> Any:
        asked.append(earlier)
        return real(*parts, earlier=earlier, **rest)

    made.target.request = remember  # type: ignore[method-assign]
    result = made(["a ball", "a star"], seed=0, output_type="latent")
    scores = [block["score"] for block in result.timeline[0][1:]]
    assert asked == [(), tuple(scores)]


def test_the_loader_gets_what_was_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    given.clear()
    made = pipeline(
        "video", "toy", method="stride", drafter="draft", preset="krea", settings={"window": 9}
    )
    assert made.model == "toy"
    shared, beside = given
    assert shared["shared"] is None
    assert beside["like"] is made.target
    for options in given:
        assert (options["preset"], options["settings"]) == ("krea", {"window": 9})


def test_rewards_by_name() -> None:
    made = pipe("sdvg", reward="negative-total-variation", threshold=-0.5)
    assert made.engine.rule.scorer == NegativeTotalVariation()  # type: ignore[attr-defined]


def test_a_missing_library_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(video, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"need diffusers: pip install 'mmspec\[generation\]'"):
        pipeline("video", "toy")


def test_scores_are_the_judge_s(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catalog, "embedded_folder", lambda *given: "toy")
    made = pipeline("video", method="none")
    assert made.model == "tiny-video"
    result = made.compare("a red ball", seed=0, blocks=1, score=True)
    assert result.quality == result.baseline_quality == {"attribute_accuracy": 0.5, "motion": 0.25}
    assert result.to_json()["baseline"]["quality"]["motion"] == 0.25


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"num_frames": 20}, "20 frames are no whole number of blocks.*use 9 or 21"),
        ({"num_frames": 8}, "use 9$"),
        ({"num_frames": 9, "blocks": 1}, "num_frames or blocks, not both"),
        ({"blocks": 0}, "blocks must be between 1 and 1,000"),
        ({"height": 20}, "width must be a multiple of 16 and height of 16"),
        ({"fps": 0}, "fps must be above 0"),
        ({"output_type": "gif"}, "output_type must be one of pil, np, pt, latent"),
        ({"score": True}, "score needs a model of the small world"),
        ({"prompt": ""}, "the prompt is empty"),
        ({"prompt": []}, "the list of prompts is empty"),
    ],
)
def test_wrong_calls_are_refused_before_anything_is_made(
    options: dict[str, Any], said: str
) -> None:
    call = pipe()
    with pytest.raises(ValueError, match=said):
        call.begin(**{"prompt": "a ball", **options})


def test_unknown_options_name_the_known_ones() -> None:
    with pytest.raises(TypeError, match="unknown option guidance_scale; known: num_frames"):
        pipe()("a ball", guidance_scale=5.0)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"method": "sdgv"}, "did you mean 'sdvg'"),
        ({"method": "sdvg"}, "method 'sdvg' needs a smaller video model"),
        ({"method": "sdvg", "drafter": "draft", "threshold": math.nan}, "must be a number"),
        ({"method": "sdvg", "drafter": "draft", "draft_length": 3}, "one block at a time"),
        ({"method": "stride", "drafter": "draft", "reward": "sharpness"}, "compares no reward"),
        ({"reward_weights": "x"}, "reward_weights belong to a reward"),
        ({"method": "sdvg", "drafter": "draft", "reward": "beauty"}, "unknown reward 'beauty'"),
        (
            {"method": "sdvg", "drafter": "draft", "reward": "image-reward"},
            "needs its weights: .* Without weights there are the rewards judge, .*first-block",
        ),
        ({"method": "first-block", "drafter": "steps"}, "do not make the same blocks"),
        ({"method": "first-block", "drafter": "shape"}, "do not make the same blocks"),
        ({"drafter": "draft"}, "name the method that the drafter is for"),
    ],
)
def test_wrong_parts_are_refused(options: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        pipeline("video", "toy", **options)
