"""One call of the video pipeline: videos one after another, block by block."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch

from mmspec import __version__, catalog
from mmspec.messages import Commit
from mmspec.pipelines.comparing import generate_both
from mmspec.pipelines.result import Interrupted
from mmspec.pipelines.video_options import VideoOptions
from mmspec.pipelines.video_result import Film, UnfinishedError, VideoOutput, VideoResult, to_bytes

if TYPE_CHECKING:
    from mmspec.pipelines.video import VideoPipeline


class VideoRun:
    """Fills a result, video by video; the first one is prepared at once.

    Args:
        pipe: Prepares and generates.
        options: How to make them.
        prompts: What each video is to show.
        seeds: One seed a video.
        result: Filled in place, so that a failure leaves what was done.

    Raises:
        ValueError: The first prompt or the size is none that the model takes.
    """

    def __init__(
        self,
        pipe: VideoPipeline,
        options: VideoOptions,
        prompts: Sequence[str],
        seeds: Sequence[int],
        result: VideoResult,
    ) -> None:
        self.pipe, self.options, self.result = pipe, options, result
        self.prompts, self.seeds = list(prompts), list(seeds)
        self._first: Any = self._request(0)

    def run(self) -> VideoResult:
        """Every video.

        Raises:
            Interrupted: Ctrl-C; carries the result so far, committed blocks included.
            UnfinishedError: A block could not be made; likewise.
        """
        sides = 1 if self.result.baseline is None else 2
        total = sides * len(self.prompts) * self.result.parameters["blocks"]
        with _bar(total, self.options.progress) as bar:
            for index in range(len(self.prompts)):
                self._video(index, bar)
        result = self.result
        if result.baseline is not None and result.outputs:
            result.baseline.identical = all(one.latent_distance == 0 for one in result.outputs)
        if self.options.score:
            result.quality = self._judged([one.film for one in result.outputs])
            plain = [one.baseline for one in result.outputs if one.baseline is not None]
            if plain:
                result.baseline_quality = self._judged(plain)
        return result

    def _video(self, index: int, bar: Any) -> None:
        """One video, plainly as well where it is compared."""
        result, seeds = self.result, [self.seeds[index]]
        request, self._first = self._first or self._request(index), None
        baseline = result.baseline.trace if result.baseline is not None else None
        if baseline is not None:
            self.pipe.warm_up(request, seeds)
        output = self._output(index)
        reels = self._reels(output, bar)
        plain_first = index % 2 == 0
        try:
            generate_both(
                (self.pipe.engine, self.pipe.plain),
                request,
                seeds,
                (result.trace, baseline),
                reels,
                plain_first,
            )
        except (Exception, KeyboardInterrupt) as error:
            if any(reel.broken for reel in reels):
                raise
            begun = reels[::-1] if plain_first else reels
            running = next((reel for reel in begun if not reel.complete), reels[0])
            self._stopped(output, error, baseline is not None and running is reels[1])
        finally:
            for reel, trace in zip(reels, (result.trace, baseline), strict=True):
                if trace is not None:
                    trace.seconds -= reel.away
        self._keep(output)

    def _reels(self, output: VideoOutput, bar: Any) -> tuple[Reel, Reel]:
        """The listeners of both sides."""
        options, blocks = self.options, self.result.parameters["blocks"]
        floating = options.output_type in ("pt", "np")
        callback = options.callback_on_step_end
        ours = Reel(output.film, blocks, bar, floating, self.pipe, callback, output.index)
        return ours, Reel(output.baseline or Film(), blocks, bar, floating)

    def _stopped(self, output: VideoOutput, error: BaseException, plainly: bool) -> None:
        """Keep what was committed, then say what happened.

        Raises:
            Interrupted: The error is Ctrl-C.
            UnfinishedError: It is any other.
        """
        film = output.baseline if plainly and output.baseline is not None else output.film
        done, blocks = len(film.records), self.result.parameters["blocks"]
        kept = _blocks_kept(len(output.film.records))
        side = " of the plain run" if plainly else ""
        output.error = (
            f"'{output.prompt}' stopped in block {done} of {blocks}{side}, {kept}: {_cause(error)}"
        )
        self._keep(output)
        if isinstance(error, KeyboardInterrupt):
            raise Interrupted(self.result) from None
        raise UnfinishedError(output.error, self.result) from error

    def _keep(self, output: VideoOutput) -> None:
        if output.film.records:
            self.result.outputs.append(output)
            if self.options.on_video is not None:
                self.options.on_video(output)

    def _output(self, index: int) -> VideoOutput:
        result, prompt, seed = self.result, self.prompts[index], self.seeds[index]
        return VideoOutput(
            index=index,
            prompt=prompt,
            seed=seed,
            row=len(result.trace.units),
            film=Film(),
            fps=result.parameters["fps"],
            settings=_settings_of(result, prompt, seed),
            baseline=Film() if result.baseline is not None else None,
        )

    @torch.inference_mode()
    def _request(self, index: int) -> Any:
        """What video ``index`` is made from, scores of the videos before included."""
        earlier = tuple(
            record.score
            for output in self.result.outputs
            for record in output.film.records
            if record.score is not None
        )
        size = self.result.parameters
        return self.pipe.target.request(
            self.prompts[index],
            size["blocks"],
            size["height"],
            size["width"],
            decode=self.options.output_type != "latent",
            earlier=earlier,
        )

    def _judged(self, films: Sequence[Film]) -> dict[str, float]:
        """What the small world's judge says."""
        scorer = catalog.resolve(catalog.VIDEO_SCORER)
        quality: dict[str, float] = scorer(self.prompts, [film.pixels for film in films])
        return quality


