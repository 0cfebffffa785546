"""Official names in, our weights out, and the same function: composed anew here, dense, with plain torch.nn."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from gated.engine.convert import convert_weights
from gated.errors import UserError
from tasks.speech.models import MossFormer, MossFormer2

DIM, ENCODER_DIM, DEPTH, MEMORY = 12, 10, 2, 8
GROUP, QK, ROTARY = 256, 128, 32


def tree(**modules: nn.Module) -> nn.ModuleDict:
    return nn.ModuleDict(modules)


def frequencies(width: int) -> torch.Tensor:
    return 1 / 10_000 ** (torch.arange(0, width, 2) / width)


class Gain(nn.Module):
    def __init__(self, dim: int) -> None:
        super().__init__()
        self.g = nn.Parameter(torch.ones(1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.g * x / x.square().mean(-1, keepdim=True).sqrt().clamp(min=1e-5)


class Around(nn.Module):
    """The convolution with its residual, under the official name ``sequential.1.conv``."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        conv = nn.Conv1d(dim, dim, 17, padding=8, groups=dim, bias=False)
        self.sequential = nn.ModuleList([nn.Identity(), tree(conv=conv)])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.sequential[1]["conv"](x.mT).mT


def conv_module(dim_in: int, dim_out: int, norm: Callable[[int], nn.Module] = Gain) -> nn.ModuleDict:
    return tree(mdl=nn.Sequential(norm(dim_in), nn.Linear(dim_in, dim_out), nn.SiLU(), Around(dim_out)))


def attention_layer() -> nn.ModuleDict:
    return tree(
        rotary_pos_emb=nn.ParameterDict({"freqs": frequencies(ROTARY)}),
        to_hidden=conv_module(DIM, 4 * DIM),
        to_qk=conv_module(DIM, QK),
        qk_offset_scale=nn.ParameterDict({"gamma": torch.ones(4, QK), "beta": torch.zeros(4, QK)}),
        to_out=conv_module(2 * DIM, DIM),
    )


def rotate(x: torch.Tensor, freqs: torch.Tensor) -> torch.Tensor:
    turn = torch.polar(torch.ones(()), torch.arange(x.shape[1])[:, None] * freqs)
    pairs = torch.view_as_complex(x[..., :ROTARY].unflatten(-1, (-1, 2)).contiguous())
    return torch.cat((torch.view_as_real(pairs * turn).flatten(-2), x[..., ROTARY:]), -1)


def attend(layer: nn.ModuleDict, x: torch.Tensor) -> torch.Tensor:
    """One MossFormer layer with its residual, every score of the whole sequence written out."""
    n, half = x.shape[1], DIM // 2
    delayed = torch.cat((torch.zeros_like(x[:, :1, :half]), x[:, :-1, :half]), 1)
    shifted = torch.cat((delayed, x[..., half:]), -1)
    v, u = layer["to_hidden"]["mdl"](shifted).chunk(2, -1)
    z = layer["to_qk"]["mdl"](shifted)
    scale, freqs = layer["qk_offset_scale"], layer["rotary_pos_emb"]["freqs"]
    quad_q, lin_q, quad_k, lin_k = (rotate(z * scale["gamma"][i] + scale["beta"][i], freqs) for i in range(4))
    group = torch.arange(n) // GROUP
    scores = F.relu(quad_q @ quad_k.mT / GROUP).square() * (group[:, None] == group) + lin_q @ lin_k.mT / n
    gated = (scores @ u * v) * torch.sigmoid(scores @ v * u)
    return x + layer["to_out"]["mdl"](gated)


def memory_layer() -> nn.ModuleDict:
    def dilated(i: int) -> nn.Conv2d:
        padding = (19 * 2**i, 0)
        return nn.Conv2d(
            (i + 1) * MEMORY, MEMORY, (39, 1), dilation=(2**i, 1), padding=padding, groups=MEMORY, bias=False
        )

    dense = {f"conv{i + 1}": dilated(i) for i in range(2)}
    dense |= {f"norm{i + 1}": nn.InstanceNorm2d(MEMORY, affine=True) for i in range(2)}
    dense |= {f"prelu{i + 1}": nn.PReLU(MEMORY) for i in range(2)}
    return tree(
        conv1=nn.Sequential(nn.Conv1d(DIM, MEMORY, 1), nn.PReLU()),
        norm1=nn.LayerNorm(MEMORY),
        gated_fsmn=tree(
            to_u=conv_module(MEMORY, MEMORY, nn.LayerNorm),
            to_v=conv_module(MEMORY, MEMORY, nn.LayerNorm),
            fsmn=tree(
                linear=nn.Linear(MEMORY, MEMORY), project=nn.Linear(MEMORY, MEMORY, bias=False), conv=tree(**dense)
            ),
        ),
        norm2=nn.LayerNorm(MEMORY),
        conv2=nn.Conv1d(MEMORY, DIM, 1),
    )


