"""What a drafter sees of a picture: runs of visual tokens, and compressors that shorten them."""

from __future__ import annotations

from lm_drafting.vision.building import build_compressor
from lm_drafting.vision.compressor import Compressed, Grid, VisualCompressor, VisualInput
from lm_drafting.vision.runs import Run, find_runs

__all__ = [
    "Compressed",
    "Grid",
    "Run",
    "VisualCompressor",
    "VisualInput",
    "build_compressor",
    "find_runs",
]
