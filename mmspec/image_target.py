"""What the image pipeline asks of a target, and how targets over picture tokens answer it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from torch import Tensor

from mmspec.sampling import Sampling
from mmspec.token_target import Request, TokenTarget


class ImageTarget(Protocol):
    """A target that draws pictures, whatever its units are.

    Attributes:
        units: ``tokens`` or ``latents``; a method drafts one of them.
        grid: Rows and columns of cells, and where each cell is in the output.
        classes: Names of the classes, where there are any.
        name: What to call the model.
    """

    units: str
    grid: Any
    classes: Sequence[str] | None
    name: str

    def parameters(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """How pictures will be drawn: what is given, else the model's own defaults.

        Args:
            given: Options by name; None stands for "not given".

        Raises:
            ValueError: An option that this kind of model does not have.
        """
        ...

    def request(
        self,
        prompts: Sequence[str] | None,
        class_ids: Sequence[int] | None,
        parameters: Mapping[str, Any],
    ) -> Any:
        """A batch to draw, see :class:`mmspec.roles.Request`.

        Requests of images also have ``greedy``, whether nothing is left to chance, and
        ``brief(n)``, the same with about ``n`` units, for a warm-up.

        Raises:
            ValueError: Something the model does not take.
        """
        ...

    def to_pixels(self, rows: Sequence[Sequence[Any]]) -> Tensor:
        """Pictures ``(batch, 3, height, width)`` in [0, 1] of the units of all cells."""
        ...


class TokenImages(TokenTarget):
    """A target over picture tokens; a subclass has a ``grid``, ``defaults`` and ``prepare``."""

    units = "tokens"
    grid: Any
    defaults: Any

    def prepare(
        self,
        prompts: Sequence[str] | None = None,
        class_ids: Sequence[int] | None = None,
        guidance_scale: float | None = None,
        cfg_interval: int = -1,
    ) -> dict[str, Any]:
        """The decoder's inputs for a batch.

        Raises:
            ValueError: Something the model does not take.
        """
        raise NotImplementedError

    def parameters(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """See :meth:`ImageTarget.parameters`."""
        taken = ("guidance_scale", "temperature", "top_k", "top_p")
        refuse_others(given, (*taken, "cfg_interval"), "models of picture tokens")
        chosen = {
            name: getattr(self.defaults, name) if given.get(name) is None else given[name]
            for name in taken
        }
        interval = given.get("cfg_interval")
        return chosen | {"cfg_interval": -1 if interval is None else interval}

    def request(
        self,
        prompts: Sequence[str] | None,
        class_ids: Sequence[int] | None,
        parameters: Mapping[str, Any],
    ) -> Request:
        """See :meth:`ImageTarget.request`; line ends and the like are forced."""
        sampling = Sampling(
            max_new_tokens=self.grid.length,
            temperature=parameters["temperature"],
            top_k=parameters["top_k"],
            top_p=parameters["top_p"],
            forced_ids=tuple(self.grid.forced_ids()),
        )
        inputs = self.prepare(
            prompts=prompts,
            class_ids=class_ids,
            guidance_scale=parameters["guidance_scale"],
            cfg_interval=parameters["cfg_interval"],
        )
        return Request(inputs, sampling)


def refuse_others(given: Mapping[str, Any], taken: Sequence[str], who: str) -> None:
    """Refuse options that are given and not taken.

    Raises:
        ValueError: Names them and those that are taken.
    """
    unknown = sorted(
        name for name, value in given.items() if value is not None and name not in taken
    )
    if unknown:
        raise ValueError(f"{who} take no {', '.join(unknown)}; they take {', '.join(taken)}")