def remember(layer: nn.ModuleDict, x: torch.Tensor) -> torch.Tensor:
    """One memory of MossFormer2 with its residual."""
    inside = layer["norm1"](layer["conv1"](x.mT).mT)
    gate, fsmn = layer["gated_fsmn"], layer["gated_fsmn"]["fsmn"]
    u = gate["to_u"]["mdl"](inside)
    image = fsmn["project"](F.relu(fsmn["linear"](u))).mT[..., None]
    first, second = (
        lambda y, i=i: fsmn["conv"][f"prelu{i}"](fsmn["conv"][f"norm{i}"](fsmn["conv"][f"conv{i}"](y))) for i in (1, 2)
    )
    out = second(torch.cat((first(image), image), 1))
    inside = inside + gate["to_v"]["mdl"](inside) * (u + out[..., 0].mT)
    return x + layer["conv2"](layer["norm2"](inside).mT).mT


def network(num_speakers: int, mdl: nn.ModuleDict) -> nn.ModuleDict:
    return tree(
        norm=nn.GroupNorm(1, ENCODER_DIM, eps=1e-8),
        conv1d_encoder=nn.Conv1d(ENCODER_DIM, DIM, 1, bias=False),
        pos_enc=nn.ParameterDict({"scale": torch.ones(1), "inv_freq": frequencies(DIM)}),
        mdl=mdl,
        conv1d_out=nn.Conv1d(DIM, DIM * num_speakers, 1),
        conv1_decoder=nn.Conv1d(DIM, ENCODER_DIM, 1, bias=False),
        prelu=nn.PReLU(),
        output=nn.Sequential(nn.Conv1d(DIM, DIM, 1), nn.Tanh()),
        output_gate=nn.Sequential(nn.Conv1d(DIM, DIM, 1), nn.Sigmoid()),
    )


def encoder() -> nn.ModuleDict:
    return tree(conv1d=nn.Conv1d(1, ENCODER_DIM, 16, stride=8, bias=False))


def decoder() -> nn.Module:
    return nn.ConvTranspose1d(ENCODER_DIM, 1, 16, stride=8, bias=False)


def official_v1(num_speakers: int) -> nn.ModuleDict:
    layers = nn.ModuleList(attention_layer() for _ in range(DEPTH))
    attention = tree(mossformerM=tree(layers=layers), norm=tree(norm=nn.LayerNorm(DIM, eps=1e-6)))
    mdl = tree(att_mdl=attention, att_norm=nn.GroupNorm(1, DIM, eps=1e-8))
    return randomised(tree(encoder=encoder(), decoder=decoder(), mask_net=network(num_speakers, mdl)))


def official_v2(num_speakers: int) -> nn.ModuleDict:
    layers = nn.ModuleList(attention_layer() for _ in range(DEPTH))
    memories = nn.ModuleList(memory_layer() for _ in range(DEPTH))
    inner = tree(mossformerM=tree(layers=layers, fsmn=memories), norm=nn.LayerNorm(DIM, eps=1e-6))
    mdl = tree(intra_mdl=inner, intra_norm=nn.GroupNorm(1, DIM, eps=1e-8))
    return randomised(tree(model=tree(enc=encoder(), dec=decoder(), mask_net=network(num_speakers, mdl))))


def randomised(net: nn.ModuleDict) -> nn.ModuleDict:
    torch.manual_seed(1)
    for name, parameter in net.named_parameters():
        parameter.requires_grad_(False)
        if name.endswith("gamma"):
            parameter.normal_()
        elif not name.endswith("freqs") and not name.endswith("inv_freq"):
            parameter.add_(torch.randn_like(parameter) * 0.1)
    return net


def separate(enc: nn.Module, dec: nn.Module, net: nn.ModuleDict, mixture: torch.Tensor) -> torch.Tensor:
    encoded = F.relu(enc["conv1d"](mixture[:, None]))
    x = net["conv1d_encoder"](net["norm"](encoded)).mT
    angle = torch.arange(x.shape[1])[:, None] * net["pos_enc"]["inv_freq"]
    skip = x = x + net["pos_enc"]["scale"] * torch.cat((angle.sin(), angle.cos()), -1)
    if "att_mdl" in net["mdl"]:
        stack, norm = net["mdl"]["att_mdl"], net["mdl"]["att_norm"]
        last = stack["norm"]["norm"]
    else:
        stack, norm = net["mdl"]["intra_mdl"], net["mdl"]["intra_norm"]
        last = stack["norm"]
    for i, layer in enumerate(stack["mossformerM"]["layers"]):
        x = attend(layer, x)
        if "fsmn" in stack["mossformerM"]:
            x = remember(stack["mossformerM"]["fsmn"][i], x)
    x = net["conv1d_out"](net["prelu"](norm(last(x).mT) + skip.mT))
    masks = [F.relu(net["conv1_decoder"](net["output"](y) * net["output_gate"](y))) for y in x.split(DIM, 1)]
    sources = torch.stack([dec(encoded * mask)[:, 0] for mask in masks], 1)
    return F.pad(sources, (0, mixture.shape[-1] - sources.shape[-1]))


