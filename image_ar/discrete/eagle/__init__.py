"""EAGLE for image tokens: one layer on the target's hidden states, guided as the target is."""
