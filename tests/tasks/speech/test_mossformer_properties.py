"""What users of a separator rely on, whatever its weights."""

from __future__ import annotations

from functools import partial

import pytest
import torch

from gated.core.mixers import GPSA, GatedAttentionUnit, MossFormerAttention, SoftmaxAttention
from gated.errors import UserError
from tasks.speech.models import MossFormer
from tasks.speech.separate import best_si_sdr

ATTENTION = partial(MossFormerAttention, qk_dim=8, group_size=16)


def net(**options) -> MossFormer:
    built = MossFormer(2, 8, **{"depth": 2, "encoder_dim": 8, "mixer": ATTENTION, **options}).eval()
    with torch.no_grad():
        for name, parameter in built.named_parameters():
            if name.endswith("gamma"):
                parameter.normal_()  # at their start the blocks are almost the identity: attention must count
    return built


@pytest.mark.parametrize("length", [0, 1, 15, 16, 17, 100, 1003])
def test_any_length_comes_back_at_its_length(length: int) -> None:
    out = net()(torch.randn(3, length))
    assert out.shape == (3, 2, length)
    assert torch.isfinite(out).all()


@pytest.mark.parametrize("factor", [0.1, 7.0, 100.0])
def test_louder_in_is_louder_out(factor: float) -> None:
    # far above the epsilon of the norms, which is the one thing that knows about levels
    model, x = net().double(), 100 * torch.randn(1, 800, dtype=torch.float64)
    expected = (factor * model(x)).detach()
    torch.testing.assert_close(model(factor * x).detach(), expected, rtol=0, atol=1e-5 * expected.abs().max().item())


def test_silence_stays_silence() -> None:
    assert torch.equal(net()(torch.zeros(1, 800)), torch.zeros(1, 2, 800))


def test_a_recording_of_a_batch_is_the_recording_alone() -> None:
    model, x = net(), torch.randn(3, 803)
    torch.testing.assert_close(model(x)[1:2], model(x[1:2]), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("start", [100, 333, 640])
def test_the_causal_network_hears_no_further_than_its_frame(start: int) -> None:
    model = net(causal=True, mixer=partial(ATTENTION, causal=True)).double()
    x = torch.randn(1, 800, dtype=torch.float64)
    changed = x.clone()
    changed[:, start:] += 1.0
    before, after = model(x), model(changed)
    heard = start - model.kernel_size + 1
    torch.testing.assert_close(before[..., :heard], after[..., :heard], rtol=1e-12, atol=1e-12)
    assert not torch.allclose(before[..., start:], after[..., start:])


def test_a_causal_network_wants_a_causal_mixer() -> None:
    with pytest.raises(
        UserError, match=r"(?s)MossFormerAttention does not fit into MossFormer\(causal=True\).*causal=True"
    ):
        net(causal=True)
    with pytest.raises(UserError, match="needs_grid=False"):
        net(mixer=GPSA)


@pytest.mark.parametrize("mixer", [SoftmaxAttention, partial(GatedAttentionUnit, qk_dim=8)], ids=["softmax", "gau"])
def test_other_mixers_learn_too(mixer) -> None:
    model = net(mixer=mixer).train()
    mixture = torch.randn(1, 2, 400)
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    scores = []
    for _ in range(12):
        score = best_si_sdr(model(mixture.sum(1)), mixture).mean()
        optimizer.zero_grad()
        (-score).backward()
        optimizer.step()
        scores.append(score.item())
    assert scores[-1] > scores[0] + 1.0


def test_the_best_assignment_is_found_and_scale_does_not_matter() -> None:
    sources = torch.randn(4, 2, 500)
    swapped = sources.flip(1) * torch.tensor([3.0, 0.2])[None, :, None]
    assert (best_si_sdr(swapped, sources) > 60).all()
    noisy = sources + 0.1 * torch.randn_like(sources)
    torch.testing.assert_close(best_si_sdr(noisy, sources), torch.full((4,), 20.0), atol=1.0, rtol=0)
