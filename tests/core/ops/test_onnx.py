"""ONNX graphs give in onnxruntime what torch gives, and hold each recurrence as one `LinearAttention`."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from gated.core import mixers, ops
from gated.core.mixers import GatedLinearAttention
from gated.core.ops import delta_recurrence, linear_recurrence, scan, softmax_attention
from gated.engine.onnx import export
from gated.errors import UserError

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")

BATCH, LENGTH, HEADS, WIDTH, VALUES = 2, 7, 2, 4, 3
ALONG = {0: "batch", 2: "length"}
TOKENS = {0: "batch", 1: "length"}


class Function(nn.Module):
    def __init__(self, function: Callable) -> None:
        super().__init__()
        self.function = function

    def forward(self, *args: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return self.function(*args)


class Graph:
    """An exported network, checked, and called like it."""

    def __init__(self, module: nn.Module, args: tuple, folder: Path, dynamic_shapes: tuple | None = None) -> None:
        path = folder / "net.onnx"
        if isinstance(module, Function):  # its forward takes any number of inputs, so they come as one tuple
            dynamic_shapes = None if dynamic_shapes is None else (dynamic_shapes,)
        export(module.eval(), args, path, dynamic_shapes=dynamic_shapes)
        self.model = onnx.load(path)
        onnx.checker.check_model(self.model, full_check=True)
        self.session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])

    def __call__(self, *args: torch.Tensor) -> list[torch.Tensor]:
        names = [x.name for x in self.session.get_inputs()]
        feeds = {name: x.numpy() for name, x in zip(names, args, strict=True)}
        return [torch.from_numpy(x) for x in self.session.run(None, feeds)]

    @property
    def opset(self) -> dict[str, int]:
        return {x.domain: x.version for x in self.model.opset_import}

    def count(self, operator: str) -> int:
        return sum(node.op_type == operator and node.domain == "" for node in self.model.graph.node)


def as_tuple(x: torch.Tensor | tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
    return (x,) if isinstance(x, torch.Tensor) else x


def assert_agree(got: list[torch.Tensor], expected: torch.Tensor | tuple[torch.Tensor, ...]) -> None:
    for x, y in zip(got, as_tuple(expected), strict=True):
        torch.testing.assert_close(x, y, atol=1e-5, rtol=1e-5)


# --- the recurrences

RULES = (("linear", "none"), ("linear", "channel"), ("delta", "none"), ("delta", "head"))
CONSTANT = -torch.tensor([0.1, 0.7])


def tokens(length: int, batch: int = BATCH, groups: int = 1, seed: int = 0) -> dict[str, torch.Tensor]:
    rng = torch.Generator().manual_seed(seed)
    return {
        "q": torch.randn(batch, HEADS, length, WIDTH, generator=rng),
        "k": F.normalize(torch.randn(batch, HEADS, length, WIDTH, generator=rng), dim=-1),
        "v": torch.randn(batch, HEADS * groups, length, VALUES, generator=rng),
        "head": -torch.rand(batch, HEADS, length, generator=rng),
        "channel": -torch.rand(batch, HEADS * groups, length, WIDTH, generator=rng),
        "beta": 2 * torch.rand(batch, HEADS, length, generator=rng),
    }


def states(batch: int = BATCH, seed: int = 1) -> torch.Tensor:
    rng = torch.Generator().manual_seed(seed)
    return torch.randn(batch, len(RULES), HEADS, WIDTH, VALUES, generator=rng)


def recur(rule: str, decay: str, q, k, v, head, channel, beta, **options) -> ops._recurrence.Recurrence:
    gate = {"none": None, "constant": CONSTANT, "head": head, "channel": channel}[decay]
    if rule == "linear":
        return linear_recurrence(q, k, v, gate, **options)
    return delta_recurrence(q, k, v, beta, gate, **options)


class Streaming(nn.Module):
    """Every rule of the operator at once, each with a state of its own: one export instead of four."""

    def forward(self, q, k, v, head, channel, beta, states):
        results = [
            recur(*rule, q, k, v, head, channel, beta, initial_state=states[:, i], return_state=True)
            for i, rule in enumerate(RULES)
        ]
        return torch.stack([r.output for r in results], 1), torch.stack([r.state for r in results], 1)


@pytest.fixture(scope="module")
def streaming(tmp_path_factory: pytest.TempPathFactory) -> Graph:
    x = (*tokens(LENGTH).values(), states())
    return Graph(Streaming(), x, tmp_path_factory.mktemp("onnx"), ((ALONG,) * 6 + ({0: "batch"},)))


def test_a_recurrence_is_one_node(streaming: Graph) -> None:
    assert streaming.count("LinearAttention") == len(RULES)
    assert streaming.opset == {"": 27}
    rules = [
        attribute.s.decode()
        for node in streaming.model.graph.node
        if node.op_type == "LinearAttention"
        for attribute in node.attribute
        if attribute.name == "update_rule"
    ]
    assert rules == ["linear", "gated", "delta", "gated_delta"]
    assert not {"MatMul", "Loop", "Scan"} & {node.op_type for node in streaming.model.graph.node}
    sizes = [[d.dim_param or d.dim_value for d in x.type.tensor_type.shape.dim] for x in streaming.model.graph.input]
    assert sizes[0] == ["batch", HEADS, "length", WIDTH]


@pytest.mark.parametrize(("batch", "length"), [(2, 7), (3, 1), (1, 64), (2, 333)])
def test_any_batch_and_length_agree_with_torch(streaming: Graph, batch: int, length: int) -> None:
    x = (*tokens(length, batch).values(), states(batch))
    expected = Streaming()(*(t.double() for t in x))
    assert_agree(streaming(*x), tuple(t.float() for t in expected))


def test_gates_that_forget_everything_agree_with_torch(streaming: Graph) -> None:
    x = tokens(20)
    x["head"][:, 0, 5] = x["channel"][:, 1, 5] = x["channel"][0, 0, :, 2] = -torch.inf
    x["channel"][1] = -80.0
    assert_agree(streaming(*x.values(), states()), Streaming()(*x.values(), states()))


def test_state_carries_over_every_split(streaming: Graph) -> None:
    x, length = tuple(tokens(9).values()), 9
    output, last = streaming(*x, states())
    for split in range(1, length):
        first, state = streaming(*(t[:, :, :split] for t in x), states())
        second, state = streaming(*(t[:, :, split:] for t in x), state)
        assert_agree([torch.cat((first, second), 3), state], (output, last))
    state, steps = states(), []
    for t in range(length):
        step, state = streaming(*(s[:, :, t : t + 1] for s in x), state)
        steps.append(step)
    assert_agree([torch.cat(steps, 3), state], (output, last))


def around_the_node(*args: torch.Tensor) -> tuple[torch.Tensor, ...]:
    *x, mask, state = args
    return (
        *recur("linear", "channel", *x, direction="reverse", initial_state=state, return_state=True),
        *recur("delta", "channel", *x, direction="reverse", mask=mask, return_state=True, scale=0.3),
        recur("linear", "head", *x, direction="both", mask=mask).output,
        recur("delta", "constant", *x, initial_state=state, scale=1).output,
        recur("linear", "none", *x, scale=0).output,  # the operator's own scale of 0 stands for its default
    )


def grouped(length: int, batch: int = BATCH) -> tuple[torch.Tensor, ...]:
    mask = torch.arange(length * batch).view(batch, length) % 3 > 0
    return (*tokens(length, batch, groups=2).values(), mask, torch.cat((states(batch)[:, 0], states(batch)[:, 1]), 1))


def test_directions_masks_scales_and_groups_stay_around_the_node(tmp_path: Path) -> None:
    graph = Graph(Function(around_the_node), grouped(LENGTH), tmp_path)
    assert graph.count("LinearAttention") == 6
    assert_agree(graph(*grouped(LENGTH)), around_the_node(*grouped(LENGTH)))


@pytest.mark.slow
def test_directions_masks_scales_and_groups_at_any_length(tmp_path: Path) -> None:
    graph = Graph(Function(around_the_node), grouped(LENGTH), tmp_path, ((ALONG,) * 6 + (TOKENS, {0: "batch"})))
    for batch, length in ((2, 7), (3, 1), (1, 100)):
        assert_agree(graph(*grouped(length, batch)), around_the_node(*grouped(length, batch)))


def test_a_mixer_steps_token_by_token(tmp_path: Path) -> None:
    mixer = GatedLinearAttention(16, causal=True).eval()
    state = mixer.init_state(2)
    graph = Graph(Function(mixer.step), (torch.randn(2, 16), state), tmp_path, ({0: "batch"}, {0: "batch"}))
    assert graph.count("LinearAttention") == 1
    x, state, steps = torch.randn(3, 40, 16), mixer.init_state(3), []
    for t in range(40):
        step, state = graph(x[:, t], state)
        steps.append(step)
    with torch.no_grad():
        assert_agree([torch.stack(steps, 1)], mixer(x))


def test_an_explicit_form_and_a_plain_export_know_nothing_of_onnx(tmp_path: Path) -> None:
    x = tuple(tokens(LENGTH).values())[:3]
    written_out = Function(lambda *x: linear_recurrence(*x, impl="chunk").output)
    graph = Graph(written_out, x, tmp_path)
    assert graph.count("LinearAttention") == 0
    assert graph.opset[""] < 27
    assert_agree(graph(*x), written_out(*x))
    automatic = Function(lambda *x: linear_recurrence(*x).output)
    program = torch.export.export(automatic, x)
    torch.testing.assert_close(program.module()(*x), automatic(*x))


def test_what_cannot_be_written_is_said(tmp_path: Path) -> None:
    q, k, v = tuple(tokens(LENGTH, batch=1).values())[:3]
    path = tmp_path / "net.onnx"

    def refused(function: Callable, *args: torch.Tensor, match: str) -> None:
        with pytest.raises(UserError, match=match):
            export(Function(function).eval(), args, path)
        assert not list(tmp_path.iterdir())

    offsets = torch.tensor([0, 3, LENGTH])
    refused(lambda *x: linear_recurrence(*x).output, q.double(), k.double(), v.double(), match="double precision")
    refused(lambda *x: linear_recurrence(*x, cu_seqlens=offsets).output, q, k, v, match="cu_seqlens")
    refused(lambda *x: softmax_attention(*x, cu_seqlens=offsets), q, k, k, match="searchsorted")
    with pytest.raises(UserError, match="training mode"):
        export(GatedLinearAttention(16), (torch.randn(2, 5, 16),), path)


# --- everything else, as plain operators


def of_softmax(length: int, batch: int) -> tuple[torch.Tensor, ...]:
    def draw(heads: int, width: int) -> torch.Tensor:
        return torch.randn(batch, heads, length, width)

    q, k, v, gate, factors = draw(4, 6), draw(2, 6), draw(2, 5), draw(4, 1), (draw(4, 3), draw(2, 3))
    forget = -torch.rand(2, batch, 4, length)
    return q, k, v, gate, *factors, *forget, torch.arange(batch * length).view(batch, length) % 4 > 0


def softmax_options(q, k, v, gate, left, right, past, future, mask) -> tuple[torch.Tensor, ...]:
    options: list[dict] = [
        {},
        {"causal": True, "log_forget": past, "scale": 0.2},
        {"log_forget": past, "window": 5},
        {"log_forget": (past, future), "key_mask": mask},
        {"output_gate": gate, "head_weight": gate[..., 0], "clip": 2.0, "key_mask": mask},
        {"signed": True, "bias_factors": (left, right), "causal": True, "window": 3},
    ]
    return tuple(softmax_attention(q, k, v, **o) for o in options)


def of_scan(length: int, batch: int) -> tuple[torch.Tensor, ...]:
    x, gate = torch.randn(batch, 3, length, 4), -torch.rand(batch, 3, length, 4)
    return x, gate, torch.arange(batch * length).view(batch, length) % 4 > 0, torch.randn(batch, 3, 4)


def scan_options(x, gate, mask, state) -> tuple[torch.Tensor, ...]:
    constant = -torch.arange(1.0, 13.0).view(3, 4) / 20
    return scan(x, constant, initial_state=state, return_state=True, direction="reverse")


def gated_scans(x, gate, mask, state) -> tuple[torch.Tensor, ...]:
    return *scan(x, gate, initial_state=state, return_state=True), scan(x, gate[..., :1], mask=mask).output


def of_local_global(length: int, batch: int) -> tuple[torch.Tensor, ...]:
    x = (torch.randn(batch, 2, length, width) for width in (4, 4, 6, 6, 5))
    return *x, torch.arange(batch * length).view(batch, length) % 4 > 0


def local_global_options(a, b, c, d, v, mask) -> tuple[torch.Tensor, ...]:
    return (
        *ops.local_global(a, b, c, d, (v, 2 * v), group_size=4),
        *ops.local_global(a, b, c, d, (v,), group_size=4, causal=True, mask=mask),
    )


def of_gpsa(length: int, batch: int) -> tuple[torch.Tensor, ...]:
    return *(torch.randn(batch, 2, length, width) for width in (8, 8, 5)), torch.randn(2, 3), torch.randn(2)


def of_gated_conv(length: int, batch: int) -> tuple[torch.Tensor, ...]:
    mask, line, state = (
        torch.arange(batch * length).view(batch, length) % 4 > 0,
        torch.randn(5, 4),
        torch.randn(batch, 3, 5),
    )
    tokens = (torch.randn(batch, length, width) for width in (2, 5))
    return *tokens, line, torch.randn(5), torch.randn(3, 2), torch.randn(3), mask, state


def gated_conv_options(x, context, weight, bias, mix, mix_bias, mask, state) -> tuple[torch.Tensor, ...]:
    options = {"mixes": [mix], "mix_biases": [mix_bias], "mask": mask}
    return (
        ops.gated_conv(x, context, weight, bias, dilation=2, activation="gelu", scale=0.3, **options).output,
        *ops.gated_conv(x, context, weight, causal=True, initial_state=state, return_state=True, **options),
    )


# op -> (inputs for a length and batch, every option, axes that vary); a grid fixes the number of tokens
PLAIN = {
    "softmax_attention": (of_softmax, softmax_options, (ALONG,) * 8 + (TOKENS,)),
    "scan": (of_scan, scan_options, (ALONG, ALONG, TOKENS, {0: "batch"})),
    "local_global": (of_local_global, local_global_options, (ALONG,) * 5 + (TOKENS,)),
    "gated_conv": (of_gated_conv, gated_conv_options, (TOKENS, TOKENS, {}, {}, {}, {}, TOKENS, {0: "batch"})),
    "gpsa": (of_gpsa, lambda *x: ops.gpsa(*x, grid=(3, 4)), ({0: "batch"},) * 3 + ({}, {})),
}


def test_every_op_is_covered() -> None:
    assert set(PLAIN) | {"linear_recurrence", "delta_recurrence"} == set(ops.list_ops())


def test_other_ops_agree_with_torch(tmp_path: Path) -> None:
    sizes = [len(inputs(12, 2)) for inputs, _, _ in PLAIN.values()]

    def every(*args: torch.Tensor) -> tuple[torch.Tensor, ...]:
        rest = iter(args)
        shares = [tuple(itertools.islice(rest, size)) for size in sizes]
        return tuple(
            out
            for (_, function, _), share in zip(PLAIN.values(), shares, strict=True)
            for out in as_tuple(function(*share))
        )

    def draw() -> tuple[torch.Tensor, ...]:
        return tuple(x for inputs, _, _ in PLAIN.values() for x in inputs(12, 2))

    x, graph = draw(), Graph(Function(every), draw(), tmp_path)
    assert graph.opset[""] < 27
    assert_agree(graph(*x), every(*x))


@pytest.mark.slow
@pytest.mark.parametrize("op", [*PLAIN, "scan with gates"])
def test_other_ops_agree_with_torch_at_any_length(op: str, tmp_path: Path) -> None:
    inputs, function, axes = PLAIN[op.split()[0]]
    function = gated_scans if op == "scan with gates" else function
    graph = Graph(Function(function), inputs(12, 2), tmp_path, axes)
    for length, batch in [(12, 2), (12, 3)] if op == "gpsa" else [(12, 2), (5, 3), (50, 1), (333, 2)]:
        x = inputs(length, batch)
        assert_agree(graph(*x), function(*x))


# --- the mixers


class OnGrid(nn.Module):
    def __init__(self, mixer: mixers.TokenMixer) -> None:
        super().__init__()
        self.mixer = mixer

    def forward(self, x_BND: torch.Tensor) -> torch.Tensor:
        return self.mixer(x_BND, grid=(3, 4) if self.mixer.needs_grid else None)


NODES = {"GatedDeltaNet": 2, "GatedLinearAttention": 2}
NAMES = [n if n == "GatedDeltaNet" else pytest.param(n, marks=pytest.mark.slow) for n in mixers.list_mixers()]


@pytest.mark.parametrize("name", NAMES)
def test_mixers_agree_with_torch(name: str, tmp_path: Path) -> None:
    mixer = OnGrid(getattr(mixers, name)(16))
    x = torch.randn(2, 12, 16)
    graph = Graph(mixer, (x,), tmp_path)
    assert graph.count("LinearAttention") == NODES.get(name, 0)
    with torch.no_grad():
        assert_agree(graph(x), mixer(x))


@pytest.mark.slow
@pytest.mark.parametrize("name", [n for n in mixers.list_mixers() if not getattr(mixers, n).needs_grid])
def test_mixers_agree_with_torch_at_any_length(name: str, tmp_path: Path) -> None:
    mixer = getattr(mixers, name)(16)
    graph = Graph(mixer, (torch.randn(2, 300, 16),), tmp_path, (TOKENS,))
    for batch, length in ((2, 300), (3, 1), (1, 17), (1, 1000)):
        x = torch.randn(batch, length, 16)
        with torch.no_grad():
            assert_agree(graph(x), mixer(x))
