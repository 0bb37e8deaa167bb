"""A Transformer whose frames attend to their neighbours alone: the network of the motion model."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

PIECE_FRAMES = 256
"""Longer sequences are worked on in pieces of this length, so that time and memory grow with the length alone."""


class LocalTransformer(nn.Module):
    """(B, T, n_in) → (B, T, n_out) for any T; a frame's output depends on a window of frames around it alone.

    Positions enter as a learned bias on each distance within the window, which is the same anywhere in a sequence.
    Where the window reaches beyond an end of the sequence, what is there is attended to. A linear map beside the
    layers carries the size of the input, which their normalisation takes away.

    Args:
        before: frames before a frame that it attends to in one layer.
        after: frames after it; at 0 the network is causal.
    """

    def __init__(self, n_in: int, n_out: int, width: int, layers: int, heads: int, before: int, after: int) -> None:
        super().__init__()
        self.context_before, self.context_after = layers * before, layers * after
        self.beside = nn.Linear(n_in, n_out)
        self.enter = nn.Linear(n_in, width)
        self.layers = nn.Sequential(*(_Layer(width, heads, before, after) for _ in range(layers)))
        self.leave = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, n_out))

    def forward(self, x: Tensor) -> Tensor:
        n_frames = x.shape[1]
        if n_frames <= PIECE_FRAMES:
            return self._piece(x)
        outputs = []
        for start in range(0, n_frames, PIECE_FRAMES):
            first = max(start - self.context_before, 0)
            seen = self._piece(x[:, first : start + PIECE_FRAMES + self.context_after])
            outputs.append(seen[:, start - first : start - first + PIECE_FRAMES])
        return torch.cat(outputs, dim=1)

    def _piece(self, x: Tensor) -> Tensor:
        return self.beside(x) + self.leave(self.layers(self.enter(x)))


class _Layer(nn.Module):
    """Attention and perceptron, each normalised first and added to what comes in."""

    def __init__(self, width: int, heads: int, before: int, after: int) -> None:
        super().__init__()
        self.heads, self.before = heads, before
        self.bias = nn.Parameter(torch.zeros(heads, before + 1 + after))
        self.attend_norm = nn.LayerNorm(width)
        self.query_key_value = nn.Linear(width, 3 * width)
        self.merge = nn.Linear(width, width)
        self.think = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, 2 * width), nn.SiLU(), nn.Linear(2 * width, width)
        )

    def forward(self, x: Tensor) -> Tensor:
        n_batch, n_frames, width = x.shape
        parts = self.query_key_value(self.attend_norm(x)).view(n_batch, n_frames, 3, self.heads, -1)
        query, key, value = parts.permute(2, 0, 3, 1, 4)
        seen = F.scaled_dot_product_attention(query, key, value, attn_mask=self._scores(n_frames))
        x = x + self.merge(seen.transpose(1, 2).reshape(n_batch, n_frames, width))
        return x + self.think(x)

    def _scores(self, n_frames: int) -> Tensor:
        """(heads, T, T) added to the scores: the bias of each distance, minus infinity beyond the window."""
        frame = torch.arange(n_frames, device=self.bias.device)
        place = frame[None, :] - frame[:, None] + self.before
        inside = (place >= 0) & (place < self.bias.shape[1])
        return self.bias[:, place.clamp(0, self.bias.shape[1] - 1)].masked_fill(~inside, -torch.inf)
