"""Names and shapes of Wan 2.1's original autoencoder, told from how that program builds it."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

Shapes = dict[str, tuple[int, ...]]
MULTIPLES = (1, 2, 4, 4)
IN_TIME = (False, True, True)  # which of the three steps between resolutions also halve time


def original_shapes(dim: int = 96, channels: int = 16, residuals: int = 2) -> Shapes:
    """All of ``Wan2.1_VAE.pth``, whose sizes are the defaults."""
    return {
        **_conv("conv1", 2 * channels, 2 * channels, 1),
        **_conv("conv2", channels, channels, 1),
        **_encoder(dim, 2 * channels, residuals),
        **_decoder(dim, channels, residuals),
    }


def _encoder(dim: int, out: int, residuals: int) -> Shapes:
    widths = [dim * one for one in (1, *MULTIPLES)]
    found = _conv("encoder.conv1", widths[0], 3, 3)
    place = 0
    for stage, (before, width) in enumerate(pairwise(widths)):
        for inner in range(residuals):
            lead = f"encoder.downsamples.{place}"
            found |= _residual(lead, before if inner == 0 else width, width)
            place += 1
        if stage < len(IN_TIME):
            lead = f"encoder.downsamples.{place}"
            found |= _conv(f"{lead}.resample.1", width, width, (3, 3))
            if IN_TIME[stage]:
                found |= _conv(f"{lead}.time_conv", width, width, (3, 1, 1))
            place += 1
    return {**found, **_ends("encoder", widths[-1], widths[-1], out)}


def _decoder(dim: int, channels: int, residuals: int) -> Shapes:
    widths = [dim * one for one in (MULTIPLES[-1], *reversed(MULTIPLES))]
    found = _conv("decoder.conv1", widths[0], channels, 3)
    place = 0
    for stage, (before, width) in enumerate(pairwise(widths)):
        entering = before // 2 if stage else before  # what enlarges also halves the channels
        for inner in range(residuals + 1):
            lead = f"decoder.upsamples.{place}"
            found |= _residual(lead, entering if inner == 0 else width, width)
            place += 1
        if stage < len(IN_TIME):
            lead = f"decoder.upsamples.{place}"
            found |= _conv(f"{lead}.resample.1", width // 2, width, (3, 3))
            if tuple(reversed(IN_TIME))[stage]:
                found |= _conv(f"{lead}.time_conv", 2 * width, width, (3, 1, 1))
            place += 1
    return {**found, **_ends("decoder", widths[0], widths[-1], 3)}


def _ends(half: str, middle: int, last: int, out: int) -> Shapes:
    return {
        **_residual(f"{half}.middle.0", middle, middle),
        f"{half}.middle.1.norm.gamma": (middle, 1, 1),
        **_conv(f"{half}.middle.1.to_qkv", 3 * middle, middle, (1, 1)),
        **_conv(f"{half}.middle.1.proj", middle, middle, (1, 1)),
        **_residual(f"{half}.middle.2", middle, middle),
        f"{half}.head.0.gamma": (last, 1, 1, 1),
        **_conv(f"{half}.head.2", out, last, 3),
    }


def _residual(lead: str, before: int, width: int) -> Shapes:
    found: Shapes = {
        f"{lead}.residual.0.gamma": (before, 1, 1, 1),
        **_conv(f"{lead}.residual.2", width, before, 3),
        f"{lead}.residual.3.gamma": (width, 1, 1, 1),
        **_conv(f"{lead}.residual.6", width, width, 3),
    }
    return found if before == width else {**found, **_conv(f"{lead}.shortcut", width, before, 1)}


def _conv(name: str, out: int, into: int, size: int | Sequence[int]) -> Shapes:
    sides = (size,) * 3 if isinstance(size, int) else tuple(size)
    return {f"{name}.weight": (out, into, *sides), f"{name}.bias": (out,)}
