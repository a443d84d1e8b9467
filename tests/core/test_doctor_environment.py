from __future__ import annotations

import importlib
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from mmspec import doctor
from mmspec.doctor import Finding, check_environment, check_torchvision, cuda_major

ROOT = Path(doctor.__file__).resolve().parent.parent


def titled(findings: list[Finding], title: str) -> Finding:
    return next(finding for finding in findings if finding.title == title)


@pytest.fixture
def site(tmp_path: Path) -> Path:
    folder = tmp_path / "site"
    folder.mkdir()
    return folder


def install_fake(site: Path, name: str, package: str) -> None:
    """Leaves what pip leaves: a package and its dist-info."""
    (site / package).mkdir()
    (site / package / "__init__.py").write_text("")
    info = site / f"{name.replace('-', '_')}-9.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 9.0\n")
    (info / "top_level.txt").write_text(f"{package}\n")
    (info / "RECORD").write_text(f"{package}/__init__.py,,\n")


def test_every_finding_is_complete_and_this_environment_has_no_error():
    findings = check_environment()
    titles = [finding.title for finding in findings]
    for title in ("python", "torch", "torchvision", "cpu", "bf16 on cpu", "gpu", "disk"):
        assert title in titles
    for finding in findings:
        assert finding.level in ("ok", "warn", "error")
        assert finding.detail
        assert finding.fix or finding.level == "ok" or finding.title == "disk"
    assert torch.__version__ in titled(findings, "torch").detail


def test_importing_the_doctor_loads_nothing_heavy():
    heavy = "{'torch', 'torchvision', 'transformers', 'diffusers', 'PIL', 'av'}"
    code = (
        "import importlib.util, sys\n"
        f"spec = importlib.util.spec_from_file_location('doctor', {doctor.__file__!r})\n"
        "module = importlib.util.module_from_spec(spec)\n"
        "sys.modules['doctor'] = module\n"
        "spec.loader.exec_module(module)\n"
        f"print(sorted({heavy} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


class _Raising:
    """An import hook under which one module fails to import."""

    def __init__(self, name: str, error: Exception) -> None:
        self.name, self.error = name, error

    def find_spec(self, fullname: str, path: object = None, target: object = None) -> None:
        if fullname == self.name:
            raise self.error


def break_import(monkeypatch: pytest.MonkeyPatch, name: str, error: Exception) -> None:
    monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.setattr(sys, "meta_path", [_Raising(name, error), *sys.meta_path])


def test_a_torchvision_built_for_another_torch_is_explained(monkeypatch):
    break_import(
        monkeypatch, "torchvision", RuntimeError("operator torchvision::nms does not exist")
    )
    finding = titled(check_environment(), "torchvision")
    assert finding.level == "error"
    assert "built for another torch" in finding.detail
    assert "torchvision::nms" in finding.detail
    assert "torch torchvision" in finding.fix


def test_a_missing_torchvision_is_explained(monkeypatch):
    break_import(monkeypatch, "torchvision", ModuleNotFoundError("No module named 'torchvision'"))
    finding = check_torchvision()
    assert (finding.level, finding.fix) == ("error", "pip install torchvision")


def test_a_broken_torch_is_a_finding_not_a_traceback(monkeypatch):
    break_import(monkeypatch, "torch", OSError("libtorch_cpu.so: cannot open shared object file"))
    findings = check_environment()
    assert titled(findings, "torch").level == "error"
    assert titled(findings, "transformers").level == "ok"


def test_builds_for_different_cuda_versions_are_reported(monkeypatch):
    monkeypatch.setattr(torch.version, "cuda", "99.1")
    finding = check_torchvision()
    assert finding.level == "error"
    assert "CUDA 99" in finding.detail
    assert "torch torchvision" in finding.fix


@pytest.mark.parametrize(
    ("version", "major"), [("13.2", 13), (13020, 13), ("12.8", 12), (9020, 9), (None, None)]
)
def test_cuda_major(version, major):
    assert cuda_major(version) == major


def test_a_foreign_adapters_that_shadows_ours_is_an_error(monkeypatch, site):
    install_fake(site, "adapter-hub", "adapters")
    monkeypatch.delitem(sys.modules, "adapters", raising=False)
    monkeypatch.syspath_prepend(str(site))
    finding = titled(check_environment(), "package adapters")
    assert finding.level == "error"
    assert "adapter-hub" in finding.detail
    assert str(site / "adapters") in finding.detail
    assert "pip uninstall adapter-hub" in finding.fix


def test_a_foreign_adapters_behind_ours_is_a_warning(monkeypatch, site):
    install_fake(site, "adapter-hub", "adapters")
    monkeypatch.delitem(sys.modules, "adapters", raising=False)
    monkeypatch.setattr(sys, "path", [str(ROOT), *sys.path, str(site)])
    importlib.invalidate_caches()
    finding = titled(check_environment(), "package adapters")
    assert finding.level == "warn"
    assert "adapter-hub" in finding.detail


def test_a_stray_folder_without_distribution_is_named(monkeypatch, site):
    (site / "image_ar").mkdir()
    (site / "image_ar" / "__init__.py").write_text("")
    monkeypatch.delitem(sys.modules, "image_ar", raising=False)
    monkeypatch.syspath_prepend(str(site))
    finding = titled(check_environment(), "package image_ar")
    assert finding.level == "error"
    assert str(site / "image_ar") in finding.detail


def test_our_own_packages_are_the_ones_imported():
    assert titled(check_environment(), "packages").level == "ok"
    for package in doctor.OUR_PACKAGES:
        assert doctor.package_folder(package) == ROOT / package


@pytest.mark.parametrize("name", ["MMSpec", "mmspec-bench"])
def test_the_benchmark_of_the_same_name_is_told_apart(monkeypatch, site, name):
    assert not any("2603.14989" in finding.detail for finding in check_environment())
    install_fake(site, name, "mmspec_benchmark")
    monkeypatch.setattr(sys, "path", [*sys.path, str(site)])
    importlib.invalidate_caches()
    finding = titled(check_environment(), f"distribution {name}")
    assert "2603.14989" in finding.detail


def test_bf16_is_reported_as_the_processor_says(monkeypatch, tmp_path):
    info = tmp_path / "cpuinfo"
    monkeypatch.setattr(doctor, "_CPU_INFO", info)
    assert doctor.cpu_flags() is None
    assert "unknown" in titled(check_environment(), "bf16 on cpu").detail
    info.write_text("processor : 0\nflags\t\t: fpu avx2\n")
    assert titled(check_environment(), "bf16 on cpu").level == "warn"
    info.write_text("processor : 0\nflags\t\t: fpu avx512_bf16 amx_bf16\n")
    finding = titled(check_environment(), "bf16 on cpu")
    assert finding.level == "ok"
    assert "amx_bf16, avx512_bf16" in finding.detail


def test_a_full_disk_is_a_warning(monkeypatch):
    usage = type("Usage", (), {"free": 2**20})
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda folder: usage)
    assert titled(check_environment(), "disk").level == "warn"


def test_a_missing_library_is_an_error(monkeypatch):
    monkeypatch.setattr(doctor, "REQUIRED", ("no-such-library",))
    finding = titled(check_environment(), "no-such-library")
    assert finding.level == "error"
    assert "pip install no-such-library" in finding.fix
