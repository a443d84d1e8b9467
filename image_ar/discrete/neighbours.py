"""The nearest codes of every code of a codebook, as a table that is built once and stored."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from mmspec.files import replace_file

_TABLE = "neighbours"
_FINGERPRINT = "codebook"
_NORMALIZED = "normalize"
# Integer types that safetensors stores and torch can index, smallest first.
_DTYPES = (torch.uint8, torch.int16, torch.int32)


class CodeIds:
    """Which code of a codebook a vocabulary id stands for, and back; identity without a map.

    Args:
        codes: Number of codes.
        ids: ``(codes,)`` vocabulary id of every code; None where ids are codes.

    Raises:
        ValueError: ``ids`` has another length, a negative or a repeated id.
    """

    def __init__(self, codes: int, ids: Tensor | None = None) -> None:
        if ids is None:
            ids = torch.arange(codes)
        if ids.shape != (codes,) or bool((ids < 0).any()) or len(ids.unique()) != codes:
            raise ValueError(
                f"the map from codes to vocabulary ids must hold {codes} different ids >= 0, "
                f"got shape {tuple(ids.shape)}; give one id a code"
            )
        self.ids = ids.long().cpu()
        self.codes = torch.full((int(self.ids.max()) + 1,), -1)
        self.codes[self.ids] = torch.arange(codes)


class Neighbours:
    """The ``k_max`` nearest codes of every code by Euclidean distance of codebook rows.

    LANTERN (arXiv 2410.03355) pools the target's mass over a prefix of such a list. With
    ``normalize`` the rows are first put on the unit sphere, the metric that a decoder of a
    normalised codebook sees; without, distances are those of the stored rows, as in the paper's
    own code.

    Args:
        table: ``(codes, k_max)`` nearest first, the code itself left out.
        fingerprint: Of the codebook, see :func:`fingerprint`.
        normalize: How it was built.
        ids: ``(codes,)`` vocabulary id of every code, for models whose image codes are part of a
            larger vocabulary; None where ids are codes.
    """

    def __init__(
        self, table: Tensor, fingerprint: str, normalize: bool, ids: Tensor | None = None
    ) -> None:
        self.table, self.fingerprint, self.normalize = table, fingerprint, normalize
        self._names = CodeIds(table.shape[0], ids)
        self._placed = {torch.device("cpu"): (table, self._names.codes, self._names.ids)}

    @property
    def codes(self) -> int:
        """Codes in the codebook."""
        return self.table.shape[0]

    @property
    def k_max(self) -> int:
        """Longest list that can be asked for."""
        return self.table.shape[1]

    @classmethod
    def build(
        cls,
        codebook: Tensor,
        k_max: int,
        normalize: bool,
        ids: Tensor | None = None,
        chunk: int = 1024,
    ) -> Neighbours:
        """Compare all rows of ``codebook`` ``(codes, dim)``, ``chunk`` rows at a time.

        Distances are compared in float64; equally near codes are listed in order of their number.

        Raises:
            ValueError: ``k_max`` outside ``1 .. codes - 1``.
        """
        codes = codebook.shape[0]
        _check_k(k_max, codes - 1, least=1)
        rows = codebook.detach().double()
        if normalize:
            rows = torch.nn.functional.normalize(rows, dim=-1)
        dtype = next(d for d in _DTYPES if codes - 1 <= torch.iinfo(d).max)
        table = torch.empty(codes, k_max, dtype=dtype)
        for start in range(0, codes, chunk):
            nearest = _nearest(rows, start, min(start + chunk, codes), k_max)
            table[start : start + len(nearest)] = nearest.to("cpu", dtype)
        return cls(table, fingerprint(codebook), normalize, ids)

    def of(self, units: Tensor, k: int) -> Tensor:
        """The ``k`` nearest vocabulary ids of ``units`` ``(...)``, nearest first, ``(..., k)``.

        Units that stand for no code have none: their entries are -1.

        Raises:
            ValueError: ``k`` is larger than the table is wide.
        """
        _check_k(k, self.k_max)
        table, codes, ids = self._on(units.device)
        known = units < len(codes)
        code = torch.where(known, codes[units.clamp(max=len(codes) - 1)], -1)
        near = ids[table[code.clamp(min=0), :k].long()]
        return torch.where((code >= 0).unsqueeze(-1), near, -1)

    def save(self, path: str | Path) -> None:
        """Write the table and the codebook's fingerprint as safetensors; whole or not at all.

        Raises:
            OSError: The file cannot be written.
        """
        notes = {_FINGERPRINT: self.fingerprint, _NORMALIZED: str(self.normalize).lower()}
        tensors = {_TABLE: self.table.contiguous()}
        replace_file(Path(path), lambda part: save_file(tensors, part, metadata=notes))

    @classmethod
    def load(cls, path: str | Path, codebook: Tensor, ids: Tensor | None = None) -> Neighbours:
        """Read a table that was built from this very codebook.

        Raises:
            ValueError: The file belongs to another codebook or is no such table.
        """
        with safe_open(str(path), "pt") as file:
            notes = file.metadata() or {}
            if _TABLE not in file.keys() or _FINGERPRINT not in notes:  # noqa: SIM118
                raise ValueError(f"{path} holds no neighbour table; build one and save it")
            table = file.get_tensor(_TABLE)
        mark = fingerprint(codebook)
        if notes[_FINGERPRINT] != mark or table.shape[0] != codebook.shape[0]:
            raise ValueError(
                f"{path}: neighbour table of another codebook (fingerprint "
                f"{notes[_FINGERPRINT][:12]}, this one is {mark[:12]}); build it again"
            )
        if table.dtype not in _DTYPES or bool(((table < 0) | (table >= len(table))).any()):
            raise ValueError(f"{path}: the neighbour table is damaged; build it again")
        return cls(table, mark, notes.get(_NORMALIZED) == "true", ids)

    def _on(self, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
        """Table and id maps on ``device``, copied there once."""
        if device not in self._placed:
            table, codes, ids = self._placed[torch.device("cpu")]
            self._placed[device] = (table.to(device), codes.to(device), ids.to(device))
        return self._placed[device]


def fingerprint(codebook: Tensor) -> str:
    """SHA-256 of the shape and the float32 values of a codebook."""
    values = codebook.detach().float().cpu().contiguous()
    return sha256(str(tuple(values.shape)).encode() + values.numpy().tobytes()).hexdigest()


def _nearest(rows: Tensor, start: int, stop: int, k: int) -> Tensor:
    """``(stop - start, k)`` nearest other rows of rows ``start .. stop - 1``."""
    some = rows[start:stop]
    squared = some.square().sum(-1, keepdim=True) + rows.square().sum(-1) - 2 * some @ rows.T
    own = torch.arange(start, stop, device=rows.device).unsqueeze(1)
    squared = squared.scatter(1, own, float("inf"))
    near = squared.topk(k, largest=False).indices.sort(-1).values
    order = squared.gather(1, near).sort(dim=-1, stable=True).indices
    return near.gather(1, order)


def _check_k(k: int, most: int, least: int = 0) -> None:
    if not least <= k <= most:
        raise ValueError(
            f"k must be between {least} and {most}, got {k}; ask for fewer neighbours or build "
            "a wider table (a codebook has one neighbour less than codes)"
        )
