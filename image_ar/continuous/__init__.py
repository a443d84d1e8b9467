"""Speculation over continuous image tokens: latent vectors that a diffusion head draws."""
