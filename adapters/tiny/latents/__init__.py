"""Training of the embedded models of continuous image tokens: a KL tokenizer and MAR on top."""
