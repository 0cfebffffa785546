from __future__ import annotations

from functools import partial

import pytest
import torch
from torch import nn

from gated.core.mixers import MossFormerAttention, SoftmaxAttention
from gated.errors import UserError
from tasks.timeseries.convert import from_official_gateformer
from tasks.timeseries.models import Gateformer

OFFICIAL = [  # facts of the official scripts: (L=96, patch 8/8) horizon, layers, d_model, d_ff, heads, parameters
    ("ETTh1-96", 96, 1, 64, 64, 4, 133_344),
    ("ETTh1-192", 192, 2, 64, 64, 4, 190_016),
    ("ETTh1-336", 336, 2, 128, 128, 4, 734_288),
    ("ETTh1-720", 720, 2, 64, 64, 4, 224_336),
    ("Exchange-720", 720, 2, 128, 128, 4, 783_824),
    ("PEMS-24", 24, 2, 512, 512, 8, 10_837_016),
    ("ECL-96", 96, 2, 512, 512, 8, 10_873_952),
    ("Traffic-720", 720, 3, 512, 512, 8, 14_350_032),
]


class Official(nn.Module):
    """The published forward pass, put together from ``torch.nn`` only, under the official names."""

    def __init__(self, length, horizon, *, d, ff, layers, heads, patch, stride, dropout=0.1):
        super().__init__()
        self.patch, self.stride, self.heads = patch, stride, heads
        num_patches = (length - patch) // stride + 2
        self.patch_embedding = nn.Module()
        self.patch_embedding.value_embedding = nn.Linear(patch, d, bias=False)
        self.patch_embedding.position_embedding = nn.Module()
        angle = torch.arange(5000.0)[:, None] / 10000 ** (torch.arange(0, d, 2) / d)
        table = torch.stack([angle.sin(), angle.cos()], -1).reshape(1, 5000, d)
        self.patch_embedding.position_embedding.register_buffer("pe", table)
        self.head = nn.Module()
        self.head.linear = nn.Linear(d * num_patches, d)
        self.project_embedding = nn.Module()
        self.project_embedding.value_embedding = nn.Linear(length, d)
        self.gate_w1, self.gate_w2, self.gate_w3, self.gate_w4 = (nn.Linear(d, d) for _ in range(4))

        def encoder():
            layer = nn.TransformerEncoderLayer(d, heads, ff, dropout, batch_first=True, norm_first=True)
            return nn.TransformerEncoder(layer, layers, enable_nested_tensor=False)

        self.enc_temporal, self.enc_variate = encoder(), encoder()
        self.projection = nn.Linear(d, horizon)

    def forward(self, x):
        mean = x.mean(1, keepdim=True)
        std = torch.sqrt(torch.var(x, 1, keepdim=True, unbiased=False) + 1e-5)
        x = ((x - mean) / std).permute(0, 2, 1)
        batch, series, _ = x.shape
        whole = self.project_embedding.value_embedding(x)
        tokens = nn.functional.pad(x, (0, self.stride), mode="replicate").unfold(-1, self.patch, self.stride)
        tokens = self.patch_embedding.value_embedding(tokens.reshape(batch * series, -1, self.patch))
        tokens = self.enc_temporal(tokens + self.patch_embedding.position_embedding.pe[:, : tokens.shape[1]])
        local = tokens.reshape(batch, series, -1, tokens.shape[-1]).permute(0, 1, 3, 2).flatten(2)
        local = self.head.linear(local)
        gate = torch.sigmoid(self.gate_w1(whole) + self.gate_w2(local))
        own = gate * whole + (1 - gate) * local
        heard = self.enc_variate(own)
        gate = torch.sigmoid(self.gate_w3(own) + self.gate_w4(heard))
        out = self.projection(gate * own + (1 - gate) * heard).permute(0, 2, 1)
        return out * std + mean


def scrambled(module: nn.Module) -> nn.Module:
    """Move every weight away from its start, so that nothing agrees by being zero or one."""
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return module.eval()


@pytest.mark.parametrize(
    ("horizon", "layers", "d", "ff", "heads", "count"), [r[1:] for r in OFFICIAL], ids=[r[0] for r in OFFICIAL]
)
def test_parameter_counts_are_the_official_ones(horizon, layers, d, ff, heads, count):
    with torch.device("meta"):
        net = Gateformer(96, horizon, d_model=d, d_ff=ff, num_layers=layers, num_heads=heads)
    assert sum(p.numel() for p in net.parameters()) == count


