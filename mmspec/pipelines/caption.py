"""Pictures and clips to captions."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch

from mmspec.catalog import Method
from mmspec.engine import Engine
from mmspec.media import Clip, Picture
from mmspec.noise import seeds_from
from mmspec.pipelines import default_prompt
from mmspec.pipelines.inputs import Source, list_sources, open_source, thumbnails
from mmspec.pipelines.options import CaptionOptions
from mmspec.pipelines.result import Baseline, Caption, CaptionResult, Interrupted
from mmspec.pipelines.streams import Streams
from mmspec.sampling import Sampling
from mmspec.token_target import Request
from mmspec.trace import Trace

logger = logging.getLogger(__name__)

# What reading, preparing or generating one input may fail with, without the run being broken.
INPUT_ERRORS = (ValueError, OSError, FloatingPointError, torch.OutOfMemoryError)
WARM_UP_TOKENS = 32

Ready = tuple[int, Caption, Picture | Clip]


class CaptionPipeline:
    """Captions whatever it is called with.

    Args:
        engine: Target, drafter, rule and pacer.
        method: The catalog's row of the method.
        model: What the target was asked for by.
        notes: What every result of this pipeline should say.
    """

    def __init__(
        self, engine: Engine, method: Method, *, model: str = "model", notes: Sequence[str] = ()
    ) -> None:
        self.engine, self.method, self.model = engine, method, model
        self.target: Any = engine.target
        self._notes = tuple(notes)
        self._plain = engine.plain()
        self._warm: set[int] = set()

    def __call__(
        self, inputs: Any, prompt: str | None = None, *, compare: bool = False, **options: Any
    ) -> CaptionResult:
        """Caption inputs.

        Args:
            inputs: A path to a picture, clip or folder; a Pillow image; an array; encoded bytes; or
                a list of those, in which an inner list is the frames of one clip.
            prompt: What to ask; the default asks for a description.
            compare: Also run the plain loop on the same prepared inputs, see :meth:`compare`.
            **options: Fields of :class:`~mmspec.pipelines.options.CaptionOptions`.

        Returns:
            The captions, with the trace of how they were made.

        Raises:
            ValueError: An option out of range, or (unless ``on_error="skip"``) an input that cannot
                be read; the message says what to do.
            Interrupted: Ctrl-C; carries the result so far.
        """
        chosen = CaptionOptions.of(options)
        sampling = chosen.sampling(self.target.stop_ids)
        sources, single = list_sources(inputs, chosen.on_error)
        result = self._empty_result(single, compare)
        run = _Run(self, chosen, sampling, prompt, result, len(sources))
        try:
            run.all(sources)
        except KeyboardInterrupt:
            raise Interrupted(run.finish()) from None
        return run.finish()

    def compare(self, inputs: Any, prompt: str | None = None, **options: Any) -> CaptionResult:
        """Caption inputs twice, plainly and with the method, after a warm-up of both.

        Both sides read the same prepared tensors; vision and prefill count on both. Which side goes
        first alternates from batch to batch.
        """
        return self(inputs, prompt, compare=True, **options)

    def prepare(self, media: Sequence[Picture | Clip], prompt: str | None) -> dict[str, Any]:
        """The target's tensors for a batch; a model without video input sees frames as pictures."""
        clips_too = bool(getattr(self.target, "supports_video", False))
        images = [[] if m.is_video and clips_too else list(m.frames) for m in media]
        videos = [[list(m.frames)] if m.is_video and clips_too else [] for m in media]
        prompts = [prompt or default_prompt(self.model, m.is_video) for m in media]
        inputs: dict[str, Any] = self.target.prepare(images, prompts, videos)
        return inputs

    def warm_up(self, inputs: dict[str, Any], sampling: Sampling, seeds: list[int]) -> None:
        """A short run of both loops, once a batch size: first calls pay for allocations."""
        if len(seeds) in self._warm:
            return
        self._warm.add(len(seeds))
        for engine in (self._plain, self.engine):
            limit = min(sampling.max_new_tokens, WARM_UP_TOKENS)
            short = Sampling(max_new_tokens=limit, temperature=sampling.temperature)
            engine.generate(Request(inputs, short), Trace(), seeds=seeds)

    def generate(
        self,
        inputs: dict[str, Any],
        sampling: Sampling,
        seeds: list[int],
        traces: tuple[Trace, Trace | None],
        on_commit: Callable[[Any], Any] | None,
        plain_first: bool,
    ) -> tuple[list[list[int]], list[list[int]] | None]:
        """Ids of a batch by the method and, where a second trace is given, by the plain loop."""
        trace, baseline = traces
        request = Request(inputs, sampling)
        plain = None
        if baseline is not None and plain_first:
            plain, _ = self._plain.generate(request, baseline, seeds=seeds)
        ours, _ = self.engine.generate(request, trace, seeds=seeds, on_commit=on_commit)
        if baseline is not None and not plain_first:
            plain, _ = self._plain.generate(request, baseline, seeds=seeds)
        return ours, plain

    def declined(self) -> str:
        """A note if the pacer prefers plain decoding right now."""
        pacer: Any = self.engine.pacer
        if not getattr(pacer, "declined", False):
            return ""
        return (
            f"speculation declined: predicted speed-up of {self.method.name} on this machine is "
            f"{pacer.predicted_speedup():.2f}x, so most rounds were decoded plainly"
        )

    def _empty_result(self, single: bool, compare: bool) -> CaptionResult:
        certificate = self.engine.rule.certificate
        return CaptionResult(
            outputs=[],
            trace=Trace(notes=list(self._notes)),
            method=self.method.name,
            certificate=str(certificate),
            lossless=certificate.lossless,
            model=self.model,
            setting={
                "device": str(getattr(self.target, "device", "unknown")),
                "dtype": str(getattr(self.target, "dtype", "unknown")).removeprefix("torch."),
                "threads": torch.get_num_threads(),
            },
            decode=self.target.decode,
            single=single,
            baseline=Baseline(Trace(), None) if compare else None,
        )


