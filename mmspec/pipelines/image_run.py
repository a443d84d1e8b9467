"""One call of the image pipeline: batches, progress, callbacks, pixels."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from mmspec import __version__, catalog
from mmspec.messages import Commit
from mmspec.pipelines.comparing import Rows, declined_note, generate_both
from mmspec.pipelines.image_options import ImageOptions, Subject
from mmspec.pipelines.image_result import ImageOutput, ImageResult
from mmspec.pipelines.result import Interrupted
from mmspec.trace import Trace, synchronize

if TYPE_CHECKING:
    from PIL import Image

    from mmspec.pipelines.image import ImagePipeline


class ImageRun:
    """Fills a result, batch by batch; the first batch is prepared at once.

    Args:
        pipe: Prepares and generates.
        options: How to generate.
        subjects: What each image is to show.
        seeds: One seed an image.
        result: Filled in place, so that an interruption leaves what was done.

    Raises:
        ValueError: A prompt or class of the first batch that the model does not take.
    """

    def __init__(
        self,
        pipe: ImagePipeline,
        options: ImageOptions,
        subjects: Sequence[Subject],
        seeds: Sequence[int],
        result: ImageResult,
    ) -> None:
        self.pipe, self.options, self.result = pipe, options, result
        self.subjects, self.seeds = list(subjects), list(seeds)
        self._first: Any = self._request(range(min(options.batch_size, len(subjects))))
        self._greedy: bool = self._first.greedy

    def run(self) -> ImageResult:
        """Every image.

        Raises:
            Interrupted: Ctrl-C; carries the result so far.
            RuntimeError: Memory ran out; the message says at which batch size.
        """
        try:
            self._batches()
        except KeyboardInterrupt:
            raise Interrupted(self._finished(score=False)) from None
        return self._finished(self.options.score)

    def _batches(self) -> None:
        size = self.options.batch_size
        sides = 1 if self.result.baseline is None else 2
        total = sides * len(self.subjects) * len(self.result.cells)
        with _bar(total, self.options.progress) as bar:
            for number, start in enumerate(range(0, len(self.subjects), size)):
                places = list(range(start, min(start + size, len(self.subjects))))
                try:
                    done = self._batch(places, bar, plain_first=number % 2 == 0)
                except torch.OutOfMemoryError as error:
                    raise RuntimeError(
                        f"memory ran out with {len(places)} images at once; lower batch_size"
                    ) from error
                if self.options.on_batch is not None:
                    self.options.on_batch(done)

    def _finished(self, score: bool) -> ImageResult:
        """The result, complete with what is only known at the end."""
        result = self.result
        note = declined_note([self.pipe.route], result.trace)
        if note:
            result.notes.append(note)
        if result.trace.unjudged:
            result.notes.append(
                f"{result.trace.unjudged} drafts could not be judged, their densities were not "
                "finite; the target's own took their places"
            )
        if result.baseline is not None and result.outputs and self._greedy:
            same = all(one.tokens == one.baseline_tokens for one in result.outputs)
            result.baseline.identical = same
            if not same and result.lossless and result.setting["dtype"] != "float32":
                result.notes.append(
                    "images differ: below float32 scoring several tokens at once can flip a near "
                    "tie"
                )
        if score:
            result.quality = _judged(result, [one.image for one in result.outputs])
            plain = [one.baseline_image for one in result.outputs if one.baseline_image is not None]
            if plain:
                result.baseline_quality = _judged(result, plain)
        return result

    @torch.inference_mode()
    def _batch(self, places: list[int], bar: Any, plain_first: bool) -> list[ImageOutput]:
        result, pipe = self.result, self.pipe
        seeds = [self.seeds[place] for place in places]
        request, self._first = self._first or self._request(places), None
        baseline = result.baseline.trace if result.baseline is not None else None
        if baseline is not None:
            pipe.warm_up(request, seeds)
        first = len(result.trace.units)
        ours, plain = generate_both(
            (pipe.engine, pipe.plain),
            request,
            seeds,
            (result.trace, baseline),
            (
                Watch(bar, result, places, pipe, self.options.callback_on_step_end),
                Watch(bar, result, places),
            ),
            plain_first,
        )
        before = result.trace.seconds
        pixels = self._pixels(ours, result.trace)
        result.decode_seconds += result.trace.seconds - before
        done = [
            self._output(place, first + row, ours[row], pixels[row])
            for row, place in enumerate(places)
        ]
        if plain is not None and baseline is not None:
            for output, row, drawn in zip(done, plain, self._pixels(plain, baseline), strict=True):
                output.baseline_tokens = self._cells(row)
                output.baseline_image = to_image(drawn) if self.options.score else None
        result.outputs.extend(done)
        return done

    @torch.inference_mode()
    def _request(self, places: Sequence[int]) -> Any:
        subjects = [self.subjects[place] for place in places]
        return self.pipe.request(subjects, self.result.parameters)

    def _output(self, place: int, row: int, units: list[Any], pixels: Tensor) -> ImageOutput:
        subject, seed = self.subjects[place], self.seeds[place]
        return ImageOutput(
            index=place,
            subject=subject,
            seed=seed,
            row=row,
            tokens=self._cells(units),
            image=to_image(pixels),
            pixels=None if self.options.output_type == "pil" else pixels,
            settings=settings_of(self.result, subject, seed),
        )

    def _cells(self, units: list[Any]) -> list[Any]:
        """The units of the cells, without line ends."""
        return [units[position] for position in self.result.cells]

    def _pixels(self, rows: Rows, trace: Trace) -> Tensor:
        """Pixels on the CPU of a batch; the time it takes counts in ``trace``."""
        start = time.perf_counter()
        pixels: Tensor = self.pipe.target.to_pixels([self._cells(row) for row in rows])
        synchronize(pixels.device)
        trace.seconds += time.perf_counter() - start
        return pixels.float().clamp(0, 1).cpu()


class Watch:
    """Follows one batch: moves the bar over the grid and calls the user's callback.

    The callback is called as diffusers does, ``callback(pipe, step, timestep, kwargs)``, after
    every round: ``step`` is the round, 0 being the one that reads the prompts; ``timestep`` the
    number of cells drawn so far over the batch; ``kwargs`` hold ``cells`` (cells drawn, one number
    an image), ``tokens`` (their units so far, a list an image, in the order of writing) and
    ``indices`` (which images of the call these are). What it returns is not used: committed tokens
    stand. An exception ends the call.

    Args:
        bar: Progress bar over cells.
        result: Tells which output positions are cells.
        places: Images of this batch.
        pipe: Handed to the callback.
        callback: None calls nobody.
    """

    def __init__(
        self,
        bar: Any,
        result: ImageResult,
        places: Sequence[int],
        pipe: Any = None,
        callback: Any = None,
    ) -> None:
        self._bar, self._places, self._pipe, self._callback = bar, list(places), pipe, callback
        self._result = result
        self._cells = set(result.cells)
        self._lengths = [0] * len(self._places)
        self._tokens: Rows = [[] for _ in self._places]
        self._step = 0

    def __call__(self, commit: Commit) -> None:
        """Take a committed round."""
        before = sum(map(len, self._tokens))
        for row, units in enumerate(commit.units):
            start = self._lengths[row]
            inside = [u for place, u in enumerate(units, start) if place in self._cells]
            self._tokens[row].extend(inside)
            self._lengths[row] = start + len(units)
        drawn = sum(map(len, self._tokens))
        self._bar.update(drawn - before)
        if self._callback is not None:
            kwargs = {
                "cells": [len(row) for row in self._tokens],
                "tokens": [list(row) for row in self._tokens],
                "indices": list(self._places),
            }
            self._callback(self._pipe, self._step, drawn, kwargs)
        self._step += 1


def to_image(pixels: Tensor) -> Image.Image:
    """A Pillow image from ``(3, height, width)`` in ``[0, 1]``."""
    from PIL import Image

    array = (pixels * 255).round().to(torch.uint8).permute(1, 2, 0).numpy()
    return Image.fromarray(array)


def settings_of(result: ImageResult, subject: Subject, seed: int) -> dict[str, str]:
    """What made an image, for the metadata of its file."""
    shown = {
        "Software": f"mmspec {__version__}",
        "prompt": subject.prompt,
        "class_id": subject.class_id,
        "seed": seed,
        "model": result.model,
        "method": result.method,
        "lossless": "yes" if result.lossless else "no",
        "certificate": result.certificate,
        **result.parameters,
    }
    return {name: str(value) for name, value in shown.items() if value is not None}


def _judged(result: ImageResult, images: list[Image.Image]) -> dict[str, float]:
    """What the small world's judge says."""
    prompts = [o.subject.prompt for o in result.outputs if o.subject.prompt is not None]
    classes = [o.subject.class_id for o in result.outputs if o.subject.class_id is not None]
    scorer = catalog.resolve(catalog.IMAGE_SCORER)
    quality: dict[str, float] = scorer(prompts or None, classes or None, images)
    return quality


def _bar(total: int, shown: bool) -> Any:
    from tqdm.auto import tqdm

    return tqdm(total=total, unit="cell", disable=not shown, leave=False)
