"""SpecVLM (arXiv 2509.11815): EagleVLM with an elastic compressor that the question steers."""

from lm_drafting.specvlm.network import SpecVLMConfig, SpecVLMNetwork

__all__ = ["SpecVLMConfig", "SpecVLMNetwork"]
