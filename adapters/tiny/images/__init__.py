"""Image models of the small world: pictures to draw, tokenizer, generators, and their judge."""
