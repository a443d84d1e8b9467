"""The mean of neighbouring visual tokens."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from lm_drafting.vision.cells import Cells
from lm_drafting.vision.positions import Stride


class Pooling(Cells):
    """The mean of every cell; one cut by the border averages the tokens it has.

    The pooling branch of SpecVLM (arXiv 2509.11815). It has no weights.
    """

    kind = "pool"

    def shrink(self, frames: Tensor, stride: Stride) -> Tensor:
        """See :class:`~lm_drafting.vision.cells.Cells`."""
        return F.avg_pool2d(frames, stride, ceil_mode=True, count_include_pad=False)
