"""What every command that runs a method says about a run: setting, numbers, verdict."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mmspec.pipelines.comparing import Compared

Table = list[tuple[str, ...]]


def headline(result: Compared[Any]) -> str:
    """Model, method, promise and machine in one line."""
    setting = result.setting
    threads = f"{setting['threads']} thread" + ("s" if setting["threads"] != 1 else "")
    return (
        f"{result.model} · {result.method} · {result.certificate} · "
        f"{setting['device']} {setting['dtype']} {threads}"
    )


def numbers(result: Compared[Any], shown: Sequence[tuple[str, str]]) -> Table:
    """Numbers of the run, beside those of the plain one where there is one.

    Args:
        result: What ran.
        shown: Name and pattern of each row; the pattern formats a
            :class:`~mmspec.trace.Metrics`.
    """
    columns = [(result.method, result.metrics)]
    if result.baseline is not None:
        columns.insert(0, ("plain", result.baseline.trace.metrics))
    rows: Table = [("", *(name for name, _ in columns))]
    for name, pattern in shown:
        rows.append((name, *(pattern.format(metrics) for _, metrics in columns)))
    return rows


def verdict(result: Compared[Any], manner: str) -> list[str]:
    """Speed-up and equality, where the plain loop ran too.

    Args:
        result: What ran.
        manner: How outputs would be compared, such as "word for word".
    """
    if result.speedup is None:
        return []
    line = f"speed-up {result.speedup:.2f}x"
    if result.ideal_speedup and result.efficiency:
        line += f" (ideal {result.ideal_speedup:.2f}x, efficiency {result.efficiency:.0%})"
    if result.identical is not None:
        return [line, f"identical to plain decoding: {'yes' if result.identical else 'NO'}"]
    law = "equal in law" if result.lossless else "not equal in law"
    return [line, f"sampled: {law}, not compared {manner}"]
