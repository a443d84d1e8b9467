"""Rows of training data, made once and kept on disk."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from tqdm import tqdm

# Makes the rows from one number up to, but not including, another, in any format of numbers.
Make = Callable[[int, int], np.ndarray]


def stored_rows(
    path: Path,
    shape: Sequence[int],
    count: int,
    prepare: Callable[[], Make],
    at_once: int = 1,
    dtype: type[np.generic] = np.float16,
) -> np.ndarray:
    """The first `count` rows of a file, made as far as they are not there.

    Rows are appended, so a killed run goes on where it was.

    Args:
        path: Of the file; its folder is made.
        shape: Of a row.
        count: Number of rows.
        prepare: Called only where rows are missing; gives what makes them.
        at_once: Rows made at a time.
        dtype: Number format of the file.

    Returns:
        ``(count, *shape)``, on disk.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    size = np.dtype(dtype).itemsize * int(np.prod(shape))
    done = path.stat().st_size // size if path.exists() else 0
    if done < count:
        make = prepare()
        with path.open("r+b" if path.exists() else "wb") as file:
            # A kill can leave part of a row.
            file.truncate(done * size)
            file.seek(0, 2)
            for start in tqdm(range(done, count, at_once), path.stem, mininterval=5):
                rows = make(start, min(start + at_once, count))
                file.write(rows.astype(dtype).tobytes())
    return np.memmap(path, dtype=dtype, mode="r", shape=(count, *shape))
