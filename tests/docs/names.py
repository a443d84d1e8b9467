"""Whether code that is not run would find its names: imports, variables, members of modules."""

from __future__ import annotations

import ast
import builtins
from collections.abc import Iterator, Mapping
from types import ModuleType
from typing import Any


def unknown_names(code: str, known: Mapping[str, Any], where: str = "code") -> list[str]:
    """Names that ``code`` uses and nobody defines; its imports are really made.

    Args:
        code: Source that is parsed, not run.
        known: What earlier code has defined.
        where: Name of the source.

    Raises:
        SyntaxError: The code is none.
        ImportError: An import of it fails.
    """
    tree = ast.parse(code, where)
    names: dict[str, Any] = dict(known)
    imports = [node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)]
    exec(compile(ast.Module(list(imports), []), where, "exec"), names)
    defined = {*names, *vars(builtins), *_defined(tree)}
    loaded = [node for node in ast.walk(tree) if isinstance(node, ast.Name)]
    missing = [node.id for node in loaded if node.id not in defined]
    return [*missing, *_missing_members(tree, names)]


def _defined(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id
        elif isinstance(node, ast.FunctionDef | ast.ClassDef):
            yield node.name
        elif isinstance(node, ast.arg):
            yield node.arg


def _missing_members(tree: ast.AST, names: Mapping[str, Any]) -> Iterator[str]:
    """Members that modules and classes do not have."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            owner = names.get(node.value.id)
            if isinstance(owner, ModuleType | type) and not hasattr(owner, node.attr):
                yield f"{node.value.id}.{node.attr}"
