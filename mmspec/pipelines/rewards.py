"""Scorers of pictures by name, for routers of video blocks."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmspec import catalog

_TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "vocab.txt", "vocab.json")
_WEIGHT_FILES = (".pt", ".pth", ".safetensors")
# These are whole folders of transformers; the others are a file, with a folder around it at most.
_FOLDERS = ("pickscore", "clip")
_PUBLISHED = ("pickscore",)  # their loaders know where the weights are


def check_reward(name: str, weights: str | Path | None = None) -> None:
    """Refuse a reward that is unknown, or has no weights, before anything is loaded.

    Args:
        name: Key of one of the tables of the catalog.
        weights: File or folder of its weights.

    Raises:
        ValueError: The message says which are known, and which work without weights.
    """
    free = (*catalog.REWARDS, *catalog.resolve(catalog.PLAIN_REWARDS))
    weighed = tuple(catalog.WEIGHED_REWARDS)
    if name not in (*free, *weighed):
        raise ValueError(
            f"unknown reward '{name}'; without weights there are {', '.join(free)}; with weights "
            f"{', '.join(weighed)}"
        )
    if name in free and weights is not None:
        raise ValueError(f"reward '{name}' has no weights to read; leave out reward_weights")
    if name in weighed and weights is None and name not in _PUBLISHED:
        unscored = ", ".join(
            row.name
            for row in catalog.methods("video")
            if row.build and "scorer" not in row.all_options
        )
        raise ValueError(
            f"reward '{name}' needs its weights: give reward_weights=... (--reward-weights), a "
            f"file or a folder. Without weights there are the rewards {', '.join(free)}, and the "
            f"methods {unscored}, which need no reward"
        )


def check_rewarded(
    method: str, reward: str | None, weights: str | Path | None, options: Mapping[str, Any]
) -> None:
    """Refuse a reward that is wrong by :func:`check_reward`, or does not go with the rest.

    Args:
        method: Name of the video method, ``auto`` included.
        reward: Name of the reward; None where none was named.
        weights: File or folder of its weights.
        options: The method's own options.

    Raises:
        ValueError: Weights without a reward, a method that compares none, or a scorer as well.
    """
    if reward is None:
        if weights is not None:
            raise ValueError("reward_weights belong to a reward; name it: reward=... (--reward)")
        return
    check_reward(reward, weights)
    if "scorer" in options:
        raise ValueError("give reward or scorer, not both: they say the same")
    row = catalog.get("none" if method == "auto" else method, "video")
    if "scorer" not in row.all_options:
        fit = [one.name for one in catalog.methods("video") if "scorer" in one.all_options]
        raise ValueError(
            f"method '{row.name}' compares no reward; methods that do: {', '.join(fit)}"
        )


def load_reward(name: str, weights: str | Path | None = None, device: str = "cpu") -> Any:
    """What the option ``scorer`` of a method takes: a scorer, or the name of one without weights.

    Args:
        name: As for :func:`check_reward`.
        weights: File or folder of its weights. A tokenizer in the folder is used; else it is that
            of the published model.
        device: Where to score.

    Raises:
        ValueError: As :func:`check_reward`, and weights that are missing or do not fit.
    """
    check_reward(name, weights)
    if name in catalog.REWARDS:
        return catalog.resolve(catalog.REWARDS[name])(device=device)
    if name not in catalog.WEIGHED_REWARDS:
        return name
    load = catalog.resolve(catalog.WEIGHED_REWARDS[name])
    if weights is None:
        return load(device=device)
    folder = Path(weights)
    with_words = any((folder / file).is_file() for file in _TOKENIZER_FILES)
    given = {"tokenizer": folder} if with_words and name != "aesthetic" else {}
    source = weights if name in _FOLDERS or not folder.is_dir() else _file_in(folder, name)
    return load(source, device=device, **given)


def _file_in(folder: Path, name: str) -> Path:
    """The one file of weights in a folder."""
    found = sorted(path for path in folder.iterdir() if path.suffix in _WEIGHT_FILES)
    if len(found) != 1:
        raise ValueError(
            f"'{folder}' holds {len(found)} files of weights where reward '{name}' is one file; "
            "give the file"
        )
    return found[0]
