"""A race is two honest runs: their texts are the pipeline's, their clocks their own."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from demos.caption_race import Begin, Board, Finish, Order, Status, Step, run
from demos.caption_view import badges_html, preview_html, race_html
from demos.captioner import AUTO, Captioner
from demos.page import samples
from demos.serving import Stopped
from demos.settings import Settings
from mmspec import catalog
from mmspec.media import read_media
from mmspec.render import Piece

PICTURE, CLIP = str(samples()[0]), str(samples()[-1])
BEGIN = Begin("tiny", "eagle", catalog.EXACT, greedy=True, dtype="float32")


@pytest.fixture(scope="module")
def captioner() -> Captioner:
    return Captioner(Settings())


def play(captioner: Captioner, order: Order) -> tuple[Board, list[Any]]:
    items: list[Any] = []
    run(captioner, order, items.append)
    begin = next(item for item in items if isinstance(item, Begin))
    board = Board(begin)
    for item in items:
        if isinstance(item, Step | Finish):
            board.add(item)
    return board, items


def step(side: int, ids: list[int], seconds: float, finished: bool = False) -> Step:
    text = tuple(Piece(f" w{one}", "accepted", 0.5, 1) for one in ids)
    return Step(side, text, tuple(ids), seconds, 2, 1.5, finished)


def board_of(first: list[int], second: list[int], begin: Begin = BEGIN) -> Board:
    board = Board(begin)
    board.add(step(0, first, 2.0, finished=True))
    board.add(step(1, second, 1.0, finished=True))
    return board


def test_the_methods_offered_are_those_that_run(captioner: Captioner) -> None:
    embedded = set(catalog.EMBEDDED["tiny"]) - {"model"}
    assert set(captioner.methods()) == {AUTO, "prompt-lookup", *embedded}
    assert set(Captioner(Settings("some/model")).methods()) == {AUTO, "prompt-lookup"}


@pytest.mark.parametrize("method", ["auto", "prompt-lookup", "draft-model-tree", "flash"])
def test_greedy_sides_are_identical_and_the_pipelines_own(
    captioner: Captioner, method: str
) -> None:
    board, items = play(captioner, Order(PICTURE, method, captioner.default_size(method)))
    assert board.identical is True
    assert isinstance(items[0], Status)
    assert isinstance(items[-1], Finish)
    result = captioner.load()(PICTURE, max_new_tokens=128)
    assert board.lanes[0].ids == board.lanes[1].ids == result.outputs[0].ids
    assert "".join(piece.text for piece in board.lanes[0].pieces) == result.text
    assert board.lanes[0].acceptance_length == 1.0


def test_clocks_run_in_their_own_rounds_only(captioner: Captioner) -> None:
    items: list[Any] = []
    slept = 0.0

    def watch(item: Any) -> None:
        nonlocal slept
        items.append(item)
        if isinstance(item, Step):
            time.sleep(0.02)  # a viewer who dawdles
            slept += 0.02

    start = time.perf_counter()
    run(captioner, Order(PICTURE, "eagle"), watch)
    total = time.perf_counter() - start
    last = {item.side: item for item in items if isinstance(item, Step)}
    assert last[0].seconds + last[1].seconds < total - slept


def test_the_side_that_has_used_less_time_goes_next(captioner: Captioner) -> None:
    _, items = play(captioner, Order(PICTURE, "eagle"))
    used, done = [0.0, 0.0], [False, False]
    for item in items:
        if isinstance(item, Step):
            assert done[1 - item.side] or used[item.side] <= used[1 - item.side]
            used[item.side], done[item.side] = item.seconds, item.finished


def test_clips_go_the_way_of_long_inputs(captioner: Captioner) -> None:
    board, _ = play(captioner, Order(CLIP, AUTO, captioner.default_size(AUTO)))
    assert board.identical is True
    result = captioner.load()(CLIP, max_new_tokens=128)
    assert board.begin.method == result.method


def test_the_tree_is_as_large_as_asked_for(captioner: Captioner) -> None:
    for size in (4, 24):
        pipe = captioner.pipeline("eagle", size)
        trace = pipe(PICTURE).trace
        assert max(r.drafted for r in trace.rounds) <= size
        assert pipe.target is captioner.load().target
    assert captioner.pipeline("draft-model", 6).engine.lookahead == 6


def test_sampling_is_reproducible(captioner: Captioner) -> None:
    order = Order(PICTURE, "prompt-lookup", temperature=1.2, seed=5)
    first, _ = play(captioner, order)
    second, _ = play(captioner, order)
    assert first.lanes[1].ids == second.lanes[1].ids
    assert first.identical is True  # one seed gives one text with drafts that are not sampled


def test_a_stopped_race_leaves_the_model_good(captioner: Captioner) -> None:
    count = 0

    def impatient(item: Any) -> None:
        nonlocal count
        count += isinstance(item, Step)
        if count == 3:
            raise Stopped

    with pytest.raises(Stopped):
        run(captioner, Order(PICTURE, "eagle"), impatient)
    assert play(captioner, Order(PICTURE, "eagle"))[0].identical is True


@pytest.mark.parametrize(
    ("order", "said"),
    [
        (Order(PICTURE, "vispecc"), "vispecc"),
        (Order(PICTURE, max_new_tokens=257), "between 1 and 256"),
        (Order(PICTURE, prompt="what is <image> here?"), "<image>"),
        (Order(PICTURE, prompt="word " * 1500), "lower max_new_tokens"),
        (Order(PICTURE, temperature=-1.0), "temperature"),
        (Order("/nowhere/at-all.png"), "at-all.png"),
    ],
)
def test_what_cannot_run_is_refused(captioner: Captioner, order: Order, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        run(captioner, order, lambda _: None)


def test_the_badge_is_computed_from_the_outputs() -> None:
    same, other = board_of([3, 4, 5], [3, 4, 5]), board_of([3, 4, 5], [3, 9, 5])
    assert "identical: all 3 tokens" in badges_html(same)
    assert "differs from token 2 on" in badges_html(other)
    assert 'mm-badge bad"' in badges_html(other)
    assert "differs from token 3 on" in badges_html(board_of([3, 4, 5], [3, 4]))
    running = Board(BEGIN)
    running.add(step(0, [3], 1.0, finished=True))
    running.add(step(1, [3], 1.0))
    assert "identical: " not in badges_html(running)


def test_sampled_texts_that_differ_are_no_alarm_where_the_law_is_kept() -> None:
    begin = Begin("tiny", "eagle", catalog.EXACT, greedy=False, dtype="float32")
    assert "another text by the same law" in badges_html(board_of([1, 2], [1, 3], begin))
    lossy = Begin("tiny", "x", catalog.RELAXED, greedy=False, dtype="float32")
    assert "another law" in badges_html(board_of([1, 2], [1, 3], lossy))


def test_the_speedup_is_the_ratio_of_rates() -> None:
    board = board_of([1, 2, 3], [1, 2, 3])
    assert board.speedup == pytest.approx(2.0)
    assert "2.00× the speed of plain" in badges_html(board)


def test_text_of_models_is_escaped() -> None:
    hostile = '<img src=x onerror="alert(1)">'
    begin = Begin("tiny", hostile, f"exact: {hostile}", greedy=True, dtype="float32", note=hostile)
    board = Board(begin)
    piece = Piece(hostile, "accepted", 0.25, 3)
    board.add(Step(1, (piece,), (7,), 1.0, 2, 1.0, True))
    board.add(Finish((hostile,)))
    shown = race_html(board)
    assert "<img" not in shown
    assert "&lt;img" in shown
    assert "p = 0.250" in shown


def test_previews_show_a_picture_or_the_frames_of_a_clip() -> None:
    assert preview_html(read_media(Path(PICTURE))).count("<img") == 1
    clip = preview_html(read_media(Path(CLIP), 8))
    assert clip.count("<img") == 8
    assert "strip" in clip
