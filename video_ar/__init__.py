"""Drafters, routers and the target role for autoregressive video generation."""
