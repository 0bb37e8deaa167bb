"""What the bundled audio encoder says, brought into the range of one person before it learns from a clip.

Synthesised speech teaches which way lips move, not how far this person's do, nor which of the ways this person has. A
short training mends a size that is wrong slowly, and keeps much of what is foreign to the person.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from dfanerf_rt.sync.model import AudioEncoder, encode_audio
from dfanerf_rt.train.sync_corpus import Pair


@torch.no_grad()
def calibrated(encoder: AudioEncoder, pairs: Sequence[Pair], closed: Tensor) -> AudioEncoder:
    """The same encoder with codes that fit a person's best, one gain for each way that the person's mouth moves.

    The ways are the principal components of the mouth codes. A gain is what regression of the one on the other says,
    from 0 (the two have nothing in common) to 1. The largest, opening the jaw, keeps its size: it is what all people
    share, and regression would make it small wherever it is in doubt. This is for lips apart; lips that are closed
    begin as the person's, so that silence closes them. How probable closed lips are stays as it is.

    Args:
        encoder: in evaluation mode.
        pairs: sound and mouth codes of the person.
        closed: (code_dim,) code of the person's closed mouth.
    """
    undecided = encoder.undecided()
    heard = torch.cat([encode_audio(undecided, samples, len(codes)) for samples, codes in pairs])
    seen = torch.cat([codes for _, codes in pairs])
    of_heard, of_seen = heard.mean(dim=0), seen.mean(dim=0)
    _, _, ways = torch.linalg.svd(seen - of_seen, full_matrices=False)
    found, true = (heard - of_heard) @ ways.T, (seen - of_seen) @ ways.T
    gain = ((found * true).sum(dim=0) / found.square().sum(dim=0).clamp(min=1e-9)).clamp(0.0, 1.0)
    gain[0] = 1.0
    change = ways.T @ (gain[:, None] * ways)
    result = AudioEncoder(encoder.config)
    result.load_state_dict(encoder.state_dict())
    last, mean = result.head[-1], result.code_mean
    assert isinstance(last, nn.Conv1d) and last.bias is not None
    dim = encoder.config.code_dim
    last.bias[:dim] = change @ (last.bias[:dim] + mean - of_heard) + of_seen - mean
    last.weight[:dim] = (change @ last.weight[:dim, :, 0])[..., None]
    last.bias[dim : 2 * dim] = closed - mean
    last.weight[dim : 2 * dim] = 0.0
    return result.eval().requires_grad_(False)
