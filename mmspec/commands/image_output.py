"""What `mmspec image` prints and writes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmspec.commands.console import Console
from mmspec.commands.summary import headline, numbers, verdict
from mmspec.pictures import file_stem, save_png
from mmspec.pipelines.image_result import step_compression
from mmspec.render import printable

if TYPE_CHECKING:
    from mmspec.pipelines.image_result import ImageOutput, ImageResult

_SHOWN = (
    ("tokens", "{0.tokens}"),
    ("target forwards (NFE)", "{0.target_forwards}"),
    ("acceptance length (bonus included)", "{0.acceptance_length:.2f}"),
    ("seconds", "{0.seconds:.2f}"),
)


class Writer:
    """Saves pictures as soon as they are finished.

    Args:
        folder: Where to; it exists.
        console: Is told the names.
    """

    def __init__(self, folder: Path, console: Console) -> None:
        self._folder, self._console = folder, console
        self._saved = 0

    @property
    def kept(self) -> str:
        """What is on disk, in words."""
        plural = "" if self._saved == 1 else "s"
        return f"{self._saved} picture{plural} kept in '{self._folder}'"

    def save(self, outputs: list[ImageOutput]) -> None:
        """Write a batch and remember the paths in it.

        Raises:
            OSError: The disk is full or the folder cannot be written; says what is kept.
        """
        for output in outputs:
            path = self._folder / f"{file_stem(output.index, output.subject.label)}.png"
            self._write(output.image, path, output.settings)
            output.path = str(path)
            self._saved += 1
            self._console.result(str(path))

    def save_heatmaps(self, result: ImageResult) -> None:
        """Write the heat map of every saved picture beside it.

        Raises:
            OSError: As in :meth:`save`.
        """
        for place, output in enumerate(result.outputs):
            if output.path is not None:
                path = Path(output.path).with_suffix(".heatmap.png")
                self._write(result.heatmap(place), path, output.settings)
                self._console.say(f"wrote {path}")

    def save_histogram(self, result: ImageResult) -> None:
        """Write the histogram of what drafts were judged by, where the rule has such numbers."""
        if not result.trace.scores:
            self._console.say("no histogram: this method judged no draft by a number")
            return
        path = self._folder / "scores.png"
        result.plot_scores(path)
        self._console.say(f"wrote {path}")

    def _write(self, image: Any, path: Path, settings: dict[str, str]) -> None:
        try:
            save_png(image, path, settings)
        except OSError as error:
            reason = error.strerror or str(error)
            raise OSError(f"cannot write '{path}': {reason}; {self.kept}") from error


def report(result: ImageResult, console: Console) -> None:
    """Notes, the table and the verdict, for people."""
    for note in result.notes:
        console.say(f"  note: {note}")
    console.say(f"  {printable(headline(result))}")
    if result.metrics.tokens:
        console.table(_table(result))
    for line in (*verdict(result, "cell for cell"), *_fidelity(result)):
        console.say(f"  {line}")


def _table(result: ImageResult) -> list[tuple[str, ...]]:
    """Numbers of the run, quality included, beside those of the plain one where there is one."""
    rows = numbers(result, _SHOWN)
    traces = [result.trace]
    qualities = [result.quality]
    if result.baseline is not None:
        traces.insert(0, result.baseline.trace)
        qualities.insert(0, result.baseline_quality)
    compressions = (f"{step_compression(trace):.2f}" for trace in traces)
    rows.insert(3, ("step compression (tokens / passes)", *compressions))
    for name in result.quality or ():
        shown = ("" if scores is None else f"{scores[name]:.3f}" for scores in qualities)
        rows.append((name.replace("_", " "), *shown))
    return rows


def _fidelity(result: ImageResult) -> list[str]:
    """What the method may have cost; nothing to say of exact ones beyond their certificate."""
    if result.lossless:
        return []
    lines = [f"not lossless: {result.certificate}"]
    if result.bias is not None:
        lines.append(
            f"mean one-step bias {result.bias:.4f} (total variation to the model's own law, a cell)"
        )
    return lines


def list_classes(pipe: Any, model: str, console: Console) -> int:
    """Print the classes of a class-conditional model.

    Raises:
        ValueError: The model takes prompts, or its classes have no names.
    """
    classes = pipe.target.classes
    if not classes:
        raise ValueError(
            f"'{model}' has no list of classes: it takes prompts, or classes by number only"
        )
    for number, name in enumerate(classes):
        console.result(f"{number:4d}  {printable(str(name))}")
    names = [str(name) for name in classes]
    console.document({"command": "image", "model": model, "classes": names})
    return 0
