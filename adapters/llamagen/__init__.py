"""LlamaGen (Sun et al. 2024): class- and text-conditional image generation over VQ codes."""