@pytest.mark.parametrize(
    ("length", "horizon", "d", "ff", "layers", "heads", "patch", "stride", "series"),
    [
        (96, 96, 64, 64, 1, 4, 8, 8, 7),
        (96, 24, 64, 128, 3, 8, 8, 8, 1),
        (50, 7, 32, 48, 2, 4, 8, 4, 3),
        (36, 5, 16, 16, 1, 2, 16, 5, 2),
    ],
)
def test_agrees_with_independent_torch_nn_composition(length, horizon, d, ff, layers, heads, patch, stride, series):
    torch.manual_seed(0)
    official = scrambled(Official(length, horizon, d=d, ff=ff, layers=layers, heads=heads, patch=patch, stride=stride))
    ours = Gateformer(
        length, horizon, d_model=d, d_ff=ff, num_layers=layers, num_heads=heads, patch_size=patch, stride=stride
    ).eval()
    ours.load_state_dict(from_official_gateformer(official.state_dict()))
    x = 3.0 + 5.0 * torch.randn(4, length, series)
    with torch.no_grad():
        assert (ours(x) - official(x)).abs().max() <= 1e-5 * official(x).abs().max().clamp(min=1)


def test_gradients_agree_with_independent_composition():
    torch.manual_seed(1)
    official = scrambled(Official(48, 12, d=32, ff=32, layers=2, heads=4, patch=8, stride=8, dropout=0.0))
    ours = Gateformer(48, 12, d_model=32, d_ff=32, num_layers=2, num_heads=4, dropout=0.0)
    ours.load_state_dict(from_official_gateformer(official.state_dict()))
    x = torch.randn(3, 48, 5)
    for net in (official, ours):
        net.train()
        net(x).square().mean().backward()
    theirs = from_official_gateformer({n: p.grad for n, p in official.named_parameters()})
    for name, parameter in ours.named_parameters():
        torch.testing.assert_close(parameter.grad, theirs[name], atol=1e-5, rtol=1e-4)


def test_convert_names_missing_and_unknown_weights():
    weights = Official(48, 12, d=16, ff=16, layers=2, heads=2, patch=8, stride=8).state_dict()
    del weights["gate_w3.bias"]
    weights["extra.weight"] = torch.zeros(1)
    with pytest.raises(UserError, match=r"missing gate_w3\.bias; unknown extra\.weight"):
        from_official_gateformer(weights)


def test_convert_refuses_other_positions():
    weights = Official(48, 12, d=16, ff=16, layers=1, heads=2, patch=8, stride=8).state_dict()
    weights["patch_embedding.position_embedding.pe"] = torch.zeros(1, 5000, 16)
    with pytest.raises(UserError, match="sinusoidal"):
        from_official_gateformer(weights)


def small(**kwargs) -> Gateformer:
    torch.manual_seed(0)
    return Gateformer(32, 8, **{"d_model": 16, "d_ff": 16, "num_layers": 2, "num_heads": 2, **kwargs})


def test_order_of_variates_does_not_matter():
    net, x, order = scrambled(small()), torch.randn(2, 32, 6), torch.tensor([3, 0, 5, 1, 4, 2])
    with torch.no_grad():
        torch.testing.assert_close(net(x)[..., order], net(x[..., order]), atol=1e-5, rtol=1e-5)


def test_forecast_follows_level_and_scale_of_the_window():
    net, x = scrambled(small()), torch.randn(2, 32, 3)
    with torch.no_grad():
        torch.testing.assert_close(net(1000 + 50 * x), 1000 + 50 * net(x), atol=2e-2, rtol=1e-5)


def test_one_model_serves_any_number_of_series_unless_told():
    assert small()(torch.randn(1, 32, 11)).shape == (1, 8, 11)
    with pytest.raises(UserError, match="num_series=4"):
        small(num_series=4)(torch.randn(1, 32, 11))
    with pytest.raises(UserError, match="input_size=32"):
        small()(torch.randn(1, 31, 11))


def test_gates_are_those_of_the_forward_pass():
    net, x = scrambled(small()), torch.randn(2, 32, 3)
    y, gates = net.forward_with_gates(x)
    torch.testing.assert_close(y, net(x))
    assert gates.temporal.shape == gates.variate.shape == (2, 3, 16)
    assert all(0 < gate.min() < gate.max() < 1 for gate in gates)
    with torch.no_grad():  # a variate gate shut at 1 leaves what the other variates said out of the forecast
        net.variate_gate.from_a.bias.fill_(1e4)
        other = x.clone()
        other[..., 1:] += torch.randn(2, 32, 2)
        torch.testing.assert_close(net(x)[..., 0], net(other)[..., 0])


def test_mixers_are_pluggable_and_stored_in_the_spec():
    gated = partial(SoftmaxAttention, num_heads=4, output_gate="head")
    net = small(temporal_mixer=MossFormerAttention, variate_mixer=gated)
    assert isinstance(net.temporal_layers[0].mixer, MossFormerAttention)
    assert net.variate_layers[1].mixer.gate is not None
    assert net.spec()["init_args"]["variate_mixer"]["init_args"] == {"num_heads": 4, "output_gate": "head"}
    assert net(torch.randn(2, 32, 3)).shape == (2, 8, 3)


