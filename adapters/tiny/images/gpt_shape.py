"""Shapes of the embedded LlamaGen models: text to image and class to image, 16 x 16 codes."""

from __future__ import annotations

from adapters.llamagen.config import CLASSES, IDENTITY, TEXT, GPTConfig
from adapters.tiny.world.scene import Scene, Thing
from adapters.tiny.world.vocabulary import COLOURS, SHAPES, SIZES

from .pictures import GRID_SIDE
from .text_encoder import TEXT_DIM, TEXT_TOKENS

CODES = 512
WIDTH, HEADS = 128, 4
TEXT_LAYERS, CLASS_LAYERS = 8, 6
CLASS_NAMES = tuple(f"{colour} {shape}" for colour in COLOURS for shape in SHAPES)


def text_gpt_config() -> GPTConfig:
    """Return the shape of the text-to-image model."""
    return _config(
        model_type=TEXT,
        n_layer=TEXT_LAYERS,
        caption_dim=TEXT_DIM,
        cls_token_num=TEXT_TOKENS,
        # With the zero rows of the released models, cells see only the mean of the text: a model
        # as narrow as this one cannot tell from it which attribute belongs to which thing.
        condition_rope=IDENTITY,
    )


def class_gpt_config() -> GPTConfig:
    """Return the shape of the class-to-image model."""
    return _config(model_type=CLASSES, n_layer=CLASS_LAYERS, num_classes=len(CLASS_NAMES))


def class_of(scene: Scene) -> int:
    """Class of a picture: colour and shape of its largest thing, the first in raster order."""
    thing = main_thing(scene)
    return COLOURS.index(thing.colour) * len(SHAPES) + SHAPES.index(thing.shape)


def main_thing(scene: Scene) -> Thing:
    """The largest thing; of several, the first in raster order."""
    return max(scene.things, key=lambda thing: (SIZES.index(thing.size), -thing.cell))


def _config(**rest: object) -> GPTConfig:
    values = {
        "dim": WIDTH,
        "n_head": HEADS,
        "multiple_of": 32,
        # A feed-forward width of 320.
        "ffn_dim_multiplier": 0.93,
        "vocab_size": CODES,
        "block_size": GRID_SIDE**2,
        # Every picture is seen about once: nothing to be gained from dropout.
        "token_dropout": 0.0,
        "resid_dropout": 0.0,
        "ffn_dropout": 0.0,
    }
    return GPTConfig.from_dict({**values, **rest})
