"""Who writes a block: routers that keep drafted blocks or hand them to the target."""

from video_ar.routers.cascade import Cascade
from video_ar.routers.combined import Budget, Forced, Relative
from video_ar.routers.fixed import DraftOnly, FirstBlock, Random, Stride, TargetOnly
from video_ar.routers.protocol import (
    Answer,
    AskReference,
    AskTarget,
    BlockEvidence,
    Decision,
    MoreScores,
    Router,
    route,
)
from video_ar.routers.reward import Quantile, Threshold
from video_ar.routers.target_check import TargetCheck

__all__ = [
    "Answer",
    "AskReference",
    "AskTarget",
    "BlockEvidence",
    "Budget",
    "Cascade",
    "Decision",
    "DraftOnly",
    "FirstBlock",
    "Forced",
    "MoreScores",
    "Quantile",
    "Random",
    "Relative",
    "Router",
    "Stride",
    "TargetCheck",
    "TargetOnly",
    "Threshold",
    "route",
]