@pytest.mark.parametrize("num_speakers", [2, 3])
@pytest.mark.parametrize("length", [24, 3005])
@pytest.mark.parametrize("version", [1, 2])
def test_converted_weights_give_the_official_function(version: int, num_speakers: int, length: int) -> None:
    official = official_v1(num_speakers) if version == 1 else official_v2(num_speakers)
    mixture = torch.randn(2, length, generator=torch.Generator().manual_seed(length))
    sizes = {"depth": DEPTH, "encoder_dim": ENCODER_DIM}
    if version == 1:
        ours: nn.Module = MossFormer(num_speakers, DIM, **sizes)
        converted = convert_weights(official.state_dict(), "official/mossformer")
        expected = separate(official["encoder"], official["decoder"], official["mask_net"], mixture)
    else:
        ours = MossFormer2(num_speakers, DIM, **sizes, memory_dim=MEMORY)
        converted = convert_weights(official.state_dict(), "clearvoice/mossformer2")
        model = official["model"]
        expected = separate(model["enc"], model["dec"], model["mask_net"], mixture)
    ours.load_state_dict(converted, strict=True)
    with torch.no_grad():
        actual = ours.eval()(mixture)
    assert expected.abs().max() > 1e-3
    assert (actual - expected).abs().max() / expected.abs().max() < 1e-5


def test_every_official_layout_gives_the_same_weights() -> None:
    v1, v2 = official_v1(2).state_dict(), official_v2(2).state_dict()
    same_v1 = [v1, {k.replace("mask_net.", "masknet."): t for k, t in v1.items()}]
    same_v1 += [{k: t for k, t in v1.items() if not k.endswith(("freqs", "inv_freq"))}]
    same_v2 = [v2, {f"module.{k}": t for k, t in v2.items()}, {k.removeprefix("model."): t for k, t in v2.items()}]
    for source, layouts in (("official/mossformer", same_v1), ("clearvoice/mossformer2", same_v2)):
        first, *others = [convert_weights(layout, source) for layout in layouts]
        for other in others:
            assert list(other) == list(first)
            assert all(torch.equal(other[name], first[name]) for name in first)


@pytest.mark.parametrize(
    ("make", "source", "lost"),
    [
        (official_v1, "official/mossformer", "mask_net.mdl.att_mdl.mossformerM.layers.1.to_qk.mdl.0.g"),
        (official_v1, "official/mossformer", "encoder.conv1d.weight"),
        (official_v2, "clearvoice/mossformer2", "model.mask_net.mdl.intra_mdl.mossformerM.fsmn.0.norm2.bias"),
    ],
)
def test_missing_and_unknown_names_are_listed(make: Callable[[int], nn.Module], source: str, lost: str) -> None:
    state = make(2).state_dict()
    state["surprise.weight"] = state.pop(lost)
    with pytest.raises(UserError, match="does not fit") as error:
        convert_weights(state, source)
    assert f"missing: {lost.removeprefix('model.')}" in str(error.value)
    assert "not understood: surprise.weight" in str(error.value)


def test_a_layer_that_only_one_half_has_is_missing_in_the_other() -> None:
    state = official_v2(2).state_dict()
    half = {name: tensor for name, tensor in state.items() if ".fsmn.1." not in name}
    with pytest.raises(UserError, match=r"mossformerM\.fsmn\.1\.conv1\.0\.bias.* and \d+ more"):
        convert_weights(half, "clearvoice/mossformer2")


def test_other_rotary_frequencies_are_refused() -> None:
    state = official_v1(2).state_dict()
    name = "mask_net.mdl.att_mdl.mossformerM.layers.0.rotary_pos_emb.freqs"
    state[name] = 1 / 500 ** (torch.arange(0, ROTARY, 2) / ROTARY)
    with pytest.raises(UserError, match=r"rotary_pos_emb\.freqs differs"):
        convert_weights(state, "official/mossformer")


def test_a_wide_kernel_is_refused_where_ours_has_a_linear_layer() -> None:
    state = official_v1(2).state_dict()
    state["mask_net.conv1d_out.weight"] = state["mask_net.conv1d_out.weight"].expand(-1, -1, 3)
    with pytest.raises(UserError, match=r"not a kernel of size 1: mask_net\.conv1d_out\.weight"):
        convert_weights(state, "official/mossformer")


def test_two_prefixes_for_one_name_are_refused() -> None:
    state = official_v1(2).state_dict()
    state["masknet.prelu.weight"] = state["mask_net.prelu.weight"]
    with pytest.raises(UserError, match=r"mask_net\.prelu\.weight twice"):
        convert_weights(state, "official/mossformer")


def test_a_training_checkpoint_is_explained() -> None:
    with pytest.raises(UserError, match="'model'"):
        convert_weights({"model": official_v2(2).state_dict(), "step": 3}, "clearvoice/mossformer2")
