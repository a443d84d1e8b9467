"""Checks of the environment: versions, device, matching builds, disk, packages in the way.

Everything heavy is imported inside the checks, so that a broken library becomes a finding instead
of a traceback.
"""

from __future__ import annotations

import importlib
import importlib.metadata as metadata
import importlib.util
import os
import platform
import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

OUR_PACKAGES = ("mmspec", "lm_drafting", "image_ar", "video_ar", "adapters")
REQUIRED = ("transformers", "tokenizers", "safetensors", "numpy", "pillow", "av")
OPTIONAL = ("diffusers", "timm", "einops", "gradio")

_REINSTALL_PAIR = "install both together: pip install --force-reinstall torch torchvision"
_CPU_INFO = Path("/proc/cpuinfo")
_DISK_WARN_BYTES = 2 * 2**30


@dataclass(frozen=True)
class Finding:
    """One line of the report.

    Attributes:
        level: "ok" to inform, "warn" where something will be slow or missing, "error" where
            something will fail.
        title: What was looked at.
        detail: What was found.
        fix: What to do about it; empty when nothing needs doing.
    """

    level: Literal["ok", "warn", "error"]
    title: str
    detail: str
    fix: str = ""


def check_environment() -> list[Finding]:
    """Runs every check; never raises because of what it finds."""
    findings = [_check_python()]
    findings += _check_torch()
    findings += _check_versions()
    findings.append(_check_disk())
    findings += _check_foreign_packages()
    findings += _check_benchmark_name()
    return findings


def _check_python() -> Finding:
    system = f"{platform.system()} {platform.machine()}"
    return Finding("ok", "python", f"{platform.python_version()} on {system}")


def _check_torch() -> list[Finding]:
    try:
        import torch
    except Exception as error:  # a damaged build raises OSError, RuntimeError, AttributeError ...
        fix = "pip install torch torchvision"
        return [Finding("error", "torch", f"cannot be imported: {_first_line(error)}", fix)]
    findings = [Finding("ok", "torch", torch.__version__), check_torchvision()]
    threads = torch.get_num_threads()
    findings.append(
        Finding("ok", "cpu", f"{threads} torch threads of {os.cpu_count()} logical cores")
    )
    findings.append(_check_cpu_bf16())
    return [*findings, _check_gpu()]


def check_torchvision() -> Finding:
    """Whether torchvision was built for the torch beside it; every picture model needs the pair."""
    import torch

    title = "torchvision"
    try:
        vision = importlib.import_module("torchvision")
    except ModuleNotFoundError as error:
        return Finding("error", title, f"cannot be imported: {error}", "pip install torchvision")
    except Exception as error:  # the mismatch shows as RuntimeError, an old one as OSError
        reason = _first_line(error)
        if "torchvision::" in reason:
            reason = f"it was built for another torch than {torch.__version__} ({reason})"
        return Finding("error", title, f"cannot be imported: {reason}", _REINSTALL_PAIR)
    version = getattr(vision, "__version__", "unknown version")
    theirs = cuda_major(getattr(getattr(vision, "version", None), "cuda", None))
    ours = cuda_major(torch.version.cuda)
    if theirs != ours:
        detail = (
            f"{version} is built for {_cuda_words(theirs)}, "
            f"torch {torch.__version__} for {_cuda_words(ours)}"
        )
        return Finding("error", title, detail, _REINSTALL_PAIR)
    return Finding("ok", title, f"{version}, built for this torch")


def cuda_major(version: object) -> int | None:
    """The major CUDA version of a build: 13 for "13.2" and for 13020, as torchvision writes it."""
    digits = re.match(r"\d+", str(version))
    if digits is None:
        return None
    number = int(digits.group())
    return number // 1000 if number >= 1000 else number


def _cuda_words(major: int | None) -> str:
    return "the CPU only" if major is None else f"CUDA {major}"


def _check_cpu_bf16() -> Finding:
    import torch

    title = "bf16 on cpu"
    vector = torch.backends.cpu.get_cpu_capability()
    flags = cpu_flags()
    if flags is None:
        detail = f"unknown on this system (vector instructions: {vector})"
        return Finding("ok", title, detail, "measure float32 against bfloat16 before choosing")
    native = sorted(flags & {"avx512_bf16", "amx_bf16", "avx_ne_convert", "bf16"})
    if native:
        return Finding("ok", title, f"native: {', '.join(native)} (vector instructions: {vector})")
    detail = f"emulated: no bf16 instructions (vector instructions: {vector})"
    return Finding("warn", title, detail, "use --dtype float32 on this processor")


