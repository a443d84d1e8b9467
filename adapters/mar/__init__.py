"""MAR (Li et al. 2024): image generation over continuous tokens with a diffusion head."""
