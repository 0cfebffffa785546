"""Imports run one way (ARCHITECTURE.md): this test parses them and holds the arrows."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FILES = sorted([*ROOT.glob("gated/**/*.py"), *ROOT.glob("tasks/**/*.py")])

# package -> packages below it that it may import (itself always)
MAY_IMPORT = {
    "gated.errors": (),
    "gated.core.ops": ("gated.errors",),
    "gated.core.nn": ("gated.errors", "gated.core.ops"),
    "gated.core.mixers": ("gated.errors", "gated.core.ops", "gated.core.nn"),
    "gated.registry": ("gated.errors", "tasks"),
    "gated.engine": ("gated.errors", "gated.core", "gated.registry"),
    "gated.cli": ("gated",),
}
HEAVY = ("timm", "torchvision", "torchaudio", "sklearn", "pandas", "matplotlib", "lightning", "soundfile", "triton")


def module_name(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def imports(path: Path) -> list[tuple[str, bool]]:
    """Return (imported module, at import time?) of a file."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    late = {id(n) for f in ast.walk(tree) if isinstance(f, ast.FunctionDef | ast.AsyncFunctionDef) for n in ast.walk(f)}
    late |= {
        id(n)
        for i in ast.walk(tree)
        if isinstance(i, ast.If) and "TYPE_CHECKING" in ast.dump(i.test)
        for n in ast.walk(i)
    }
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [(alias.name, id(node) not in late) for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.append((node.module, id(node) not in late))
    return found


def inside(module: str, packages: tuple[str, ...]) -> bool:
    return any(module == p or module.startswith(p + ".") for p in packages)


@pytest.mark.parametrize("path", FILES, ids=module_name)
def test_imports_run_one_way(path: Path) -> None:
    module = module_name(path)
    for package, allowed in MAY_IMPORT.items():
        if inside(module, (package,)):
            for name, _ in imports(path):
                ours = inside(name, ("gated", "tasks"))
                assert not ours or inside(name, (package, *allowed)) or name == "gated", f"{module} imports {name}"
    if module.startswith("tasks."):
        task = ".".join(module.split(".")[:2])
        for name, _ in imports(path):
            assert not name.startswith("tasks.") or inside(name, (task,)), f"{module} imports another task: {name}"
        if inside(module, (f"{task}.models",)):
            for name, _ in imports(path):
                below = ("gated.core", "gated.errors", f"{task}.models")
                assert not inside(name, ("gated", "tasks")) or inside(name, below), f"{module} imports {name}"


@pytest.mark.parametrize("path", FILES, ids=module_name)
def test_core_imports_torch_alone(path: Path) -> None:
    module = module_name(path)
    # imported where triton can run, see core.ops._op
    about_kernels = path.stem.endswith(("triton", "launches")) or "@triton.jit" in path.read_text()
    if inside(module, ("gated.core",)) and not about_kernels:
        assert not [name for name, _ in imports(path) if name.split(".")[0] in HEAVY]


def test_doors_are_light() -> None:
    """What `--help` and name look-ups import holds no heavy package at import time."""
    doors = [
        p
        for p in FILES
        if p.name in ("registry.py", "cli.py") or inside(module_name(p), ("gated.errors", "gated.cli.main"))
    ]
    doors += [
        p for p in FILES if module_name(p) in ("gated", "tasks", "tasks.vision", "tasks.speech", "tasks.timeseries")
    ]
    assert len(doors) >= 10
    for path in doors:
        heavy = [n for n, now in imports(path) if now and n.split(".")[0] in (*HEAVY, "torch", "numpy", "torchmetrics")]
        assert not heavy, f"{module_name(path)} imports {heavy}"


def test_every_package_is_named_in_the_architecture() -> None:
    text = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
    for package in sorted({module_name(p.parent / "__init__.py") for p in FILES}):
        if package.count(".") <= 2 and not package.startswith("gated.core.ops."):
            assert package.split(".")[-1] in text, package
