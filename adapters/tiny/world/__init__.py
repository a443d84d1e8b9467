"""The small world: scenes and clips, their pictures, their captions, and a reader of captions."""
