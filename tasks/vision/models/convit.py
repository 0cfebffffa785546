"""ConViT: a vision transformer that starts as a convolutional network (d'Ascoli et al., arXiv 2103.10697)."""

from __future__ import annotations

from functools import partial

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from gated.core.mixers.base import MixerFactory, TokenMixer, require
from gated.core.mixers.gpsa import GPSA
from gated.core.mixers.softmax import SoftmaxAttention
from gated.core.nn.block import PreNormBlock
from gated.core.nn.buildable import Buildable
from gated.core.nn.drop_path import DropPath
from gated.core.nn.mlp import MLP
from gated.core.nn.patches import PatchEmbed, resize_positions
from gated.errors import UserError


class ConViT(Buildable):
    """Image classifier, ``[B, C, H, W] -> [B, num_classes]`` logits.

    Local layers (gated positional self-attention) see the patches alone; then a class token joins and global layers
    follow. Images of any size and shape are taken: positions are interpolated, and the local layers work on any grid.

    Args:
        num_classes: outputs; 0 gives the class token itself.
        in_chans: channels of the images.
        img_size: side in pixels, or ``(height, width)``, that the position table is laid out for.
        patch_size: side of a patch in pixels.
        embed_dim: channels of a token.
        depth: layers.
        num_heads: heads of the mixers of the paper, where no other is given.
        mlp_ratio: hidden channels of the MLPs in units of ``embed_dim``.
        num_local_layers: layers before the class token joins. From ``depth`` on no layer is left to mix it with the
            patches, so it then joins as ``cls_token + mean of the patches``.
        drop_path: probability of skipping the branches of the last layer; earlier layers less, linearly from 0.
        local_mixer: factory of the mixers before the class token; GPSA by default.
        mixer: factory of the mixers after it; softmax attention by default. It must not need a grid (the class token is
            on none) nor be causal (the class token comes first).
    """

    def __init__(
        self,
        num_classes: int = 1000,
        in_chans: int = 3,
        *,
        img_size: int | tuple[int, int] = 224,
        patch_size: int = 16,
        embed_dim: int = 192,
        depth: int = 12,
        num_heads: int = 4,
        mlp_ratio: float = 4.0,
        num_local_layers: int = 10,
        drop_path: float = 0.0,
        local_mixer: MixerFactory | None = None,
        mixer: MixerFactory | None = None,
    ) -> None:
        super().__init__()
        if num_local_layers < 0:
            raise UserError("ConViT: num_local_layers cannot be negative", found=f"{num_local_layers}")
        self.num_classes = num_classes
        self.num_features = self.embed_dim = embed_dim
        self.num_local_layers = num_local_layers
        self.grad_checkpointing = False

        height, width = (img_size, img_size) if isinstance(img_size, int) else img_size
        self.patch_embed = PatchEmbed(in_chans, embed_dim, patch_size)
        self.grid = self.patch_embed.grid(height, width)
        self.pos_embed = nn.Parameter(torch.zeros(1, self.grid[0] * self.grid[1], embed_dim))
        self.cls_token = nn.Parameter(torch.zeros(1, 1, embed_dim))

        make_local = local_mixer or partial(GPSA, num_heads=num_heads)
        make_global = mixer or partial(SoftmaxAttention, num_heads=num_heads, qkv_bias=False)

        def mixer_at(layer: int) -> TokenMixer:
            if layer < num_local_layers:
                return make_local(embed_dim)
            return require(make_global(embed_dim), "ConViT after the class token", needs_grid=False, causal=False)

        self.blocks = nn.ModuleList(
            PreNormBlock(
                embed_dim,
                mixer_at(layer),
                mlp=MLP(embed_dim, int(embed_dim * mlp_ratio)),
                drop=DropPath(drop_path * layer / max(depth - 1, 1)),
                norm_eps=1e-6,
            )
            for layer in range(depth)
        )
        self.norm = nn.LayerNorm(embed_dim, eps=1e-6)
        self.head: nn.Module = nn.Linear(embed_dim, num_classes) if num_classes else nn.Identity()
        self.reset_parameters(keep_mixers=mixer is not None)

    def reset_parameters(self, *, keep_mixers: bool) -> None:
        """Truncated normal of std 0.02 for tokens and linear layers; mixers chosen by the user keep their own start."""
        nn.init.trunc_normal_(self.pos_embed, std=0.02)
        nn.init.trunc_normal_(self.cls_token, std=0.02)
        linears: list[nn.Module] = [self.head]
        for layer, block in enumerate(self.blocks):
            linears += [block.mlp.fc1, block.mlp.fc2]
            if layer >= self.num_local_layers and not keep_mixers:
                linears += list(block.mixer.modules())
        for linear in linears:
            if isinstance(linear, nn.Linear):
                nn.init.trunc_normal_(linear.weight, std=0.02)
                if linear.bias is not None:
                    nn.init.zeros_(linear.bias)

    def forward(self, x_BCHW: torch.Tensor) -> torch.Tensor:
        """Return logits ``[B, num_classes]``."""
        return self.forward_head(self.forward_features(x_BCHW))

    def forward_features(self, x_BCHW: torch.Tensor) -> torch.Tensor:
        """Return the normalised tokens ``[B, 1 + N, D]``, the class token first."""
        tokens, grid = self._embed(x_BCHW)
        for layer, block in enumerate(self.blocks):
            tokens = self._join_class_token(tokens, layer)
            if self.grad_checkpointing and self.training:
                tokens = checkpoint(block, tokens, grid=self._grid_at(layer, grid), use_reentrant=False)
            else:
                tokens = block(tokens, grid=self._grid_at(layer, grid))
        out: torch.Tensor = self.norm(self._join_class_token(tokens, len(self.blocks)))
        return out

    def forward_head(self, tokens: torch.Tensor, pre_logits: bool = False) -> torch.Tensor:
        """Return logits from the class token of ``tokens``, or that token with ``pre_logits``."""
        out: torch.Tensor = tokens[:, 0] if pre_logits else self.head(tokens[:, 0])
        return out

    @torch.no_grad()
    def attention_maps(self, x_BCHW: torch.Tensor) -> dict[int, torch.Tensor]:
        """Return layer -> attention weights ``[B, H, N, N]``, for the layers whose mixer defines such a matrix.

        From layer ``num_local_layers`` on the class token is row and column 0.
        """
        maps = {}
        tokens, grid = self._embed(x_BCHW)
        for layer, block in enumerate(self.blocks):
            tokens = self._join_class_token(tokens, layer)
            cells = self._grid_at(layer, grid)
            if hasattr(block.mixer, "attention_map"):
                maps[layer] = block.mixer.attention_map(block.norm1(tokens), grid=cells)
            tokens = block(tokens, grid=cells)
        return maps

    @torch.no_grad()
    def gate_values(self) -> dict[int, torch.Tensor]:
        """Return layer -> share of position in each head ``[H]``, for the layers with gated positional attention."""
        return {i: block.mixer.gate_values() for i, block in enumerate(self.blocks) if isinstance(block.mixer, GPSA)}

    def get_classifier(self) -> nn.Module:
        """Return the last layer."""
        return self.head

    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:
        """Put a fresh last layer for ``num_classes`` classes in; pooling is always by class token (``"token"``)."""
        if global_pool not in (None, "token"):
            raise UserError(
                "ConViT: pools by its class token only", expected="'token' or None", found=f"{global_pool!r}"
            )
        self.num_classes = self._init_args["num_classes"] = num_classes
        self.head = nn.Identity()
        if num_classes:
            self.head = nn.Linear(self.embed_dim, num_classes).to(self.pos_embed)
            nn.init.trunc_normal_(self.head.weight, std=0.02)
            nn.init.zeros_(self.head.bias)

    def no_weight_decay(self) -> set[str]:
        """Return the names of parameters that weight decay must leave alone."""
        return {"pos_embed", "cls_token"}

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Recompute each layer in the backward pass, to save memory."""
        self.grad_checkpointing = enable

    def _embed(self, x_BCHW: torch.Tensor) -> tuple[torch.Tensor, tuple[int, int]]:
        if x_BCHW.dim() != 4 or x_BCHW.shape[1] != self.patch_embed.proj.in_channels:
            raise UserError(
                "ConViT: wrong shape of the images",
                expected=f"[B, {self.patch_embed.proj.in_channels}, H, W]",
                found=str(list(x_BCHW.shape)),
            )
        tokens, grid = self.patch_embed(x_BCHW)
        return tokens + resize_positions(self.pos_embed, self.grid, grid), grid

    def _join_class_token(self, tokens: torch.Tensor, layer: int) -> torch.Tensor:
        """Put the class token in front if it joins before ``layer`` (``depth``: after the last one)."""
        depth = len(self.blocks)
        if layer != min(self.num_local_layers, depth):
            return tokens
        cls_token = self.cls_token.expand(tokens.shape[0], -1, -1)
        if layer == depth:
            cls_token = cls_token + tokens.mean(1, keepdim=True)
        return torch.cat((cls_token, tokens), 1)

    def _grid_at(self, layer: int, grid: tuple[int, int]) -> tuple[int, int] | None:
        """Return the grid of the tokens that ``layer`` sees; a class token is on none."""
        return grid if layer < self.num_local_layers else None
