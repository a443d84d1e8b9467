"""What a caption call returns."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from mmspec.pipelines.comparing import Compared

if TYPE_CHECKING:
    from PIL import Image

    from mmspec.render import Piece

Decode = Callable[[list[int]], str]


class Interrupted(KeyboardInterrupt):
    """Ctrl-C during a run: still a ``KeyboardInterrupt``, carrying what was finished.

    Attributes:
        result: Everything finished before the interruption, as the call would have returned it.
    """

    def __init__(self, result: Any) -> None:
        super().__init__("interrupted")
        self.result = result


@dataclass
class Caption:
    """One input and its caption.

    Attributes:
        input: Path as given, or "input 3" for things without a name.
        text: The caption; None where the input failed.
        ids: New token ids, stop token included.
        note: What the reader should know ("animated GIF: first frame used").
        error: Why there is no caption.
        seed: Seed its random draws came from.
        row: Its row in the trace.
        baseline_ids: What plain decoding wrote, when compared.
        thumbnails: Small copies of the picture or the frames, if asked for.
    """

    input: str
    text: str | None = None
    ids: list[int] = field(default_factory=list)
    note: str = ""
    error: str = ""
    seed: int = 0
    row: int | None = None
    baseline_ids: list[int] | None = None
    thumbnails: list[Image.Image] = field(default_factory=list, repr=False)

    def to_json(self) -> dict[str, Any]:
        """The entry of ``outputs`` in the JSON document."""
        entry: dict[str, Any] = {
            "input": self.input,
            "text": self.text,
            "tokens": len(self.ids),
            "path": None,
            "seed": self.seed,
        }
        return entry | {key: getattr(self, key) for key in ("note", "error") if getattr(self, key)}


@dataclass(kw_only=True)
class CaptionResult(Compared[Caption]):
    """Captions, and how they were made; one output an input, failed ones included.

    Attributes:
        decode: Token ids to text.
        single: Whether one input was given rather than a list.
    """

    decode: Decode = field(repr=False)
    single: bool = False

    @property
    def text(self) -> str | list[str]:
        """The caption, or a list of captions when a list or folder was given; "" for failures."""
        texts = [output.text or "" for output in self.outputs]
        return texts[0] if self.single and texts else texts

    @property
    def failed(self) -> list[Caption]:
        """Inputs without a caption."""
        return [output for output in self.outputs if output.error]

    def pieces(self, index: int) -> list[Piece]:
        """The text of an output token by token, with who wrote each."""
        from mmspec.render import pieces

        row = self.outputs[index].row
        return [] if row is None else pieces(self.trace.units[row], self.decode)

    def to_json(self) -> dict[str, Any]:
        """The document that ``mmspec caption --json`` prints."""
        return self.document("caption")
