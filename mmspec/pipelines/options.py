"""What a caption call may be told; the command line takes its defaults from here."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, TypeVar, cast

if TYPE_CHECKING:
    from mmspec.media import MediaLimits
    from mmspec.render import Piece
    from mmspec.sampling import Sampling

MAX_BATCH = 256
MAX_NEW_TOKENS = 65_536
PICTURE_PROMPT = "Describe the picture."
CLIP_PROMPT = "Describe the clip."

Options = TypeVar("Options")


def keywords(kind: type[Options], given: Mapping[str, Any]) -> Options:
    """A dataclass of options from keyword arguments.

    Raises:
        TypeError: An option that it does not have; the message lists those it has.
    """
    known = [option.name for option in fields(cast(Any, kind))]
    unknown = sorted(set(given) - set(known))
    if unknown:
        raise TypeError(f"unknown option {', '.join(unknown)}; known: {', '.join(known)}")
    return kind(**given)


def row_seeds(seed: int | None, generator: Any, count: int) -> list[int]:
    """One seed an output, so that results depend neither on the batch size nor on failures.

    Args:
        seed: Output ``i`` gets ``seed + i``; None draws the seeds.
        generator: What to draw them from: a ``torch.Generator``, a list of one an output, or None
            for torch's default one.
        count: Outputs.

    Raises:
        ValueError: A list of generators of another length.
    """
    if seed is not None:
        return [seed + index for index in range(count)]
    from mmspec.noise import seeds_from

    if isinstance(generator, list | tuple):
        if len(generator) != count:
            raise ValueError(
                f"{len(generator)} generators given for {count} outputs; give one an output"
            )
        return [seeds_from(one, 1)[0] for one in generator]
    return seeds_from(generator, count)


@dataclass(frozen=True)
class CaptionOptions:
    """How to caption.

    Attributes:
        max_new_tokens: Most tokens a caption may have.
        temperature: 0 is greedy decoding.
        top_p: Keep the smallest set of tokens with at least this mass; 1 keeps all.
        top_k: Keep the ``k`` most likely tokens; 0 keeps all.
        min_p: Drop tokens below this share of the most likely one's probability; 0 keeps all.
        repetition_penalty: Above 1 makes tokens already written less likely.
        seed: Input ``i`` draws from seed ``seed + i``, whatever batch it is in.
        generator: A ``torch.Generator`` to draw the seeds from when no seed is given.
        batch_size: Inputs decoded together.
        frames: Frames taken from a clip.
        on_error: ``"raise"``, or ``"skip"`` to report an unreadable input and go on.
        on_text: Called with the input's index and a :class:`~mmspec.render.Piece` as soon as a
            token is committed.
        streamer: A transformers streamer; one input at a time only.
        progress: Show a progress bar on stderr.
        thumbnails: Keep small copies of the pictures in the result, for reports.
        limits: Ceilings on what is read; see :class:`mmspec.media.MediaLimits`.
    """

    max_new_tokens: int = 128
    temperature: float = 0.0
    top_p: float = 1.0
    top_k: int = 0
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    seed: int | None = None
    generator: Any = None
    batch_size: int = 1
    frames: int = 8
    on_error: str = "raise"
    on_text: Callable[[int, Piece], Any] | None = None
    streamer: Any = None
    progress: bool = False
    thumbnails: bool = False
    limits: MediaLimits | None = None

    def __post_init__(self) -> None:
        ranges = (
            ("max_new_tokens", 1, MAX_NEW_TOKENS),
            ("batch_size", 1, MAX_BATCH),
            ("frames", 1, 256),
        )
        for name, least, most in ranges:
            value = getattr(self, name)
            if not least <= value <= most:
                raise ValueError(f"{name} must be between {least} and {most:,}, got {value}")
        if self.on_error not in ("raise", "skip"):
            raise ValueError(f"on_error must be 'raise' or 'skip', got {self.on_error!r}")

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> CaptionOptions:
        """Options from keyword arguments; a misspelt one is an error that lists the known ones."""
        return keywords(cls, given)

    def sampling(self, stop_ids: tuple[int, ...]) -> Sampling:
        """The part of the options that shapes the law of a token."""
        from mmspec.sampling import Sampling

        return Sampling(
            max_new_tokens=self.max_new_tokens,
            temperature=self.temperature,
            top_k=self.top_k,
            top_p=self.top_p,
            min_p=self.min_p,
            repetition_penalty=self.repetition_penalty,
            stop_ids=stop_ids,
        )
