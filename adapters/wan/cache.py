"""Keys and values of the frames of one video.

A frame owns one slot of the buffer. Keys are stored after their rotation, so attention may read
slots in any order: when the window is full, a new frame takes the slot of the oldest one, and
nothing is moved.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from weakref import WeakSet

from torch import Tensor


@dataclass(frozen=True)
class Segment:
    """One block of a forward pass.

    Args:
        tokens: Its part of the pass.
        write: Slots its frames go to, in order.
        read: Slots it looks at, its own among them; in order wherever nothing was evicted.
    """

    tokens: slice
    write: tuple[int, ...]
    read: tuple[int, ...]


class Mark:
    """A place to come back to; costs nothing until one of its frames is evicted.

    Frames are kept for as long as this object lives.
    """

    def __init__(self, order: Sequence[int], end: int) -> None:
        self.order = tuple(order)
        self.end = end
        self.saved: dict[int, list[Tensor]] = {}


class BlockCache:
    """State of one request; models are shared, caches are not.

    Committed frames are followed by scratch: a block that is being denoised writes the same slots
    at every step, and they count only once it is committed.

    Args:
        layers: Layers that keep keys and values.
        tokens_per_frame: Tokens of a latent frame.
        frames: Frame slots: the longest video, or the window if it rolls.
        sink: None keeps every frame and refuses more than ``frames``. A number rolls: the oldest
            frames make room, save the first ``sink`` frames of the video (0 for none).

    Raises:
        ValueError: Sizes that leave no room.
    """

    def __init__(
        self, layers: int, tokens_per_frame: int, frames: int, sink: int | None = None
    ) -> None:
        if min(layers, tokens_per_frame, frames) < 1 or not 0 <= (sink or 0) < frames:
            raise ValueError(
                f"a cache needs layers, tokens and more frames than the sink has; given {layers}, "
                f"{tokens_per_frame} and frames={frames} with sink={sink}"
            )
        self.tokens_per_frame = tokens_per_frame
        self.frames = frames
        self.sink = sink
        self._end = 0
        self._order: list[int] = []
        self._buffers: list[Tensor | None] = [None] * layers
        self._marks: WeakSet[Mark] = WeakSet()

    @property
    def end(self) -> int:
        """Frames committed so far, evicted ones included: the position of the next."""
        return self._end

    @property
    def held(self) -> int:
        """Committed frames that can still be read."""
        return len(self._order)

    def nbytes(self) -> int:
        """Bytes of the buffers."""
        return sum(buffer.nbytes for buffer in self._filled())

    def plan(self, sizes: Sequence[int]) -> tuple[Segment, ...]:
        """Find room for blocks that follow the committed frames, one after the other.

        Each block sees what it would see if those before it had been committed in calls of their
        own. Committed frames whose slots are taken are gone from now on, unless a mark holds them.

        Args:
            sizes: Frames of each block.

        Raises:
            ValueError: There is no room, or a block is empty.
        """
        segments, order, first = [], list(self._order), 0
        for size in sizes:
            order = self._make_room(order, size)
            free = sorted(set(range(self.frames)).difference(order))
            order += free[:size]
            last = first + size * self.tokens_per_frame
            segments.append(Segment(slice(first, last), tuple(order[-size:]), tuple(order)))
            first = last
        written = {slot for segment in segments for slot in segment.write}
        self._save(written)
        self._order = [slot for slot in self._order if slot not in written]
        return tuple(segments)

    def advance(self, segments: Sequence[Segment]) -> None:
        """Count the frames of a pass as committed; call it once the pass is over."""
        self._order = list(segments[-1].read)
        self._end += sum(len(segment.write) for segment in segments)

    def exchange(
        self, layer: int, segment: Segment, keys: Tensor, values: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Write a block's states ``(batch, tokens, heads, head)``, return those it looks at.

        Raises:
            ValueError: The batch is not the one of the frames before.
        """
        buffer = self._buffers[layer]
        if buffer is None:
            shape = (2, keys.shape[0], self.frames, self.tokens_per_frame, *keys.shape[2:])
            buffer = self._buffers[layer] = keys.new_empty(shape)
        if buffer.shape[1] != keys.shape[0]:
            raise ValueError(
                f"this cache holds {buffer.shape[1]} videos and is given {keys.shape[0]}; make a "
                "context for each request"
            )
        target = _slice_of(segment.write)
        for half, states in zip(buffer, (keys, values), strict=True):
            half[:, target] = states.unflatten(1, (-1, self.tokens_per_frame))
        # Attention does not mind the order of slots, so a full window is read as it lies.
        seen = buffer[:, :, _slice_of(sorted(segment.read))]
        return seen[0].flatten(1, 2), seen[1].flatten(1, 2)

    def stored(self, layer: int) -> tuple[Tensor, Tensor]:
        """Copies of the keys and values of the held frames, oldest first.

        Each is ``(batch, frames, tokens, heads, head)``.

        Raises:
            ValueError: Nothing was written yet.
        """
        buffer = self._buffers[layer]
        if buffer is None:
            raise ValueError("nothing was committed to this cache yet")
        keys, values = buffer[:, :, self._order]
        return keys, values

    def clear(self) -> None:
        """Forget all frames and positions; memory is kept, marks become void."""
        self._order, self._end = [], 0
        self._marks.clear()

    def mark(self) -> Mark:
        """Remember the committed frames as they are now."""
        mark = Mark(self._order, self._end)
        self._marks.add(mark)
        return mark

    def rollback(self, mark: Mark) -> None:
        """Go back to a mark, which stays valid; later marks become void.

        Raises:
            ValueError: The mark is void or of another cache.
        """
        if mark not in self._marks:
            raise ValueError(
                "this mark is of another cache, or the cache was cleared or taken back beyond it"
            )
        for slot, states in mark.saved.items():
            for buffer, state in zip(self._filled(), states, strict=True):
                buffer[:, :, slot] = state
        mark.saved.clear()
        self._order, self._end = list(mark.order), mark.end
        for later in [other for other in self._marks if other.end > mark.end]:
            self._marks.discard(later)

    def _make_room(self, order: list[int], size: int) -> list[int]:
        """The slots that stay when ``size`` frames come."""
        if size < 1:
            raise ValueError(f"a block has at least one frame, not {size}")
        excess = len(order) + size - self.frames
        if excess <= 0:
            return order
        if self.sink is None:
            raise ValueError(
                f"this cache has room for {self.frames} frames and {len(order) + size} are needed; "
                "make the context with more frames, or with a sink to let it roll"
            )
        if excess > len(order) - self.sink:
            raise ValueError(
                f"a block of {size} frames does not fit a window of {self.frames} that keeps the "
                f"first {self.sink}; make the context with more frames"
            )
        return order[: self.sink] + order[self.sink + excess :]

    def _save(self, written: set[int]) -> None:
        """Keep what marks would lose."""
        for mark in self._marks:
            for slot in written.intersection(mark.order).difference(mark.saved):
                mark.saved[slot] = [buffer[:, :, slot].clone() for buffer in self._filled()]

    def _filled(self) -> list[Tensor]:
        """The buffers; a layer without one holds no committed frame."""
        return [buffer for buffer in self._buffers if buffer is not None]


def _slice_of(slots: Sequence[int]) -> slice | list[int]:
    """Slots that follow each other as a slice, which is read without a copy."""
    first, last = slots[0], slots[-1]
    return slice(first, last + 1) if list(slots) == list(range(first, last + 1)) else list(slots)
