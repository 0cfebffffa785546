"""``gated models|mixers|ops|configs|doctor``: what there is, as a table or as JSON."""

from __future__ import annotations

import json
import platform
import re
import shutil
from importlib import metadata
from pathlib import Path
from typing import Any

from gated.cli.main import Parser
from gated.configs import find_config, shipped_names
from gated.errors import UserError

Row = dict[str, Any]


def models(argv: list[str]) -> int:
    """List the models."""
    parser = _parser("models", "List the models that gated.create_model knows.")
    parser.add_argument("pattern", nargs="?", default="*", help='a glob such as "convit*"')
    options = parser.parse_args(argv)
    from gated.registry import _table, list_models

    rows = [
        {
            "model": name,
            "class": _table()[name][0],
            "options": ", ".join(f"{k}={v}" for k, v in _table()[name][1].items()),
        }
        for name in list_models(options.pattern)
    ]
    return _show(rows, options.json)


def mixers(argv: list[str]) -> int:
    """List the mixers with their flags."""
    options = _parser("mixers", "List the token mixers that fit into every model.").parse_args(argv)
    from gated.core import mixers as package

    rows = []
    for name in package.list_mixers():
        mixer = getattr(package, name)
        summary = re.split(r"[,.(]", (mixer.__doc__ or "").strip())[0].strip()
        flags = [f for f in ("needs_grid", "supports_mask", "stateful") if getattr(mixer, f)]
        rows.append(
            {"mixer": name, "flags": " ".join(flags) or "-", "what": summary, "yaml": f"gated.core.mixers.{name}"}
        )
    return _show(rows, options.json)


def ops(argv: list[str]) -> int:
    """List the ops, their forms and what runs here."""
    options = _parser("ops", "List the operations, their forms, and whether each form runs here.").parse_args(argv)
    from importlib import import_module

    import torch

    from gated.core.ops import list_ops
    from gated.core.ops._op import FORMS

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    rows = []
    for name in list_ops():
        op = import_module(f"gated.core.ops.{name}.api").OP
        for form in FORMS:
            reason = op.unavailable(form, device)
            rows.append({"op": name, "form": form, "available": "no" if reason else "yes", "why not": reason or ""})
    return _show(rows, options.json)


def configs(argv: list[str]) -> int:
    """List the configs that ship; ``--copy NAME`` puts one into this folder."""
    parser = _parser("configs", "List the configs that ship, or copy one here to edit it.")
    parser.add_argument("--copy", metavar="NAME", help="write NAME.yaml into this folder")
    options = parser.parse_args(argv)
    if options.copy:
        source = find_config(options.copy)
        target = Path(source.name)
        if target.exists():
            raise UserError(f"{target} exists already", hint="move it away, or copy in another folder")
        shutil.copyfile(source, target)
        print(f"wrote {target}\nnext: edit it, then `gated {source.parent.name} fit -c {target}`")
        return 0
    rows = [{"config": name, "what": _first_comment(find_config(name))} for name in shipped_names()]
    return _show(rows, options.json)


def doctor(argv: list[str]) -> int:
    """Show versions and what this machine can do."""
    options = _parser("doctor", "Show versions and what this machine can do.").parse_args(argv)
    import torch

    rows = [{"what": "python", "found": platform.python_version()}]
    for package in (
        "torch",
        "torchvision",
        "torchaudio",
        "triton",
        "lightning",
        "timm",
        "soundfile",
        "pandas",
        "onnxruntime",
    ):
        try:
            found = metadata.version(package)
        except metadata.PackageNotFoundError:
            found = "not installed"
        rows.append({"what": package, "found": found})
    gpu = torch.cuda.get_device_name(0) if torch.cuda.is_available() else "none: chunk forms run on the CPU"
    rows.append({"what": "GPU", "found": gpu})
    rows.append({"what": "CPU threads", "found": str(torch.get_num_threads())})
    rows.append({"what": "CPU instructions", "found": torch.backends.cpu.get_cpu_capability()})
    return _show(rows, options.json)


def _parser(name: str, about: str) -> Parser:
    parser = Parser(prog=f"gated {name}", description=about)
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    return parser


def _show(rows: list[Row], as_json: bool) -> int:
    if as_json:
        print(json.dumps(rows, indent=1))
        return 0
    if not rows:
        print("nothing found")
        return 0
    widths = {key: max(len(key), *(len(str(row[key])) for row in rows)) for key in rows[0]}
    print("  ".join(key.ljust(width) for key, width in widths.items()).rstrip())
    for row in rows:
        print("  ".join(str(row[key]).ljust(width) for key, width in widths.items()).rstrip())
    return 0


def _first_comment(path: Path) -> str:
    line = path.read_text(encoding="utf-8").splitlines()[0]
    return line.removeprefix("#").strip()
