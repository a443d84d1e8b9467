"""Models that write pictures as tokens, all families behind one target."""

from adapters.image_tokens.target import Defaults, ImageTokenTarget

__all__ = ["Defaults", "ImageTokenTarget"]
