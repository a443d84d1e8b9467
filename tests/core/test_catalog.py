"""The catalog is consistent with the code it points to, and the package is cheap to import."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import save_file

import mmspec
from image_ar.discrete.grid import Grid
from mmspec import catalog, choosing

ROOT = Path(__file__).resolve().parents[2]


def _python(code: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return done.stdout


@pytest.mark.parametrize("row", catalog.METHODS, ids=lambda row: row.name)
def test_rows_point_to_what_exists(row: catalog.Method) -> None:
    target = SimpleNamespace(codebook=torch.eye(16), codebook_normalized=True, grid=Grid(4, 4))
    rule = row.make_rule(catalog.BuildContext(target))  # type: ignore[arg-type]
    assert str(rule.certificate) == row.certificate or row.rule_options
    assert rule.certificate.lossless == row.lossless
    plan = row.plan()
    assert (plan.length == 0) == (row.build == "")
    if row.build:
        assert callable(catalog.resolve(row.build))
        assert plan.nodes >= plan.length >= 1
    json.dumps(row.as_dict())


def test_unknown_method_names_the_known_and_the_nearest() -> None:
    with pytest.raises(ValueError, match=r"did you mean 'eagle'.*prompt-lookup"):
        catalog.get("eagel")
    with pytest.raises(ValueError, match=r"has no option max_gram; it knows .*max_ngram"):
        catalog.get("prompt-lookup").check_options({"max_gram": 1})


def test_plans_take_what_the_user_changed() -> None:
    row = catalog.get("eagle")
    plan = row.plan(draft_length=3, tree_width=1)
    assert (plan.length, plan.width, plan.nodes) == (3, 1, 3)
    assert row.plan(tree_budget=7).nodes == 7
    with pytest.raises(ValueError, match="draft_length must be at least 1"):
        row.plan(draft_length=0)


def test_auto_reads_what_a_drafter_folder_is(llama_folder: Path, tmp_path: Path) -> None:
    assert choosing.choose(drafter=llama_folder)[0].name == "draft-model"
    weights = {"fc.weight": torch.ones(1), "imadpt.q": torch.ones(1)}
    save_file(weights, tmp_path / "model.safetensors")
    assert choosing.choose(drafter=tmp_path)[0].name == "vispec"
    (tmp_path / "model.safetensors").unlink()
    with pytest.raises(ValueError, match=r"none of model\.safetensors"):
        choosing.choose(drafter=tmp_path)
    assert choosing.choose("unheard-of")[0].name == "prompt-lookup"


def test_public_names() -> None:
    for name in mmspec.__all__:
        assert getattr(mmspec, name) is not None
    assert set(mmspec.__all__) <= set(dir(mmspec))
    with pytest.raises(AttributeError, match="offers"):
        mmspec.nothing  # noqa: B018
    assert callable(mmspec.speculative)
    assert callable(mmspec.pipeline)


def test_importing_is_cheap() -> None:
    code = (
        "import sys, mmspec, mmspec.catalog as c; c.names(); mmspec.methods()\n"
        "print([m for m in ('torch', 'transformers', 'numpy', 'PIL') if m in sys.modules])"
    )
    assert _python(code).strip() == "[]"


@pytest.mark.parametrize("words", [["--help"], ["caption", "--help"], ["methods"]])
def test_help_loads_nothing_heavy(words: list[str]) -> None:
    code = (
        f"import sys; from mmspec.cli import main; main({words!r})\n"
        "print([m for m in ('torch', 'transformers', 'numpy', 'PIL') if m in sys.modules])"
    )
    assert _python(code).strip().splitlines()[-1] == "[]"


def test_help_is_fast() -> None:
    """Half a second is the promise; the best of three, and generous for busy machines."""
    spent = []
    for _ in range(3):
        start = time.perf_counter()
        _python("from mmspec.cli import main; main(['--help'])")
        spent.append(time.perf_counter() - start)
    assert min(spent) < 1.5