class _Run:
    """One call of the pipeline: reads, batches, generates and fills the result."""

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
        self.seeds = _seeds(options, count)
        self.streams = Streams(options, pipe.target.decode, count)
        self.batches = 0

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
        note = self.pipe.declined()
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
            self._check_length(inputs)
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

    def _check_length(self, inputs: dict[str, Any]) -> None:
        """Refuse what the model's position table cannot hold, before the cache is allocated."""
        config = getattr(getattr(self.pipe.target, "model", None), "config", None)
        text = config.get_text_config() if config is not None else None
        limit = getattr(text, "max_position_embeddings", None)
        length = int(inputs["input_ids"].shape[1])
        if limit and length + self.sampling.max_new_tokens > limit:
            raise ValueError(
                f"the prompt has {length} tokens and max_new_tokens asks for "
                f"{self.sampling.max_new_tokens} more, but the model holds {limit}; "
                "lower max_new_tokens, take fewer frames or shorten the prompt"
            )

    def _fail(self, outputs: list[Caption], error: BaseException) -> None:
        if self.options.on_error == "raise":
            raise error
        for output in outputs:
            output.error = str(error).strip().splitlines()[0] if str(error).strip() else repr(error)
            logger.warning("%s", output.error)


def _seeds(options: CaptionOptions, count: int) -> list[int]:
    """One seed an input, so that results depend neither on the batch size nor on failures."""
    if options.seed is not None:
        return [options.seed + index for index in range(count)]
    return seeds_from(options.generator, count)


def _bar(total: int, shown: bool) -> Any:
    from tqdm.auto import tqdm

    return tqdm(total=total, unit="input", disable=not shown or total < 2, leave=False)


def _rate(trace: Trace) -> str:
    metrics = trace.metrics
    return f"{metrics.tokens_per_second:.0f} tok/s, tau {metrics.acceptance_length:.2f}"
