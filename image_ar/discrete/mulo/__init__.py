"""MuLo-SD: a low-resolution model drafts whole rows, the target repairs the islands it refuses."""
