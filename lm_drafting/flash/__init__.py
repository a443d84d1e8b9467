"""FLASH (arXiv 2505.12728): the next ``k`` tokens from one pass over a compressed picture."""

from lm_drafting.flash.drafter import ParallelDrafter
from lm_drafting.flash.network import FlashConfig, FlashNetwork

__all__ = ["FlashConfig", "FlashNetwork", "ParallelDrafter"]
