"""Training of the embedded video models: a Wan autoencoder, a text encoder, target and drafter."""
