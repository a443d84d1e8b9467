"""The target that draws pictures of classes as latent vectors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from math import isfinite
from typing import Any

import torch
from torch import Tensor

from adapters.mar.decoders import CausalDecoder, MaskedDecoder
from adapters.mar.schedule import CONSTANT, LINEAR
from adapters.mar.vae import LatentVAE
from image_ar.continuous.request import Denoising, LatentRequest
from image_ar.continuous.target import LatentTarget
from image_ar.discrete.grid import Grid
from mmspec.image_target import refuse_others


@dataclass(frozen=True)
class LatentDefaults:
    """How a model likes to be sampled.

    Attributes:
        guidance_scale: Strength of classifier-free guidance; 1 is none.
        temperature: Factor on the noise of every denoising step.
        num_inference_steps: Denoising steps of a vector.
        num_ar_steps: Steps in which a masked model fills a picture; None is one a cell.
        guidance_schedule: ``linear``, weak at first and full at the end, or ``constant``.
    """

    guidance_scale: float = 2.9
    temperature: float = 1.0
    num_inference_steps: int = 100
    num_ar_steps: int | None = None
    guidance_schedule: str = LINEAR


class LatentImageTarget(LatentTarget):
    """An :class:`mmspec.image_target.ImageTarget` over latent vectors.

    Args:
        decoder: The network behind its adapter.
        vae: Turns vectors into pixels.
        classes: Names of the classes, None where only their number is known.
        defaults: How the model likes to be sampled.
        name: What to call the model.

    Raises:
        ValueError: The autoencoder's vectors are not those of the network.
    """

    units = "latents"

    def __init__(
        self,
        decoder: CausalDecoder | MaskedDecoder,
        vae: LatentVAE,
        *,
        classes: Sequence[str] | None = None,
        defaults: LatentDefaults | None = None,
        name: str = "mar",
    ) -> None:
        super().__init__(decoder)
        config = decoder.config
        if vae.token_width != config.token_width:
            raise ValueError(
                f"the autoencoder makes vectors of {vae.token_width} numbers and the network draws "
                f"{config.token_width}; they belong to different models, load a matching pair"
            )
        if classes is not None and len(classes) != config.classes:
            raise ValueError(f"{len(classes)} names given for {config.classes} classes")
        self.config, self.vae, self.name = config, vae, name
        self.grid = Grid(config.rows, config.columns)
        self.classes = None if classes is None else tuple(classes)
        self.defaults = defaults or LatentDefaults()
        self.denoising_steps = self.defaults.num_inference_steps

    @property
    def device(self) -> torch.device:
        """Where the network is."""
        return self.network.device

    @property
    def dtype(self) -> torch.dtype:
        """Number format of the network."""
        return self.network.dtype

    @property
    def network(self) -> Any:
        """The network behind the adapter."""
        decoder: Any = self.decoder
        return decoder.model

    def parameters(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """What is given, else the defaults.

        Raises:
            ValueError: An option of models of picture tokens.
        """
        names = [field.name for field in fields(LatentDefaults)]
        refuse_others(given, names, "models of latent vectors")
        return {
            name: getattr(self.defaults, name) if given.get(name) is None else given[name]
            for name in names
        }

    def request(
        self,
        prompts: Sequence[str] | None,
        class_ids: Sequence[int] | None,
        parameters: Mapping[str, Any],
    ) -> LatentRequest:
        """A batch to draw.

        Raises:
            ValueError: Prompts, a class out of range, or numbers out of range.
        """
        if prompts or not class_ids:
            raise ValueError(
                f"'{self.name}' draws classes by number, not prompts; give class_id (--class-id), "
                "and see --list-classes"
            )
        for number in class_ids:
            if not 0 <= number < self.config.classes:
                raise ValueError(
                    f"class {number} is out of range; there are {self.config.classes} classes, "
                    f"0 to {self.config.classes - 1}"
                )
        scale, schedule = parameters["guidance_scale"], parameters["guidance_schedule"]
        if not (isfinite(scale) and scale >= 0):
            raise ValueError(f"guidance_scale must be 0 or above (1 is no guidance), got {scale}")
        if schedule not in (CONSTANT, LINEAR):
            raise ValueError(f"guidance_schedule must be linear or constant, got {schedule!r}")
        steps = parameters["num_inference_steps"]
        if not 2 <= steps <= self.config.base_steps:
            raise ValueError(
                f"num_inference_steps must be between 2 and {self.config.base_steps}, got {steps}"
            )
        labels = torch.tensor(list(class_ids), device=self.device)
        inputs = {
            "labels": labels,
            "guidance_scale": torch.full((len(labels),), float(scale), device=self.device),
            "schedule": schedule,
        }
        denoising = Denoising(steps=steps, temperature=parameters["temperature"])
        return LatentRequest(inputs, self.grid.cells, denoising, parameters["num_ar_steps"])

    @torch.inference_mode()
    def to_pixels(self, rows: Sequence[Sequence[Sequence[float]]] | Tensor) -> Tensor:
        """Pictures of complete grids.

        Args:
            rows: ``(batch, cells, width)`` vectors in raster order.

        Returns:
            ``(batch, 3, height, width)`` in [0, 1].

        Raises:
            ValueError: Another number of vectors than cells.
        """
        vectors = rows if isinstance(rows, Tensor) else torch.tensor(rows)
        if vectors.ndim != 3 or vectors.shape[1] != self.grid.cells:
            raise ValueError(
                f"a picture has {self.grid.cells} vectors ({self.grid.rows} x {self.grid.columns}),"
                f" got shape {tuple(vectors.shape)}; let the picture be finished"
            )
        vectors = vectors.to(self.vae.device, self.vae.dtype)
        return self.vae.decode(vectors, (self.grid.rows, self.grid.columns))
