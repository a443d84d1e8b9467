"""Drafters and rules for autoregressive image generation; empty until its first method lands."""
