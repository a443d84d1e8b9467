"""Training drafters: the target's own answers, its features made on the fly, one loop for all."""
