"""What `mmspec video` prints and writes."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmspec.commands.console import Console, aligned
from mmspec.commands.summary import headline, numbers, verdict
from mmspec.films import save_mp4
from mmspec.pictures import file_stem, save_png
from mmspec.render import printable
from mmspec.timeline import burn_in, draw_strip

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from mmspec.pipelines.video_result import Film, VideoOutput, VideoResult

_SHOWN = (
    ("blocks", "{0.tokens}"),
    ("target forwards", "{0.target_forwards}"),
    ("seconds", "{0.seconds:.2f}"),
)


class Writer:
    """Saves videos as soon as they are finished.

    Args:
        folder: Where to; it exists.
        console: Is told the names.
        burn: Whether the timeline is written on the frames.
        strip: Whether a strip is drawn beside each video.
    """

    def __init__(self, folder: Path, console: Console, burn: bool, strip: bool) -> None:
        self._folder, self._console = folder, console
        self._burn, self._strip = burn, strip
        self._saved = 0
        self._codec = ""

    @property
    def kept(self) -> str:
        """What is on disk, in words."""
        plural = "" if self._saved == 1 else "s"
        return f"{self._saved} video{plural} kept in '{self._folder}'"

    def save(self, output: VideoOutput) -> None:
        """Write a video, finished or not, and that of the plain loop where there is one.

        Raises:
            OSError: The disk is full or the folder cannot be written; says what is kept.
        """
        stem = file_stem(output.index, output.prompt)
        if output.error:
            stem += ".unfinished"
        path = self._folder / f"{stem}.mp4"
        self._film(output.film, path, output)
        output.path = str(path)
        self._saved += 1
        self._console.result(str(path))
        if output.baseline is not None and output.baseline.pictures and not output.error:
            plain = path.with_suffix(".plain.mp4")
            self._film(output.baseline, plain, output)
            self._console.say(f"wrote {plain}")
        if self._strip:
            picture = path.with_suffix(".strip.png")
            strip = draw_strip(output.images, output.blocks)
            self._try(picture, lambda: save_png(strip, picture, output.settings))
            self._console.say(f"wrote {picture}")

    def _film(self, film: Film, path: Path, output: VideoOutput) -> None:
        settings = {**output.settings, "decisions": _tally(film)}
        frames: Iterable[NDArray[np.uint8]] = film.array
        if self._burn:
            frames = _burnt(film)
        codec = self._try(path, lambda: save_mp4(frames, path, output.fps, settings))
        if codec != self._codec:
            self._codec = codec
            self._console.say(f"video codec: {codec}")

    def _try(self, path: Path, write: Any) -> Any:
        try:
            return write()
        except OSError as error:
            reason = error.strerror or str(error)
            raise OSError(f"cannot write '{path}': {reason}; {self.kept}") from error


def report(result: VideoResult, console: Console) -> None:
    """Notes, timelines, the table and the verdict, for people."""
    for note in result.notes:
        console.say(f"  note: {note}")
    console.say(f"  {printable(headline(result))}")
    for output in result.outputs:
        console.say(f"  {printable(output.prompt)}")
        for line in aligned(_timeline(output)):
            console.say(f"    {line}")
    if result.metrics.tokens:
        console.table(_table(result))
    for line in (*verdict(result, "block for block"), *_fidelity(result)):
        console.say(f"  {line}")


def _timeline(output: VideoOutput) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = [("block", "decision", "score", "seconds", "because")]
    for block in output.blocks:
        score = "-" if block["score"] is None else f"{block['score']:.4g}"
        said = (str(block["block"]), block["decision"], score, f"{block['seconds']:.2f}")
        rows.append((*said, block["reason"]))
    return rows


def _table(result: VideoResult) -> list[tuple[str, ...]]:
    """Numbers of the run, quality included, beside those of the plain one where there is one."""
    rows = numbers(result, _SHOWN)
    sides = [(result.target_blocks, result.stages, result.quality)]
    if result.baseline is not None:
        sides.insert(0, (1.0, result.baseline_stages, result.baseline_quality))
    rows.append(("blocks by the target", *(f"{share:.0%}" for share, _, _ in sides)))
    for stage in result.stages:
        rows.append((f"  {stage} seconds", *(f"{spent[stage]:.2f}" for _, spent, _ in sides)))
    for name in result.quality or ():
        shown = ("" if scores is None else f"{scores[name]:.3f}" for _, _, scores in sides)
        rows.append((name.replace("_", " "), *shown))
    return rows


def _fidelity(result: VideoResult) -> list[str]:
    """What the method may have cost."""
    lines = [] if result.lossless else [f"not lossless: {result.certificate}"]
    if result.latent_distance is not None:
        lines.append(f"distance of latents from the target's own: {result.latent_distance:.3g}")
    return lines


def _burnt(film: Film) -> Iterable[NDArray[np.uint8]]:
    """Pictures with the timeline on them, one at a time."""
    import numpy as np

    return (np.asarray(image) for image in burn_in(film.images, film.timeline))


def _tally(film: Film) -> str:
    """Who wrote the blocks, such as "forced, accepted, accepted"."""
    return ", ".join(record.decision for record in film.records)
