"""Every op of `gated.core.ops` as data: its tensors by named shape and the options that they are tried with.

Tensors of a case are real: a complex one has a last axis of 2, and a tuple of tensors is given as ``values[0]`` and
``values[1]``. So whatever a property does to tensors (cast, cut, poison, stride) it can do to all of them alike.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any, NamedTuple

import torch

from gated.core import ops
from gated.core.ops._op import GatedOp

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
Tensors = dict[str, torch.Tensor]
Gate = Callable[[torch.Tensor], torch.Tensor]
"""What a gate is made of numbers spread evenly over 0..1."""


class Spec(NamedTuple):
    """A tensor of a case.

    Attributes:
        shape: names of its axes; ``T`` and ``S`` run along time, ``B`` over the batch, a number stands for itself.
        kind: ``normal``, ``unit`` (length 1), ``share`` (0..2), ``gate`` (before its sigmoid), ``log gate`` (at most
            0), ``state``, ``mask`` or ``offsets``.
        is_complex: whether a last axis of 2 holds real and imaginary part.
    """

    shape: str
    kind: str = "normal"
    is_complex: bool = False

    def axis(self, name: str) -> int | None:
        names = self.shape.split()
        return names.index(name) if name in names else None


@dataclass(frozen=True)
class Case:
    """One way to call an op.

    Attributes:
        op: name of the op.
        name: what is special about the call.
        tensors: argument -> what it is, in the order in which the op checks them.
        options: the other arguments; a function is called with the length.
        order: the direction in which nothing flows back, ``forward`` or ``reverse``, or None if all see all.
        typical: whether it stands for its op where every case would take too long: long sequences, compiled and
            exported graphs.
        dynamic: axis whose size an exported graph leaves open.
    """

    op: str
    name: str
    tensors: Mapping[str, Spec]
    options: Mapping[str, Any] = field(default_factory=dict)
    order: str | None = None
    typical: bool = False
    dynamic: str = "T"

    def __str__(self) -> str:
        return f"{self.op}-{self.name}"

    def named(self, *kinds: str) -> list[str]:
        """Arguments of these kinds."""
        return [name for name, spec in self.tensors.items() if spec.kind in kinds]

    def axes(self, axis: str) -> dict[str, int]:
        """Argument -> where ``axis`` is, for those that have it."""
        found = {name: spec.axis(axis) for name, spec in self.tensors.items()}
        return {name: at for name, at in found.items() if at is not None}

    @property
    def packed(self) -> bool:
        return "cu_seqlens" in self.tensors

    @property
    def has_state(self) -> bool:
        return bool(self.options.get("return_state"))

    @property
    def time_axis(self) -> int:
        """Of the outputs, but for a state."""
        return next(iter(self.axes("T").values()))

    def make(
        self,
        length: int,
        *,
        dtype: torch.dtype = torch.float64,
        seed: int = 0,
        gate: Gate | None = None,
        **sizes: int,
    ) -> Tensors:
        """Draw the tensors, the same numbers for every dtype; log gates and states are at least single precision."""
        rng = torch.Generator().manual_seed(seed)
        known = SIZES | {"T": length, "S": length + 3} | sizes
        known |= dict.fromkeys(("HV", "HQ"), 2 * known["H"])
        return {name: self._draw(spec, known, rng, dtype, gate).to(DEVICE) for name, spec in self.tensors.items()}

    def _draw(
        self, spec: Spec, sizes: Mapping[str, int], rng: torch.Generator, dtype: torch.dtype, gate: Gate | None
    ) -> torch.Tensor:
        length = sizes["T"]
        if spec.kind == "offsets":  # one sequence is empty
            return torch.tensor([0, length // 3, length // 3, length // 2, length])
        shape = [sizes[n] if n in sizes else int(n) for n in spec.shape.split()] + [2] * spec.is_complex
        if spec.kind == "mask":
            real = torch.rand(shape, generator=rng) > 0.3
            real[1:] = False  # nothing to look at anywhere
            return real
        drawn = torch.randn(shape, generator=rng, dtype=torch.float64)
        even = torch.rand(shape, generator=rng, dtype=torch.float64)
        if spec.kind == "unit":
            drawn = torch.nn.functional.normalize(drawn, dim=-1)
        elif spec.kind == "share":
            drawn = 2 * even
        elif spec.kind == "gate" and gate is not None:
            drawn = gate(even)
        elif spec.kind == "log gate":
            bound = self.options.get("decay_bound")
            closing = -even if gate is None else gate(even) if bound is None else gate(even).clamp_min(bound)
            drawn = torch.stack((closing[..., 0], drawn[..., 1]), -1) if spec.is_complex else closing
        wide = spec.kind in ("log gate", "state") or spec.is_complex
        return drawn.to(torch.promote_types(dtype, torch.float32) if wide else dtype)

    def __call__(self, tensors: Mapping[str, torch.Tensor], impl: str, **options: Any) -> tuple[torch.Tensor, ...]:
        """Call the op; a complex output gets a last axis of 2, a state that was not asked for is left out."""
        first = next(iter(self.tensors))
        length = tensors[first].shape[self.time_axis]
        made = {name: value(length) if callable(value) else value for name, value in self.options.items()}
        result = getattr(ops, self.op)(**self._arguments(tensors), **made | {"impl": impl} | options)
        parts = (result,) if isinstance(result, torch.Tensor) else result
        return tuple(torch.view_as_real(t) if t.is_complex() else t for t in parts if t is not None)

    def _arguments(self, tensors: Mapping[str, torch.Tensor]) -> dict[str, Any]:
        arguments: dict[str, Any] = {}
        for name, tensor in tensors.items():
            spec = self.tensors.get(name)
            value = torch.view_as_complex(tensor) if spec is not None and spec.is_complex else tensor
            argument, _, member = name.partition("[")
            arguments[argument] = (*arguments.get(argument, ()), value) if member else value
        return arguments


SIZES = {"B": 2, "H": 2, "K": 4, "V": 3, "D": 6, "E": 5, "R": 3, "N": 4, "C0": 2, "C1": 3, "C2": 4}


def declared(op: str) -> GatedOp:
    """How an op was declared."""
    found: GatedOp = import_module(f"gated.core.ops.{op}.api").OP
    return found


def forms(op: str) -> list[str]:
    """The forms that can run here; they are loaded, so that what they register is known."""
    usable = [form for form in declared(op).forms if declared(op).unavailable(form, DEVICE) is None]
    for form in usable:
        declared(op).pick(form, DEVICE)  # type: ignore[arg-type]
    return usable


def _recurrence(op: str, name: str, gate: str | None = None, values: str = "B H T V", **options: Any) -> Case:
    flags = {flag: options.pop(flag, False) for flag in ("masked", "packed", "typical")}
    direction = options.get("direction", "forward")
    tensors = {"q": Spec("B H T K"), "k": Spec("B H T K", "unit"), "v": Spec(values)}
    if op == "delta_recurrence":
        tensors["beta"] = Spec(options.pop("beta", "B H T"), "share")
    if gate is not None:
        tensors["log_decay"] = Spec(gate, "log gate")
    if flags["masked"]:
        tensors["mask"] = Spec("B T", "mask")
    if direction != "both":
        heads = values.split()[1]
        tensors["initial_state"] = Spec(f"{'N' if flags['packed'] else 'B'} {heads} K V", "state")
        options["return_state"] = True
    if flags["packed"]:
        tensors = {n: s._replace(shape=s.shape.replace("B ", "1 ")) for n, s in tensors.items()}
        tensors["cu_seqlens"] = Spec("N+1", "offsets")
    return Case(op, name, tensors, options, None if direction == "both" else direction, flags["typical"])


def _linear() -> list[Case]:
    def case(*arguments: Any, **options: Any) -> Case:
        return _recurrence("linear_recurrence", *arguments, **options)

    return [
        case("none", scale=0.5),
        case("constant", "H"),
        case("head", "B H T", typical=True),
        case("channel", "B H T K"),
        case("bounded", "B H T K", decay_bound=-1.0),
        case("bounded-low", "B H T K", decay_bound=-20.0),
        case("head-reverse", "B H T", direction="reverse"),
        case("bounded-reverse", "B H T K", decay_bound=-5.0, direction="reverse", typical=True),
        case("none-both", direction="both"),
        case("constant-both", "H", direction="both"),
        case("channel-both", "B H T K", direction="both"),
        case("grouped-channel", "B HV T K", "B HV T V"),
        case("masked-channel", "B H T K", masked=True),
        case("masked-constant-both", "HV", "B HV T V", masked=True, direction="both"),
        case("packed-channel", "B H T K", "B HV T V", packed=True),
        case("packed-constant-reverse", "H", packed=True, direction="reverse"),
        case("packed-head-both", "B H T", packed=True, direction="both"),
    ]


def _delta() -> list[Case]:
    def case(*arguments: Any, **options: Any) -> Case:
        return _recurrence("delta_recurrence", *arguments, **options)

    return [
        case("none", scale=0.5),
        case("constant", "H"),
        case("head", "B H T"),
        case("channel", "B H T K"),
        case("bounded", "B H T K", decay_bound=-1.0, typical=True),
        case("channel-reverse", "B H T K", direction="reverse"),
        case("grouped-channel", "B H T K", "B HV T V", beta="B HV T"),
        case("masked-channel", "B H T K", masked=True),
        case("packed-head", "B H T", "B HV T V", packed=True),
        case("packed-bounded-reverse", "B H T K", packed=True, decay_bound=-5.0, direction="reverse"),
    ]


def _scan() -> list[Case]:
    def case(name: str, gate: Spec, x: Spec = Spec("B H T D"), **options: Any) -> Case:  # noqa: B008
        packed, masked, typical = (options.pop(flag, False) for flag in ("packed", "masked", "typical"))
        direction = options.get("direction", "forward")
        tensors = {"x": x, "log_decay": gate._replace(kind="log gate")}
        if masked:
            tensors["mask"] = Spec("B T", "mask")
        if direction != "both":
            heads = "H " if "H" in x.shape else ""
            state = f"{'N' if packed else 'B'} {heads}D"
            tensors["initial_state"] = Spec(state, "state", x.is_complex or gate.is_complex)
            options["return_state"] = True
        if packed:
            tensors = {n: s._replace(shape=s.shape.replace("B ", "1 ")) for n, s in tensors.items()}
            tensors["cu_seqlens"] = Spec("N+1", "offsets")
        return Case("scan", name, tensors, options, None if direction == "both" else direction, typical)

    turning, flat = Spec("B H T D", is_complex=True), Spec("B T D")
    return [
        case("channel", Spec("B H T D")),
        case("head", Spec("B H T 1")),
        case("constant", Spec("H D"), typical=True),
        case("constant-head", Spec("H 1")),
        case("constant-channel", Spec("D")),
        case("complex-gate", turning, typical=True),
        case("complex-input", Spec("B H T D"), turning),
        case("complex-constant", Spec("H D", is_complex=True), turning),
        case("flat", flat, flat),
        case("flat-constant-reverse", Spec("D"), flat, direction="reverse"),
        case("channel-reverse", Spec("B H T D"), direction="reverse"),
        case("complex-reverse", turning, direction="reverse"),
        case("channel-both", Spec("B H T D"), direction="both", typical=True),
        case("constant-both", Spec("H D"), direction="both"),
        case("masked-head", Spec("B H T 1"), masked=True),
        case("masked-constant-both", Spec("H D"), masked=True, direction="both"),
        case("packed-complex", turning, packed=True),
        case("packed-constant-reverse", Spec("H D"), packed=True, direction="reverse"),
        case("packed-flat-both", flat, flat, packed=True, direction="both"),
    ]


def _softmax() -> list[Case]:
    def case(name: str, heads: str = "H H", **options: Any) -> Case:
        flags = ("gate", "weight", "forget", "bias", "mask", "packed", "typical")
        gate, weight, forget, bias, mask, packed, typical = (options.pop(flag, None) for flag in flags)
        h, hk = heads.split()
        s = options.pop("keys", "T")
        tensors = {"q": Spec(f"B {h} T D"), "k": Spec(f"B {hk} {s} D"), "v": Spec(f"B {hk} {s} E")}
        if gate:
            tensors["output_gate"] = Spec(f"B {h} T {gate}", "gate")
        if weight:
            tensors["head_weight"] = Spec(f"B {h} T")
        if mask:
            tensors["key_mask"] = Spec(f"B {s}", "mask")
        for argument in {None: (), "one": ("log_forget",), "pair": ("log_forget[0]", "log_forget[1]")}[forget]:
            tensors[argument] = Spec(f"B {h} T", "log gate")
        if bias:
            tensors["bias_factors[0]"] = Spec(f"1 {h} T R")
            tensors["bias_factors[1]"] = Spec(f"B {hk} {s} R")
        if packed:
            tensors = {n: s._replace(shape=s.shape.replace("B ", "1 ")) for n, s in tensors.items()}
            tensors["cu_seqlens"] = Spec("N+1", "offsets")
        order = "forward" if options.get("causal") else None
        return Case("softmax_attention", name, tensors, options, order, bool(typical))

    return [
        case("plain", scale=0.5),
        case("causal", causal=True, gate="E", typical=True),
        case("head-gate-mask", gate="1", mask=True),
        case("grouped", "HQ H", causal=True, weight=True),
        case("cross", "HQ H", keys="S", bias=True, gate="E"),
        case("cross-mask", keys="S", mask=True, clip=0.5),
        case("forget-causal", "HQ H", causal=True, forget="one", typical=True),
        case("forget", forget="one", gate="E"),
        case("forget-pair-mask", "HQ H", forget="pair", mask=True),
        case("clip-causal", causal=True, clip=2.0),
        case("clip-mask-forget", clip=2.0, mask=True, forget="one"),
        case("signed-mask", signed=True, mask=True),
        case("signed-causal", "HQ H", signed=True, causal=True, forget="one", bias=True),
        case("bias-mask", "HQ H", bias=True, mask=True),
        case("window", window=4, gate="1"),
        case("window-mask-pair", "HQ H", window=9, mask=True, forget="pair", clip=1.0, typical=True),
        case("window-causal", window=7, causal=True, clip=1.0, weight=True),
        case("mask-causal", mask=True, causal=True),
        case("packed-causal", "HQ H", packed=True, causal=True, forget="one", gate="E"),
        case("packed-window", packed=True, window=5, bias=True),
    ]


def _grid(length: int) -> tuple[int, int]:
    """The rows and columns nearest to a square; a prime number of tokens is a row."""
    rows = int(length**0.5)
    while rows and length % rows:
        rows -= 1
    return rows, (length // rows if rows else 4)


def _gpsa() -> list[Case]:
    values, positions = Spec("B H T D"), {"position": Spec("H 3"), "gate": Spec("H", "gate")}
    tensors = {"q": values, "k": values, "v": Spec("B H T E"), **positions}
    return [
        Case("gpsa", "wide", tensors, {"grid": _grid, "scale": 0.3}, typical=True, dynamic="B"),
        Case("gpsa", "tall", tensors, {"grid": lambda length: _grid(length)[::-1]}, dynamic="B"),
    ]


def _local_global() -> list[Case]:
    scores = {name: Spec("B H T D" if "local" in name else "B H T E") for name in _SCORES}
    streams = {"values[0]": Spec("B H T V"), "values[1]": Spec("B H T K")}
    mask = {"mask": Spec("B T", "mask")}
    options: dict[str, Any] = {"group_size": 16}
    causal = options | {"causal": True}
    return [
        Case("local_global", "two-streams", {**scores, **streams}, options, typical=True),
        Case("local_global", "one-stream", {**scores, "values[0]": streams["values[0]"]}),
        Case("local_global", "causal", {**scores, **streams}, causal, "forward", typical=True),
        Case("local_global", "mask", {**scores, **mask, **streams}, options),
        Case("local_global", "mask-causal", {**scores, **mask, **streams}, causal, "forward"),
    ]


def _gated_conv() -> list[Case]:
    def case(
        name: str,
        kernel: str,
        *,
        steps: int = 1,
        state: int | None = None,
        masked: bool = False,
        biased: bool = False,
        typical: bool = False,
        **options: Any,
    ) -> Case:
        channels = ("C0", "C1", "C2")[:steps]
        count = sum(SIZES[c] for c in channels)
        tensors = {
            "x": Spec(f"B T {channels[0]}"),
            "context": Spec(f"B T {count}"),
            "weight": Spec(f"{count} {kernel}"),
        }
        tensors |= {"bias": Spec(f"{count}")} if biased else {}
        for k in range(1, steps):
            tensors[f"mixes[{k - 1}]"] = Spec(f"{channels[k]} {channels[k - 1]}")
        for k in range(1, steps) if biased else ():
            tensors[f"mix_biases[{k - 1}]"] = Spec(channels[k])
        if masked:
            tensors["mask"] = Spec("B T", "mask")
        if state is not None:
            tensors["initial_state"] = Spec(f"B {state} {count}", "state")
            options |= {"causal": True, "return_state": True}
        order = "forward" if state is not None else None
        return Case("gated_conv", name, tensors, options, order, typical, "B" if "grid" in options else "T")

    return [
        case("one-step", "5", activation="sigmoid"),
        case("line", "4", steps=3, biased=True, scale=0.5, typical=True),
        case("causal", "3", steps=2, biased=True, dilation=2, state=4, typical=True),
        case("causal-mask", "4", state=3, masked=True, activation="silu"),
        case("plane", "3 4", steps=3, biased=True, grid=_grid, activation="gelu", typical=True),
        case("plane-mask", "3 3", steps=2, grid=_grid, dilation=2, masked=True),
        case("large", "193", activation="gelu", masked=True),
        case("large-plane", "15 13", steps=2, grid=_grid, dilation=2),
        case("volume", "3 2 3", biased=True, grid=lambda length: (1, *_grid(length))),
    ]


_SCORES = ("q_local", "k_local", "q_global", "k_global")
CASES = [*_linear(), *_delta(), *_scan(), *_softmax(), *_gpsa(), *_local_global(), *_gated_conv()]
