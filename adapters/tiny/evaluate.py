"""Score a captioner on held-out pictures and clips: greedy captions, parsed and compared.

Usage: python -m adapters.tiny.evaluate --model adapters/tiny/weights/captioner
The last line of output is one JSON document.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import torch
from PIL import Image
from tqdm import tqdm
from transformers import AutoProcessor, LlavaForConditionalGeneration, LlavaProcessor

from .world.clips import Clip, clip_from_seed
from .world.parse import parse, score
from .world.render import render, render_clip
from .world.scene import Scene, scene_from_seed
from .world.vocabulary import CLIP_PROMPTS, PICTURE_PROMPTS, STYLE_PROMPTS

WEIGHTS = Path(__file__).parent / "weights"
MAX_NEW_TOKENS = 100


def describe(
    model: LlavaForConditionalGeneration,
    processor: LlavaProcessor,
    images: list[list[Image.Image]],
    prompts: list[str],
) -> list[str]:
    """Caption a batch greedily.

    Args:
        model: Captioner, on any device.
        processor: Its processor.
        images: Pictures of each row; several pictures of one row are the frames of a clip.
        prompts: Question of each row.

    Returns:
        One caption for each row.
    """
    texts = [
        processor.apply_chat_template(conversation(prompt, len(row)), add_generation_prompt=True)
        for prompt, row in zip(prompts, images, strict=True)
    ]
    flat = [image for row in images for image in row]
    inputs = processor(images=flat, text=texts, padding=True, return_tensors="pt")
    inputs = inputs.to(model.device, model.dtype)
    with torch.inference_mode():
        output = model.generate(**inputs, max_new_tokens=MAX_NEW_TOKENS, do_sample=False)
    written = output[:, inputs["input_ids"].shape[1] :]
    return processor.batch_decode(written, skip_special_tokens=True)


def conversation(prompt: str, images: int) -> list[dict[str, object]]:
    """One user turn in the form chat templates take."""
    pictures: list[dict[str, str]] = [{"type": "image"}] * images
    return [{"role": "user", "content": [*pictures, {"type": "text", "text": prompt}]}]


def summarise(captions: list[str], truths: Sequence[Scene | Clip]) -> dict[str, float]:
    """Accuracy by attribute, the share of captions without any error, and of strict ones."""
    right: Counter[str] = Counter()
    asked: Counter[str] = Counter()
    perfect = strict = 0
    for caption, truth in zip(captions, truths, strict=True):
        result = score(caption, truth)
        right.update(result.right)
        asked.update(result.asked)
        perfect += result.accuracy == 1.0
        strict += _is_strict(caption)
    scores = {name: round(right[name] / asked[name], 4) for name in asked}
    scores["all"] = round(right.total() / asked.total(), 4)
    scores["captions_without_error"] = round(perfect / len(captions), 4)
    scores["captions_in_grammar"] = round(strict / len(captions), 4)
    return scores


def _is_strict(caption: str) -> bool:
    try:
        parse(caption)
    except ValueError:
        return False
    return True


def evaluate_pictures(
    model: LlavaForConditionalGeneration, processor: LlavaProcessor, count: int, batch: int = 50
) -> dict[str, float]:
    """Score captions of `count` held-out pictures, all prompts in turn."""
    scenes = [scene_from_seed(seed, held_out=True) for seed in range(count)]
    prompts = _prompts(PICTURE_PROMPTS, count)
    captions: list[str] = []
    for start in tqdm(range(0, count, batch), "pictures", disable=None):
        rows = [[render(scene)] for scene in scenes[start : start + batch]]
        captions += describe(model, processor, rows, prompts[start : start + batch])
    return summarise(captions, scenes)


def evaluate_clips(
    model: LlavaForConditionalGeneration,
    processor: LlavaProcessor,
    count: int,
    frames: int = 8,
    batch: int = 25,
) -> dict[str, float]:
    """Score captions of `count` held-out clips, all prompts in turn."""
    clips = [clip_from_seed(seed, held_out=True) for seed in range(count)]
    prompts = _prompts(CLIP_PROMPTS, count)
    captions: list[str] = []
    for start in tqdm(range(0, count, batch), "clips", disable=None):
        rows = [render_clip(clip, frames) for clip in clips[start : start + batch]]
        captions += describe(model, processor, rows, prompts[start : start + batch])
    return summarise(captions, clips)


def _prompts(prompts: tuple[str, ...], count: int) -> list[str]:
    every = [*prompts, *STYLE_PROMPTS]
    return [every[index % len(every)] for index in range(count)]


def main(arguments: list[str] | None = None) -> None:
    """Print the scores of a captioner as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, default=WEIGHTS / "captioner")
    parser.add_argument("--pictures", type=int, default=400)
    parser.add_argument("--clips", type=int, default=200)
    parser.add_argument("--frames", type=int, nargs="+", default=[8], help="frames of the clips")
    parser.add_argument("--out", type=Path, help="also write the JSON here")
    options = parser.parse_args(arguments)
    processor = AutoProcessor.from_pretrained(options.model)
    model = LlavaForConditionalGeneration.from_pretrained(options.model, dtype=torch.float32)
    scores: dict[str, object] = {"counts": {"pictures": options.pictures, "clips": options.clips}}
    if options.pictures:
        scores["pictures"] = evaluate_pictures(model, processor, options.pictures)
    for frames in options.frames if options.clips else []:
        scores[f"clips_{frames}_frames"] = evaluate_clips(model, processor, options.clips, frames)
    if options.out:
        options.out.write_text(json.dumps(scores, indent=2) + "\n")
    sys.stdout.write(json.dumps(scores) + "\n")


if __name__ == "__main__":
    main()
