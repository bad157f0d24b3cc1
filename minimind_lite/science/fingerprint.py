"""A fingerprint of the code that decides a trial's numbers.

A recorded trial says by which code it was made. That code is every module that its procedure's
module imports, directly or through others. So nobody has to remember to extend a list.
"""

from __future__ import annotations

import ast
import hashlib
import sys
from collections.abc import Iterator
from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[1]
# They name machines, places and files. None of them can change a number of a run.
NOT_NUMERIC = frozenset(
    {
        "minimind_lite.files.provenance",
        "minimind_lite.files.run_folder",
        "minimind_lite.files.work",
        "minimind_lite.science.fingerprint",
        "minimind_lite.science.runner",
        "minimind_lite.science.store",
    }
)


def code_fingerprint(module: str, *, package: Path = PACKAGE) -> str:
    """Of all modules behind `module`; comments, docstrings and layout do not count.

    `package` is the folder of the package; another copy of it may be given.
    """
    text = "\n".join(
        f"{name}\n{_code(_path(name, package))}" for name in numeric_modules(module, package)
    )
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def numeric_modules(module: str, package: Path = PACKAGE) -> list[str]:
    """`module` and what it imports of this package, directly or not, sorted; no `NOT_NUMERIC`."""
    names: set[str] = set()
    waiting = [module]
    while waiting:
        name = waiting.pop()
        if name not in names and name not in NOT_NUMERIC:
            names.add(name)
            waiting += _imports(_path(name, package), package)
    return sorted(names)


def _path(name: str, package: Path) -> Path:
    """Source of a module of the package, or of another one that is loaded (a procedure's own)."""
    if name.split(".")[0] != package.name and (loaded := sys.modules.get(name)) is not None:
        return Path(str(loaded.__file__))
    return package.parent.joinpath(*name.split(".")).with_suffix(".py")


def _imports(path: Path, package: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom):
            candidates = [str(node.module), *(f"{node.module}.{a.name}" for a in node.names)]
        elif isinstance(node, ast.Import):
            candidates = [alias.name for alias in node.names]
        else:
            continue
        for name in candidates:
            if name.split(".")[0] == package.name and _path(name, package).exists():
                yield name


def _code(path: Path) -> str:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if (
            isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
            and ast.get_docstring(node, clean=False) is not None
        ):
            node.body = node.body[1:] or [ast.Pass()]
    return ast.unparse(tree)
