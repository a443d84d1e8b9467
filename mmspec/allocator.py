"""Memory that was freed stays with the process, for the next pass of a model on a CPU."""

from __future__ import annotations

import ctypes
import sys

# Parameters of mallopt(3). Setting one by hand also stops glibc from moving it by itself.
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
_LARGEST_KEPT = 32 << 20  # the most that glibc takes on 64 bits
_MOST_KEPT = 1 << 30


def keep_freed_memory() -> bool:
    """Have the C library's allocator keep what is freed for what is asked for next.

    A pass of a model on a CPU takes and frees the same megabytes again and again. As it comes,
    glibc may give them back to the system in between, which maps and clears every page anew: up to
    half of a short decoding of pictures, in some runs and not in others. Afterwards, up to 1 GiB
    of freed memory stays with the process, in pieces of less than 32 MiB; larger ones are returned
    as before, so large models are not affected.

    Holds for the whole process, which is why no import does it: the command line, the demo and the
    training programs do, and a program of your own may.

    Returns:
        Whether it was done; there is nothing to do where the allocator is not glibc's.
    """
    if not sys.platform.startswith("linux"):
        return False
    set_option = getattr(ctypes.CDLL(None), "mallopt", None)
    if set_option is None:
        return False
    wanted = ((_MMAP_THRESHOLD, _LARGEST_KEPT), (_TRIM_THRESHOLD, _MOST_KEPT))
    return all(set_option(option, size) == 1 for option, size in wanted)
