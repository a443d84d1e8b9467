"""Where numbers come from: versions, device, threads, seeds, a hash of the inputs."""

from __future__ import annotations

import hashlib
import platform
import subprocess
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

_PACKAGES = ("mmspec", "torch", "transformers", "torchvision", "pillow", "numpy")


def hardware_line() -> str:
    """One line a person can read: processor or GPU, cores in use, torch version."""
    if torch.cuda.is_available():
        device = torch.cuda.get_device_name(0)
    else:
        threads = torch.get_num_threads()
        device = f"{processor_name()}, {threads} thread{'s' if threads != 1 else ''}"
    return f"{device}, torch {torch.__version__}"


def processor_name() -> str:
    """The processor's name as the operating system tells it."""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def provenance(
    config: dict[str, Any], inputs: Iterable[bytes], dtype: str, device: str
) -> dict[str, Any]:
    """Everything needed to judge or repeat a measurement.

    Args:
        config: Full configuration of the run.
        inputs: Raw bytes of every input, hashed in order.
        dtype: Number format of the models.
        device: Where the target is.
    """
    digest = hashlib.sha256()
    for item in inputs:
        digest.update(item)
    return {
        "hardware": hardware_line(),
        "python": platform.python_version(),
        "versions": {name: _version(name) for name in _PACKAGES},
        "commit": _commit(),
        "device": device,
        "threads": torch.get_num_threads(),
        "dtype": dtype,
        "seeds": "input i draws from seed i, in every repeat and for every method",
        "inputs_sha256": digest.hexdigest(),
        "config": config,
    }


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _commit() -> str | None:
    """The checkout's commit, or None for an installed package."""
    root = Path(__file__).resolve().parents[2]
    try:
        answer = subprocess.run(
            ["git", "-C", str(root), "rev-parse", "HEAD"],
            capture_output=True,
            text=True,
            check=True,
            timeout=10,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return answer.stdout.strip()
