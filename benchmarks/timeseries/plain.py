"""What one writes first: a Gateformer out of torch's own encoder, and a Dataset that cuts one window at a time."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn
from torch.utils.data import Dataset

from gated.core.nn.patching import sinusoidal_table


class PlainWindows(Dataset):
    """An item a window: its past, its future and the time features of both, as the benchmark code of the field has it.

    Args:
        values: standardised rows ``[R, N]``.
        marks: time features ``[R, M]``.
        input_size: steps of the past.
        horizon: steps of the future.
    """

    def __init__(self, values: np.ndarray, marks: np.ndarray, input_size: int, horizon: int) -> None:
        self.values, self.marks, self.input_size, self.horizon = values, marks, input_size, horizon

    def __len__(self) -> int:
        return len(self.values) - self.input_size - self.horizon + 1

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        middle = index + self.input_size
        past, future = slice(index, middle), slice(middle, middle + self.horizon)
        return self.values[past], self.values[future], self.marks[past], self.marks[future]


class PlainGateformer(nn.Module):
    """Gateformer (arXiv 2505.00307) of ``nn.TransformerEncoder`` stacks, ``[B, L, N] -> [B, H, N]``."""

    def __init__(
        self,
        input_size: int,
        horizon: int,
        *,
        d_model: int,
        d_ff: int,
        num_layers: int,
        num_heads: int,
        patch_size: int,
        stride: int,
        dropout: float,
    ) -> None:
        super().__init__()
        num_patches = (input_size - patch_size) // stride + 2
        self.patch_size, self.stride = patch_size, stride
        self.patch_embed = nn.Linear(patch_size, d_model, bias=False)
        self.register_buffer("position", sinusoidal_table(num_patches, d_model))
        self.pad = nn.ReplicationPad1d((0, stride))
        self.window_embed = nn.Linear(input_size, d_model)

        def encoder() -> nn.TransformerEncoder:
            layer = nn.TransformerEncoderLayer(d_model, num_heads, d_ff, dropout, batch_first=True, norm_first=True)
            return nn.TransformerEncoder(layer, num_layers, enable_nested_tensor=False)

        self.over_time, self.over_variates = encoder(), encoder()
        self.patch_head = nn.Linear(num_patches * d_model, d_model)
        self.gates = nn.ModuleList(nn.Linear(d_model, d_model) for _ in range(4))
        self.projection = nn.Linear(d_model, horizon)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Normalise each window, attend over time, then over variates, fuse by gates and undo the normalisation."""
        mean = x.mean(1, keepdim=True).detach()
        x = x - mean
        deviation = torch.sqrt(torch.var(x, dim=1, keepdim=True, unbiased=False) + 1e-5)
        x = (x / deviation).permute(0, 2, 1)
        batch, series, _ = x.shape
        window = self.dropout(self.window_embed(x))
        patches = self.pad(x).unfold(-1, self.patch_size, self.stride).reshape(batch * series, -1, self.patch_size)
        tokens = self.over_time(self.dropout(self.patch_embed(patches) + self.position))
        patched = self.dropout(self.patch_head(tokens.flatten(1))).reshape(batch, series, -1)
        gate = torch.sigmoid(self.gates[0](window) + self.gates[1](patched))
        own = gate * window + (1 - gate) * patched
        heard = self.over_variates(own)
        gate = torch.sigmoid(self.gates[2](own) + self.gates[3](heard))
        forecast = self.projection(gate * own + (1 - gate) * heard).permute(0, 2, 1)
        return forecast * deviation + mean
