"""Drafters and rules for autoregressive image generation: `discrete` for models over codes."""