class Reel:
    """Follows one run of one video: keeps its blocks, moves the bar, calls the user's callback.

    The callback is called as diffusers does, ``callback(pipe, step, timestep, kwargs)``, after
    every block: ``step`` is the block, ``timestep`` the number of blocks so far; ``kwargs`` hold
    ``index`` (which video of the call), ``block`` (its entry of the timeline), ``latents``
    (``(channels, frames, height, width)``) and ``frames`` (Pillow images of the block, none for
    latent output). What it returns is not used: committed blocks stand. An exception ends the call.
    The time it takes is not part of the reported seconds.

    Attributes:
        away: Seconds spent in the callback.
        broken: Whether the callback raised.

    Args:
        film: Filled.
        blocks: Of the whole video.
        bar: Progress bar over blocks.
        floating: Whether pictures are kept as floating numbers instead of bytes.
        pipe: Handed to the callback.
        callback: None calls nobody.
        index: Which video of the call this is.
    """

    def __init__(
        self,
        film: Film,
        blocks: int,
        bar: Any,
        floating: bool,
        pipe: Any = None,
        callback: Any = None,
        index: int = 0,
    ) -> None:
        self.film, self.away, self.broken = film, 0.0, False
        self._blocks, self._bar, self._floating = blocks, bar, floating
        self._pipe, self._callback, self._index = pipe, callback, index

    @property
    def complete(self) -> bool:
        """Whether all blocks are there."""
        return len(self.film.records) == self._blocks

    def __call__(self, commit: Commit) -> None:
        """Take what a round committed; the first one has no block."""
        for record, made in zip(commit.units[0], commit.made, strict=True):
            if made.pictures is not None:
                pictures = (made.pictures[0].transpose(0, 1).float() + 1).div(2).clamp(0, 1)
                self.film.pictures.append(
                    (pictures if self._floating else to_bytes(pictures)).cpu()
                )
            self.film.latents.append(made.latents[0].cpu())
            self.film.records.append(record)
            self._bar.update(1)
            if self._callback is not None:
                self._tell()

    def _tell(self) -> None:
        start = time.perf_counter()
        film = self.film
        number = len(film.records) - 1
        last = Film(film.records[-1:], film.latents[-1:], film.pictures[-1:])
        kwargs = {
            "index": self._index,
            "block": last.timeline[0],
            "latents": film.latents[-1],
            "frames": last.images,
        }
        try:
            self._callback(self._pipe, number, number + 1, kwargs)
        except BaseException:
            self.broken = True
            raise
        finally:
            self.away += time.perf_counter() - start


def _settings_of(result: VideoResult, prompt: str, seed: int) -> dict[str, str]:
    """What made a video, for the metadata of its file."""
    shown = {
        "Software": f"mmspec {__version__}",
        "prompt": prompt,
        "seed": seed,
        "model": result.model,
        "method": result.method,
        "lossless": "yes" if result.lossless else "no",
        "certificate": result.certificate,
        **result.parameters,
    }
    return {name: str(value) for name, value in shown.items()}


def _blocks_kept(count: int) -> str:
    """In words."""
    if count < 2:
        return "block 0 is kept" if count else "no block is kept"
    return f"blocks 0 to {count - 1} are kept"


def _cause(error: BaseException) -> str:
    """In one line, with what helps where that is known."""
    if isinstance(error, KeyboardInterrupt):
        return "interrupted"
    if isinstance(error, torch.OutOfMemoryError):
        return (
            "memory ran out; make smaller pictures or fewer blocks, or bound what is remembered "
            "(the model setting window)"
        )
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__


def _bar(total: int, shown: bool) -> Any:
    from tqdm.auto import tqdm

    return tqdm(total=total, unit="block", disable=not shown, leave=False)
