"""One call of a pipeline: reads, batches, generates, and survives what an input may do."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import torch

from mmspec.media import Clip, Picture
from mmspec.pipelines.inputs import Source, open_source, thumbnails
from mmspec.pipelines.options import CaptionOptions, row_seeds
from mmspec.pipelines.result import Caption, CaptionResult
from mmspec.pipelines.streams import Streams
from mmspec.sampling import Sampling
from mmspec.trace import Trace

if TYPE_CHECKING:
    from mmspec.pipelines.caption import CaptionPipeline

logger = logging.getLogger(__name__)

# What reading, preparing or generating one input may fail with, without the run being broken.
INPUT_ERRORS = (ValueError, OSError, FloatingPointError, torch.OutOfMemoryError)

Ready = tuple[int, Caption, Picture | Clip]


class Run:
    """Fills a result, batch by batch.

    Args:
        pipe: Prepares and generates.
        options: How to caption.
        sampling: The part of them that shapes the law of a token.
        prompt: What to ask; None takes the default.
        result: Filled in place, so that an interruption leaves what was done.
        count: Inputs of the call.
    """

    def __init__(
        self,
        pipe: CaptionPipeline,
        options: CaptionOptions,
        sampling: Sampling,
        prompt: str | None,
        result: CaptionResult,
        count: int,
    ) -> None:
        self.pipe, self.options, self.sampling = pipe, options, sampling
        self.prompt, self.result = prompt, result
        self.seeds = row_seeds(options.seed, options.generator, count)
        self.streams = Streams(options, pipe.target.decode, count)
        self.batches = 0
        self._methods: list[str] = []

    def all(self, sources: list[Source]) -> None:
        """Every input, in batches."""
        size = self.options.batch_size
        bar = _bar(len(sources), self.options.progress)
        try:
            for start in range(0, len(sources), size):
                ready = list(self._read(sources[start : start + size], start))
                if ready:
                    self._caption(ready)
                bar.set_postfix_str(_rate(self.result.trace), refresh=False)
                bar.update(min(size, len(sources) - start))
        finally:
            bar.close()

    def finish(self) -> CaptionResult:
        """The result, complete with what is only known at the end."""
        note = self.pipe.declined(self.result.trace)
        if note and note not in self.result.notes:
            self.result.notes.append(note)
        done = [output for output in self.result.outputs if output.baseline_ids is not None]
        if self.result.baseline is not None and done and self.sampling.greedy:
            same = all(output.ids == output.baseline_ids for output in done)
            self.result.baseline.identical = same
            if not same and self.result.setting["dtype"] != "float32":
                self.result.notes.append(
                    "texts differ: below float32 scoring several tokens at once can flip a near tie"
                )
        return self.result

    def _read(self, sources: list[Source], start: int) -> Iterator[Ready]:
        for index, source in enumerate(sources, start):
            output = Caption(source.name, seed=self.seeds[index])
            self.result.outputs.append(output)
            try:
                media = open_source(source, self.options.frames, self.options.limits)
            except INPUT_ERRORS as error:
                self._fail([output], error)
                continue
            output.note = media.note
            if self.options.thumbnails:
                output.thumbnails = thumbnails(media)
            yield index, output, media

    def _caption(self, ready: list[Ready]) -> None:
        """One batch; where it fails and errors are skipped, its inputs one by one."""
        try:
            self._generate(ready)
        except INPUT_ERRORS as error:
            if len(ready) == 1 or self.options.on_error == "raise":
                self._fail([output for _, output, _ in ready], error)
                return
            for one in ready:
                self._caption([one])

    def _generate(self, ready: list[Ready]) -> None:
        outputs = [output for _, output, _ in ready]
        seeds = [output.seed for output in outputs]
        trace, baseline = self.result.trace, self.result.baseline
        with torch.inference_mode():
            inputs = self.pipe.prepare([media for _, _, media in ready], self.prompt)
            self.pipe.check_length(inputs, self.sampling)
            self._note_route(inputs)
            if baseline is not None:
                self.pipe.warm_up(inputs, self.sampling, seeds)
            first = len(trace.units)
            indices = [index for index, _, _ in ready]
            watch = self.streams.watch(trace, first, indices)
            traces = (trace, baseline.trace if baseline is not None else None)
            ours, plain = self.pipe.generate(
                inputs, self.sampling, seeds, traces, watch, self.batches % 2 == 0
            )
        self.batches += 1
        for place, (output, ids) in enumerate(zip(outputs, ours, strict=True)):
            output.ids, output.row = ids, first + place
            output.text = self.pipe.target.decode(ids)
            output.baseline_ids = plain[place] if plain is not None else None
        self.streams.end(indices)

    def _note_route(self, inputs: dict[str, Any]) -> None:
        """Say by which method this batch goes, and why, the first time one is taken."""
        route = self.pipe.route(inputs)
        if route.method.name not in self._methods:
            self._methods.append(route.method.name)
            self.result.method = "+".join(self._methods)
            if route.why:
                self.result.notes.append(route.why)

    def _fail(self, outputs: list[Caption], error: BaseException) -> None:
        if self.options.on_error == "raise":
            raise error
        for output in outputs:
            output.error = str(error).strip().splitlines()[0] if str(error).strip() else repr(error)
            logger.warning("%s", output.error)


def _bar(total: int, shown: bool) -> Any:
    from tqdm.auto import tqdm

    return tqdm(total=total, unit="input", disable=not shown or total < 2, leave=False)


def _rate(trace: Trace) -> str:
    metrics = trace.metrics
    return f"{metrics.tokens_per_second:.0f} tok/s, tau {metrics.acceptance_length:.2f}"
