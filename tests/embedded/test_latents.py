"""The embedded models of latent vectors: they draw what they are asked for, and drafts pay."""

from __future__ import annotations

import pytest
import torch

import mmspec
from mmspec import catalog

pytestmark = pytest.mark.usefixtures("one_thread")

CLASSES = list(range(0, 48, 6))
# Of 24 pictures; the cards say what they reach on 96.
LEAST = {"tiny-mar": 0.75, "tiny-mar-masked": 0.7}
MOST_PASSES = 45  # of the 64 of plain decoding, by the slowest picture of eight


@pytest.mark.parametrize("model", ["tiny-mar", "tiny-mar-masked"])
def test_pictures_show_their_classes(model: str) -> None:
    result = mmspec.pipeline("image", model=model, method="none")(
        class_id=list(range(0, 48, 2)), seed=0, batch_size=24, score=True
    )
    assert result.quality["attribute_accuracy"] > LEAST[model]
    assert result.images[0].size == (64, 64)


def test_drafts_within_tolerance_are_mostly_kept() -> None:
    pipe = mmspec.pipeline("image", model="tiny-mar", method="cspd", strict=True)
    result = pipe(class_id=CLASSES, seed=0, batch_size=len(CLASSES), compare=True, score=True)
    assert not result.lossless
    assert result.certificate.startswith("bounded")
    assert result.nfe < MOST_PASSES
    assert result.trace.unjudged == 0
    lost = result.baseline_quality["attribute_accuracy"] - result.quality["attribute_accuracy"]
    assert lost < 0.15  # eight pictures; the benchmark measures it on many


def test_at_tolerance_zero_pictures_are_the_plain_ones() -> None:
    """Up to rounding: networks round differently for one vector and for several."""
    pipe = mmspec.pipeline("image", model="tiny-mar", method="cspd", delta=0, strict=True)
    result = pipe(class_id=CLASSES[:2], seed=3, batch_size=2, compare=True)
    assert result.lossless
    for one in result.outputs:
        gap = torch.tensor(one.tokens) - torch.tensor(one.baseline_tokens)
        assert gap.abs().max() < 1e-2


def test_released_passes_do_not_depend_on_what_is_accepted() -> None:
    """The program draws windows of one length; the masked model serves as its own draft."""
    own = catalog.embedded_folder("tiny-mar-masked", "model", "image")
    pipe = mmspec.pipeline(
        "image", model="tiny-mar-masked", method="cspd", mode="released", drafter=own, strict=True
    )
    results = [pipe(class_id=[7], seed=seed) for seed in range(2)]
    assert results[0].nfe == results[1].nfe < 64 / 4
    assert all(result.certificate.startswith("lossy") for result in results)
    assert results[0].outputs[0].tokens != results[1].outputs[0].tokens


def test_the_folders_are_there_and_small() -> None:
    folders = [
        catalog.embedded_folder("tiny-mar", "model", "image"),
        catalog.embedded_folder("tiny-mar", "cspd", "image"),
        catalog.embedded_folder("tiny-mar-masked", "model", "image"),
    ]
    sizes = [path.stat().st_size for folder in folders for path in folder.rglob("*.safetensors")]
    assert sum(sizes) < 8_000_000
