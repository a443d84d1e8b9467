"""Drafters and rules for autoregressive image generation: codes (`discrete`) and latent vectors."""
