"""How a Wan model makes blocks: what no weights tell, kept in a file beside them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from adapters.wan.checkpoints import is_far
from adapters.wan.target import TEXT_TOKENS
from mmspec.video_target import VideoDefaults
from video_ar.schedule import SHIFT, STEPS, Schedule, few_steps

FILE = "video.json"
_DEFAULTS = VideoDefaults()


@dataclass(frozen=True)
class WanSettings:
    """How a model was distilled to be run. The defaults are those of Self-Forcing.

    Attributes:
        steps: Thousandths of the steps of a block.
        shift: Of the grid of noise levels.
        warp: Whether steps count places of the grid, see :func:`~video_ar.schedule.few_steps`.
        final_zero_step: Whether the network is evaluated once more at timestep 0.
        fresh: Whether steps start with fresh noise, see :class:`~video_ar.schedule.Schedule`.
        block_frames: Latent frames of a block.
        window: Latent frames that are remembered; None keeps all.
        sink: First frames that stay in the window.
        rebuild: Frames that Krea's discipline keeps; None carries the cache on.
        reencode: Whether that discipline encodes the oldest kept picture anew.
        text_tokens: Tokens of a prompt that are read.
        blocks: Of a video, where the call does not say.
        height: Of a picture, likewise.
        width: Of a picture, likewise.
        fps: Pictures a second, likewise.
        draft_steps: Steps of a block, the first ones, that are enough where the model drafts for
            another; None for all.
        shared: Folder with the autoencoder and the text encoder, relative to that of the file.
    """

    steps: tuple[int, ...] = STEPS
    shift: float = SHIFT
    warp: bool = True
    final_zero_step: bool = False
    fresh: bool = True
    block_frames: int = 3
    window: int | None = None
    sink: int = 0
    rebuild: int | None = None
    reencode: bool = True
    text_tokens: int = TEXT_TOKENS
    blocks: int = _DEFAULTS.blocks
    height: int = _DEFAULTS.height
    width: int = _DEFAULTS.width
    fps: float = _DEFAULTS.fps
    draft_steps: int | None = None
    shared: str | None = None

    @property
    def schedule(self) -> Schedule:
        """The steps of a block.

        Raises:
            ValueError: Steps that make no schedule.
        """
        return few_steps(
            self.steps,
            self.shift,
            warp=self.warp,
            final_zero_step=self.final_zero_step,
            fresh=self.fresh,
        )

    @property
    def defaults(self) -> VideoDefaults:
        """What is made where the call does not say."""
        return VideoDefaults(self.blocks, self.height, self.width, self.fps, self.draft_steps)

    def changed(self, given: Mapping[str, Any], source: str) -> WanSettings:
        """With some values replaced.

        Args:
            given: By name.
            source: Whom errors name.

        Raises:
            ValueError: An unknown name, or a value of another kind.
        """
        known = {field.name: field.type for field in fields(self)}
        if unknown := sorted(set(given) - set(known)):
            raise ValueError(f"{source} knows no {', '.join(unknown)}; it knows {', '.join(known)}")
        values = {name: _checked(name, value, source) for name, value in given.items()}
        return replace(self, **values)

    def save(self, folder: str | Path) -> None:
        """Write the file into a folder, which exists."""
        path = Path(folder) / FILE
        path.write_text(json.dumps(asdict(self), indent=2) + "\n", encoding="utf-8")


# How the released programs run their models.
PRESETS = {
    "self-forcing": WanSettings(),
    "causvid": WanSettings(steps=(1000, 757, 522), shift=8.0, warp=False),
    "krea": WanSettings(final_zero_step=True, rebuild=3),
    "anyflow-far": WanSettings(fresh=False),
}


def read_settings(
    path: Path, preset: str | None = None, given: Mapping[str, Any] | None = None
) -> WanSettings:
    """The settings of a model: a preset, else the file beside its weights, else those of its class.

    Args:
        path: Its folder or file.
        preset: Key of :data:`PRESETS`.
        given: What is to be changed in them.

    Raises:
        ValueError: An unknown preset, a file that cannot be read, or wrong values.
    """
    if preset is not None and preset not in PRESETS:
        raise ValueError(f"unknown preset '{preset}'; there are {', '.join(PRESETS)}")
    settings = PRESETS[preset or ("anyflow-far" if is_far(path) else "self-forcing")]
    file = (path if path.is_dir() else path.parent) / FILE
    if preset is None and file.is_file():
        try:
            said = json.loads(file.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise ValueError(f"{file} cannot be read as settings of a model: {error}") from error
        if not isinstance(said, dict):
            raise ValueError(f"{file} holds no settings, but {type(said).__name__}")
        settings = settings.changed(said, str(file))
    return settings.changed(given or {}, "a video model")


_FLAGS = ("warp", "final_zero_step", "fresh", "reencode")
_OPTIONAL = ("window", "rebuild", "draft_steps")
_REAL = ("shift", "fps")


def _checked(name: str, value: Any, source: str) -> Any:
    """A value of the kind that the setting has."""
    if name == "steps":
        fits = isinstance(value, list | tuple) and all(_whole(one, 0) for one in value)
        value = tuple(value) if fits else value
    elif name in _FLAGS:
        fits = isinstance(value, bool)
    elif name == "shared":
        fits = value is None or isinstance(value, str)
    elif name in _REAL:
        fits = isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < 1e6
    else:
        fits = (value is None and name in _OPTIONAL) or _whole(value, int(name != "sink"))
    if not fits:
        kinds = {"steps": "a list of thousandths", "shared": "a folder"}
        kind = kinds.get(name, "true or false" if name in _FLAGS else "a positive number")
        raise ValueError(f"{name} of {source} must be {kind}, got {value!r}")
    return value


def _whole(value: Any, least: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= least