def test_causal_variate_mixer_is_refused():
    with pytest.raises(UserError, match="causal=False"):
        small(variate_mixer=partial(SoftmaxAttention, causal=True, num_heads=2))


def test_layers_of_a_stack_start_apart():
    layers = small().temporal_layers
    assert not torch.equal(layers[0].mixer.qkv.weight, layers[1].mixer.qkv.weight)


@pytest.mark.parametrize(("option", "value"), [("patch_size", 33), ("patch_size", 0), ("stride", 0)])
def test_patches_that_do_not_fit_are_named(option, value):
    with pytest.raises(UserError, match=f"{option}={value}"):
        small(**{option: value})


def window(**covariates: int) -> dict[str, torch.Tensor]:
    shapes = {"past": (2, 32), "future": (2, 40), "static": (2,)}
    return {name: torch.randn(*shapes[name], count) for name, count in covariates.items()}


def test_without_covariates_the_model_is_the_papers():
    plain, asked = small(), small(num_past=0, num_future=0, num_static=0, quantiles=())
    assert [n for n, _ in plain.named_parameters()] == [n for n, _ in asked.named_parameters()]
    assert not any(name.startswith(("past", "known", "static", "shortcut")) for name in plain.state_dict())


@pytest.mark.parametrize("kind", ["past", "future", "static"])
def test_each_kind_of_covariate_reaches_the_forecast(kind):
    net, x, more = scrambled(small(**{f"num_{kind}": 3})), torch.randn(2, 32, 4), window(**{kind: 3})
    with torch.no_grad():
        y = net(x, **more)
        other = net(x, **{kind: more[kind] + torch.randn_like(more[kind])})
    assert y.shape == (2, 8, 4)
    assert (y - other).abs().max() > 1e-3


def test_series_keep_their_order_freedom_beside_covariates():
    net, x, order = scrambled(small(num_past=2, num_future=2)), torch.randn(2, 32, 4), torch.tensor([2, 0, 3, 1])
    more = window(past=2, future=2)
    with torch.no_grad():
        torch.testing.assert_close(net(x, **more)[..., order], net(x[..., order], **more), atol=1e-5, rtol=1e-5)


def test_covariates_that_do_not_fit_are_named():
    with pytest.raises(UserError, match=r"future[\s\S]*\[2, 40, 3\] \(num_future=3\)[\s\S]*none"):
        small(num_future=3)(torch.randn(2, 32, 4))
    with pytest.raises(UserError, match="static covariates"):
        small()(torch.randn(2, 32, 4), static=torch.randn(2, 1))


def test_quantiles_do_not_cross_and_follow_the_scale():
    net, x = scrambled(small(quantiles=[0.1, 0.5, 0.9], shortcut=True)), torch.randn(2, 32, 3)
    with torch.no_grad():
        y = net(x)
        torch.testing.assert_close(net(100 + 7 * x), 100 + 7 * y, atol=1e-2, rtol=1e-4)
    assert y.shape == (2, 8, 3, 3)
    assert (y.diff(dim=-1) >= 0).all()
    with pytest.raises(UserError, match="must ascend"):
        small(quantiles=[0.9, 0.1])


def test_untrained_model_can_start_as_a_linear_one():
    net, weight, x = small(shortcut=True).eval(), torch.randn(32, 8), 5 + torch.randn(2, 32, 3)
    net.start_from_linear(weight)
    centred = x - x.mean(1, keepdim=True)
    with torch.no_grad():
        torch.testing.assert_close(
            net(x), torch.einsum("bln,lh->bhn", centred, weight) + x.mean(1, keepdim=True), atol=1e-4, rtol=1e-4
        )
    with pytest.raises(UserError, match="shortcut=True"):
        small().start_from_linear(weight)


@pytest.mark.parametrize(("gates", "off"), [("temporal", "variate_gate"), ("variate", "temporal_gate"), ("none", None)])
def test_gates_can_be_left_out(gates, off):
    net, x = scrambled(small(gates=gates)), torch.randn(2, 32, 3)
    values = net.forward_with_gates(x)[1]
    stuck = {"variate_gate": [values.variate], "temporal_gate": [values.temporal], None: list(values)}[off]
    assert all((value == 0.5).all() for value in stuck)
    assert net.spec()["init_args"]["gates"] == gates


def test_without_variate_layers_no_series_hears_of_another():
    net, x = scrambled(small(num_variate_layers=0)), torch.randn(2, 32, 3)
    other = x.clone()
    other[..., 1:] = torch.randn(2, 32, 2)
    with torch.no_grad():
        torch.testing.assert_close(net(x)[..., 0], net(other)[..., 0])