def cpu_flags() -> frozenset[str] | None:
    """The features Linux lists for the first processor, or None where it does not say."""
    try:
        text = _CPU_INFO.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    found = re.search(r"^(?:flags|Features)\s*:\s*(.+)$", text, re.MULTILINE)
    return frozenset(found.group(1).split()) if found else None


def _check_gpu() -> Finding:
    import torch

    title = "gpu"
    if not torch.cuda.is_available():
        built = torch.version.cuda or torch.version.hip
        why = "this torch is built without CUDA" if built is None else "torch sees no usable device"
        return Finding("ok", title, f"none: {why}; the CPU is used")
    try:
        device = torch.cuda.get_device_properties(0)
        bf16 = (
            "native bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "no bf16"
        )
    except RuntimeError as error:
        fix = "check the driver, or use --device cpu"
        return Finding("error", title, f"it cannot be used: {_first_line(error)}", fix)
    memory = device.total_memory / 2**30
    count = torch.cuda.device_count()
    return Finding("ok", title, f"{count} x {device.name}, {memory:.0f} GiB, {bf16}")


def _check_versions() -> list[Finding]:
    findings = []
    for name in REQUIRED:
        version = _version(name)
        if version is None:
            fix = f"pip install {name}, or install mmspec again"
            findings.append(Finding("error", name, "not installed", fix))
        else:
            findings.append(Finding("ok", name, version))
    for name in OPTIONAL:
        version = _version(name)
        findings.append(Finding("ok", name, version or "not installed (optional)"))
    return findings


def _version(distribution: str) -> str | None:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None


def _check_disk() -> Finding:
    """Room where the Hub's client keeps checkpoints, which is where space runs out."""
    home = os.environ.get("HF_HOME") or Path.home() / ".cache" / "huggingface"
    folder = Path(home).expanduser().absolute()
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    try:
        free = shutil.disk_usage(folder).free
    except OSError as error:
        return Finding("warn", "disk", f"free space is unknown: {error.strerror}")
    detail = f"{free / 2**30:.1f} GiB free for checkpoints; a 7B model in bf16 takes about 15 GiB"
    if free < _DISK_WARN_BYTES:
        return Finding("warn", "disk", detail, "free some space, or set HF_HOME to another disk")
    return Finding("ok", "disk", detail)


def _check_foreign_packages() -> list[Finding]:
    """Finds other projects that own one of our top-level names; `adapters` is a common one."""
    here = Path(__file__).resolve().parent.parent
    owners = metadata.packages_distributions()
    findings = []
    for package in OUR_PACKAGES:
        foreign = sorted({name for name in owners.get(package, ()) if not _all_ours(name)})
        origin = package_folder(package)
        title = f"package {package}"
        who = f"the distribution {', '.join(foreign)}" if foreign else "another project"
        fix = f"pip uninstall {' '.join(foreign)}" if foreign else f"move {origin} off sys.path"
        if origin is None:
            findings.append(
                Finding("error", title, "cannot be found", "install mmspec again: it ships it")
            )
        elif origin.parent != here:
            detail = f"import {package} finds {origin}, which belongs to {who}"
            findings.append(Finding("error", title, detail, f"{fix}, or use a fresh environment"))
        elif foreign:
            detail = f"{who} installs a package of the same name beside ours"
            fix = f"{fix} and install mmspec again, or use a fresh environment"
            findings.append(Finding("warn", title, detail, fix))
    return findings or [Finding("ok", "packages", "our top-level packages are the ones imported")]


def package_folder(package: str) -> Path | None:
    """The folder `import package` would use, without importing it."""
    try:
        spec = importlib.util.find_spec(package)
    except (ImportError, ValueError):
        return None
    if spec is None:
        return None
    folders = [spec.origin and Path(spec.origin).parent, *(spec.submodule_search_locations or ())]
    return next((Path(folder).resolve() for folder in folders if folder), None)


def _check_benchmark_name() -> list[Finding]:
    names = {
        str(found.metadata["Name"])
        for found in metadata.distributions()
        if _is_benchmark_name(found) and not _is_ours(found)
    }
    return [
        Finding(
            "warn",
            f"distribution {name}",
            "this project is unrelated to the MMSpec benchmark (arXiv 2603.14989)",
            f"keep {name} in another environment if its modules clash with ours",
        )
        for name in sorted(names)
    ]


def _is_benchmark_name(found: metadata.Distribution) -> bool:
    name = re.sub(r"[-_.]+", "-", str(found.metadata["Name"])).lower()
    return name == "mmspec" or name.startswith("mmspec-")


def _all_ours(name: str) -> bool:
    return all(_is_ours(found) for found in metadata.distributions(name=name))


def _is_ours(found: metadata.Distribution) -> bool:
    """A name proves nothing; our console script does."""
    return any(entry.value == "mmspec.cli:main" for entry in found.entry_points)


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
