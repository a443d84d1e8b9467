"""Numbers of few-step video diffusion: noise levels, steps, and how frames become latents.

Flow matching: ``x_sigma = (1 - sigma) * x0 + sigma * noise``, the network tells ``noise - x0``. The
grid of noise levels, its shift and the warped steps are those of Self-Forcing (Huang et al. 2025),
which took them from CausVid and Wan 2.1.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

TRAIN_STEPS = 1000  # timesteps are noise levels in thousandths
STEPS = (1000, 750, 500, 250)
SHIFT = 5.0
TEMPORAL = 4  # pixel frames a latent frame stands for; the first stands for one


def sigma_grid(shift: float = SHIFT) -> Tensor:
    """All noise levels of the training schedule, ``(1000,)`` float64, from 1 downwards.

    Args:
        shift: ``s`` of ``s * sigma / (1 + (s - 1) * sigma)``; 1 spaces the levels evenly, more puts
            more of them at strong noise.

    Raises:
        ValueError: The shift is not positive.
    """
    if shift <= 0:
        raise ValueError(f"shift is a positive number, not {shift}; the released models use 5 or 8")
    even = torch.linspace(1, 0, TRAIN_STEPS + 1, dtype=torch.float64)[:-1]
    return shift * even / (1 + (shift - 1) * even)


def warped_steps(steps: Sequence[int], grid: Tensor) -> list[float]:
    """Timesteps that even steps become on a shifted grid; 0 stays 0.

    Args:
        steps: Whole numbers of thousandths, as configs list them.
        grid: From :func:`sigma_grid`.

    Raises:
        ValueError: A step is no whole number between 0 and 1000.
    """
    if strange := [step for step in steps if step != int(step) or not 0 <= step <= TRAIN_STEPS]:
        raise ValueError(f"steps are whole numbers from 0 to {TRAIN_STEPS}, not {strange}")
    timesteps = [*(grid * TRAIN_STEPS).tolist(), 0.0]
    return [timesteps[TRAIN_STEPS - int(step)] for step in steps]


def nearest_sigma(timestep: float, grid: Tensor) -> float:
    """The noise level of the grid that lies nearest to a timestep; the first of two as near.

    The grid has no level 0, so timestep 0 means its smallest one.
    """
    return float(grid[int((grid * TRAIN_STEPS - timestep).abs().argmin())])


@dataclass(frozen=True)
class Schedule:
    """The steps a block is made in, from strong noise to weak.

    Args:
        timesteps: What the network is told at each step.
        sigmas: The noise level at each step.
        fresh: Whether a step starts from the clean block with fresh noise. If not, it goes straight
            on from where the step before has led, as flow maps and Euler's method do.
    """

    timesteps: tuple[float, ...]
    sigmas: tuple[float, ...]
    fresh: bool = True

    def __post_init__(self) -> None:
        """Check the steps.

        Raises:
            ValueError: There are none, the two lists differ in length, or noise does not fall.
        """
        if not self.timesteps or len(self.timesteps) != len(self.sigmas):
            raise ValueError(
                f"a schedule has as many timesteps as sigmas, and at least one; given "
                f"{len(self.timesteps)} and {len(self.sigmas)}"
            )
        if any(
            later >= sooner for sooner, later in zip(self.sigmas, self.sigmas[1:], strict=False)
        ):
            raise ValueError(f"noise has to fall from step to step, but sigmas are {self.sigmas}")

    def __len__(self) -> int:
        """Evaluations of the network a block takes."""
        return len(self.timesteps)

    def until(self, timestep: float) -> float:
        """The timestep that a step leads to: 0, or where it goes straight on, the next one.

        Raises:
            ValueError: There is no step at ``timestep``.
        """
        if timestep not in self.timesteps:
            raise ValueError(f"no step starts at {timestep}; steps start at {self.timesteps}")
        later = self.timesteps[self.timesteps.index(timestep) + 1 :]
        return 0.0 if self.fresh or not later else later[0]


def few_steps(
    steps: Sequence[int] = STEPS,
    shift: float = SHIFT,
    *,
    warp: bool = True,
    final_zero_step: bool = False,
    fresh: bool = True,
) -> Schedule:
    """The schedule of a distilled video model.

    Args:
        steps: Thousandths, falling. A trailing 0, which some configs list, is left out, as the
            released programs do: ``final_zero_step`` alone decides about it.
        shift: Of the grid the noise levels are looked up in.
        warp: Whether steps count places of the shifted grid (Self-Forcing) or are timesteps as
            they stand (CausVid's 1000, 757, 522).
        final_zero_step: Evaluate the network once more at timestep 0, at the smallest noise level
            of the grid; Krea's model is run so, Self-Forcing's is not.
        fresh: As of :class:`Schedule`; AnyFlow's models are run without.

    Raises:
        ValueError: Steps that do not fall, or lie outside 0 to 1000.
    """
    grid = sigma_grid(shift)
    noisy = steps[:-1] if steps and steps[-1] == 0 else steps
    timesteps = warped_steps(noisy, grid) if warp else [float(step) for step in noisy]
    if strange := [time for time in timesteps if not 0 < time <= TRAIN_STEPS]:
        raise ValueError(f"steps lie between 0 and {TRAIN_STEPS}, not at {strange}")
    if final_zero_step:
        timesteps.append(0.0)
    sigmas = tuple(nearest_sigma(time, grid) for time in timesteps)
    return Schedule(tuple(timesteps), sigmas, fresh)


def x0_from_velocity(noisy: Tensor, velocity: Tensor, sigma: float) -> Tensor:
    """The clean block a prediction points at, in the format of ``noisy``.

    Computed in float64: at strong noise, two large numbers cancel.
    """
    return (noisy.double() - sigma * velocity.double()).to(noisy.dtype)


def renoise(x0: Tensor, noise: Tensor, sigma: float) -> Tensor:
    """A clean block brought back to a noise level, in its own format."""
    return ((1 - sigma) * x0.double() + sigma * noise.double()).to(x0.dtype)


def straight_on(x0: Tensor, state: Tensor, sigma: float, later: float) -> Tensor:
    """The state at a lower noise level on the line from ``state`` at ``sigma`` to ``x0``."""
    return (x0.double() + later / sigma * (state.double() - x0.double())).to(x0.dtype)


def latent_frames(pixel_frames: int, temporal: int = TEMPORAL) -> int:
    """Latent frames of a whole video.

    Raises:
        ValueError: The number is not one more than a multiple of ``temporal``.
    """
    if pixel_frames < 1 or (pixel_frames - 1) % temporal:
        below = max(0, pixel_frames - 1) // temporal * temporal + 1
        raise ValueError(
            f"a video has {temporal}n + 1 frames, not {pixel_frames}; use {below} or "
            f"{below + temporal}"
        )
    return 1 + (pixel_frames - 1) // temporal


def pixel_frames(latent: int, start: int = 0, temporal: int = TEMPORAL) -> int:
    """Pixel frames that ``latent`` latent frames show.

    Args:
        latent: Their number.
        start: Latent frames before them; the very first one shows a single pixel frame.
        temporal: Pixel frames of every other latent frame.
    """
    return latent * temporal - (temporal - 1) * (start == 0 and latent > 0)


def blocks_of(pixel_frames: int, block: int, temporal: int = TEMPORAL) -> int:
    """Blocks of a whole video.

    Args:
        pixel_frames: Of the video.
        block: Latent frames of a block.
        temporal: Pixel frames of a latent frame, the first one apart.

    Raises:
        ValueError: Blocks do not divide the frames; the message names the nearest numbers.
    """
    size = block * temporal
    blocks, rest = divmod(pixel_frames + temporal - 1, size)
    if rest or not blocks:
        first = size - temporal + 1
        near = [str(n * size + first) for n in (blocks - 1, blocks) if n >= 0]
        raise ValueError(
            f"{pixel_frames} frames are no whole number of blocks: the first block has "
            f"{first} frames, every later one {size}; use {' or '.join(near)}"
        )
    return blocks


def tokens_per_frame(height: int, width: int, patch: tuple[int, int] = (2, 2)) -> int:
    """Tokens of a latent frame of ``height`` x ``width`` latent pixels.

    Raises:
        ValueError: The patches do not fill the frame.
    """
    if height % patch[0] or width % patch[1]:
        raise ValueError(
            f"a latent frame of {height} x {width} cannot be cut into patches of {patch[0]} x "
            f"{patch[1]}; its sides have to be multiples of them"
        )
    return (height // patch[0]) * (width // patch[1])
