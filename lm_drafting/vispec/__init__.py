"""ViSpec (arXiv 2509.15235): a picture becomes a few tokens and one vector for all later text."""

from lm_drafting.vispec.network import ViSpecConfig, ViSpecNetwork

__all__ = ["ViSpecConfig", "ViSpecNetwork"]
