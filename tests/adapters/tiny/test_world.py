"""The small world: seeds, pictures, and captions that read back without loss."""

from __future__ import annotations

import pytest

from adapters.tiny.world.captions import caption, clip_caption
from adapters.tiny.world.clips import clip_from_seed
from adapters.tiny.world.parse import attribute_accuracy, parse, score
from adapters.tiny.world.render import render, render_clip
from adapters.tiny.world.scene import long_caption_scenes, scene_from_seed
from adapters.tiny.world.vocabulary import words

STYLES = (None, 0, 1, 2, 3)


def test_every_picture_caption_reads_back_exactly() -> None:
    known = set(words())
    for seed in range(3000):
        scene = scene_from_seed(seed)
        text = caption(scene, STYLES[seed % len(STYLES)])
        reading = parse(text)
        assert reading.things == scene.things
        assert reading.background == scene.background
        assert reading.count == len(scene.things)
        assert attribute_accuracy(text, scene) == 1.0
        assert known.issuperset(text.split())


def test_every_clip_caption_reads_back_exactly() -> None:
    known = set(words())
    for seed in range(3000):
        clip = clip_from_seed(seed)
        text = clip_caption(clip, STYLES[seed % len(STYLES)])
        reading = parse(text)
        assert reading.things == clip.scene.things
        assert reading.motions == clip.motions
        assert reading.steps == clip.steps
        assert attribute_accuracy(text, clip) == 1.0
        assert known.issuperset(text.split())


def test_full_scenes_have_captions_of_forty_to_ninety_words() -> None:
    texts = [caption(scene, seed % 4) for seed, scene in enumerate(long_caption_scenes(400))]
    clips = (clip for clip in map(clip_from_seed, range(800)) if len(clip.motions) == 5)
    texts += [clip_caption(clip, seed % 4) for seed, clip in enumerate(clips)]
    assert all(40 <= len(text.split()) <= 90 for text in texts)


def test_clips_move_and_stay_inside() -> None:
    for seed in range(1000):
        clip = clip_from_seed(seed)
        assert any(motion != "still" for motion in clip.motions)
        ends = [clip.end_cell(index) for index in range(len(clip.motions))]
        assert len(set(ends)) == len(ends)
        for time in (0.0, 0.3, 0.6, 1.0):
            assert all(0 < x < 1 and 0 < y < 1 for x, y in clip.centres(time))


def test_wrong_missing_and_made_up_things_cost() -> None:
    scene = next(s for s in map(scene_from_seed, range(100)) if len(s.things) == 4)
    text = caption(scene, 0)
    colour = scene.things[0].colour
    other = "red" if colour != "red" else "blue"
    assert score(text.replace(colour, other, 1), scene).right["colour"] == 3
    shorter = text.split(" , ")
    assert attribute_accuracy(" , ".join(shorter[:-1]), scene) == pytest.approx(17 / 22)
    longer = " , ".join([*shorter[:-1], shorter[0].split(" : ")[1], shorter[-1]])
    assert score(longer, scene).asked["shape"] == 5


@pytest.mark.parametrize(
    "text",
    [
        "",
        "hello .",
        "two shapes on mint : a large plain red circle .",
        "one shape on mint : a",
    ],
)
def test_strict_reader_refuses(text: str) -> None:
    with pytest.raises(ValueError, match=r"opener|grammar"):
        parse(text)


def test_seeds_fix_everything_and_sets_differ() -> None:
    assert scene_from_seed(7) == scene_from_seed(7)
    assert scene_from_seed(7) != scene_from_seed(7, held_out=True)
    assert clip_from_seed(7) == clip_from_seed(7)
    assert render(scene_from_seed(7)).tobytes() == render(scene_from_seed(7)).tobytes()


@pytest.mark.parametrize("size", [64, 96, 256])
def test_pictures_have_the_size_asked_for(size: int) -> None:
    assert render(scene_from_seed(1), size).size == (size, size)
    frames = render_clip(clip_from_seed(1), 5, size)
    assert len(frames) == 5
    assert frames[0].tobytes() != frames[2].tobytes()


def test_a_clip_of_one_frame_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 2"):
        render_clip(clip_from_seed(1), 1)
