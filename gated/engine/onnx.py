"""ONNX graphs of networks, in which each gated recurrence is one ``LinearAttention`` node with its state."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.utils import _pytree as pytree

from gated.core.ops._onnx import DOMAIN, OPERATOR, OPSET, as_onnx
from gated.engine.files import atomic_path
from gated.errors import UserError

if TYPE_CHECKING:
    import onnx_ir

_CONVERTED = 25
"""Newest opset that onnxscript converts to; from here to ``OPSET`` nothing that existed has changed its meaning."""


def export(
    module: nn.Module,
    args: tuple[Any, ...],
    path: str | Path,
    *,
    kwargs: Mapping[str, Any] | None = None,
    dynamic_shapes: Any = None,
    output_names: Sequence[str] | None = None,
) -> None:
    """Write ``module`` as one ONNX file, weights included.

    A call of ``linear_recurrence`` or ``delta_recurrence`` becomes one node, the operator ``LinearAttention`` of opset
    27 (https://onnx.ai/onnx/operators/onnx__LinearAttention.html), unless its ``impl`` is not ``"auto"``
    (``direction="both"`` becomes two); onnxruntime 1.32 runs it. All else becomes plain operators, and a network
    without recurrences stays in the opset that torch writes.

    Args:
        module: the network, in evaluation mode, with recurrences in single precision. A state to be carried from call
            to call is one of its inputs and one of its outputs.
        args: example inputs. An axis that is to vary must be longer than 1, and than the ``group_size`` of a
            ``local_global``: what there is one of stays one in the graph.
        path: the file to write.
        kwargs: example inputs by name, likewise.
        dynamic_shapes: as for ``torch.export``, or with names for the axes that vary: a structure like that of the
            inputs with ``{axis: "name"}`` for a tensor, such as ``({0: "batch", 1: "length"}, {0: "batch"})``.
        output_names: names of the outputs in the graph; inputs are called as ``forward`` calls them.

    Raises:
        UserError: a package of the extra ``export`` is missing, the module is in training mode, or it holds what ONNX
            does not know: recurrences in double precision or over packed rows, complex scans.

    Example:
        >>> mixer = GatedLinearAttention(64, causal=True).eval()
        >>> export(mixer, (torch.randn(2, 100, 64),), "mixer.onnx", dynamic_shapes=({0: "batch", 1: "length"},))
    """
    try:
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise UserError(f"ONNX needs the package {error.name}", hint="pip install 'gated[export]'") from None
    if module.training:
        raise UserError("the network to export is in training mode", hint="call .eval() on it first")
    with atomic_path(path) as temporary, warnings.catch_warnings():
        # said of torch's own doing: an axis named twice, a class of its pytrees
        warnings.filterwarnings("ignore", message="# The axis name")
        warnings.filterwarnings("ignore", category=FutureWarning, module=r"copyreg|torch\..*")
        try:
            graph = torch.onnx.export(
                _traced(module, args, kwargs, dynamic_shapes),
                dynamo=True,
                dynamic_shapes=dynamic_shapes,
                output_names=output_names,
                verbose=False,
            )
        except torch.onnx.OnnxExporterError as error:
            raise UserError("the network holds what ONNX does not know", found=_innermost(error)) from error
        assert graph is not None
        _finish(graph.model)
        graph.save(temporary, external_data=False)


def _traced(
    module: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any] | None, dynamic_shapes: Any
) -> torch.export.ExportedProgram:
    shapes = pytree.tree_map(lambda x: torch.export.Dim.DYNAMIC if isinstance(x, str) else x, dynamic_shapes)
    with as_onnx(), torch.no_grad():
        return torch.export.export(module, args, dict(kwargs or {}), dynamic_shapes=shapes)


def _innermost(error: BaseException) -> str:
    while error.__cause__ is not None:
        error = error.__cause__
    return str(error)


def _finish(model: onnx_ir.Model) -> None:
    """Give the nodes their place in ONNX, which the opset of the graph has to be raised for."""
    import onnx_ir
    from onnxscript import version_converter

    if DOMAIN not in model.opset_imports:
        return
    if model.opset_imports[""] < _CONVERTED:
        version_converter.convert_version(model, _CONVERTED)
    for node in onnx_ir.traversal.RecursiveGraphIterator(model.graph):
        if (node.domain, node.op_type) == (DOMAIN, OPERATOR):
            node.domain, node.version = "", OPSET
    del model.opset_imports[DOMAIN]
    model.opset_imports[""] = max(OPSET, model.opset_imports[""])
