"""Token features of a pre-trained language model, kept for each sentence."""

import zlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import torch
import torch.nn.functional as F
from mmengine.dist import broadcast, broadcast_object_list, get_dist_info
from mmengine.logging import MMLogger
from torch import Tensor, nn
from tqdm import tqdm

from demul_mm.device import on_host, to_device
from demul_mm.hub import loading
from demul_mm.models.backbones.frozen import PACKABLE, put_together, read_frozen
from demul_mm.models.task_modules.tokenizer import resolve_language_model
from demul_mm.packed_linear import pack_linear
from demul_mm.precision import check_precision, choose_precision
from demul_mm.registry import MODELS

if TYPE_CHECKING:
    from transformers import PreTrainedModel

AHEAD = 1024
"""Sentences that are read at once when all of a data set's are."""


def load_quietly(folder: str) -> 'PreTrainedModel':
    """The model without a pooler, which nothing here reads, and without the report of that."""
    from transformers import AutoModel
    from transformers.utils import logging as hf_logging

    verbosity, shows_bars = hf_logging.get_verbosity(), hf_logging.is_progress_bar_enabled()
    hf_logging.set_verbosity_error()
    hf_logging.disable_progress_bar()
    try:
        with loading(folder, 'a language model'):
            lm = AutoModel.from_pretrained(folder, trust_remote_code=False)
    finally:
        hf_logging.set_verbosity(verbosity)
        if shows_bars:
            hf_logging.enable_progress_bar()
    if getattr(lm, 'pooler', None) is not None:
        lm.pooler = None
    return lm


def identity_of(lm: 'PreTrainedModel') -> Tensor:
    """A number that another model, or the same with other weights, hardly has; int64."""
    number = 0
    for weight in lm.parameters():
        octets = weight.detach().flatten().view(torch.uint8)  # numpy has no bfloat16
        number = zlib.crc32(octets.numpy().tobytes(), number)
    return torch.tensor(number)


def _layers(lm: 'PreTrainedModel') -> nn.ModuleList:
    return max((m for m in lm.modules() if isinstance(m, nn.ModuleList)), key=len)


def _cut(lm: 'PreTrainedModel', layers: Sequence[int]) -> None:
    """Drop the layers behind the last one that is read, in models whose states stay the same."""
    if min(layers) >= 0 and lm.config.model_type in PACKABLE:
        del _layers(lm)[max(1, *layers) :]


def _tune(lm: 'PreTrainedModel', tune: str | int) -> None:
    """Let gradients into all of the model, none of it, or its last layers."""
    layers = _layers(lm)
    number = {'none': 0, 'all': len(layers)}.get(tune, tune) if isinstance(tune, str) else tune
    if type(number) is not int or not 0 <= number <= len(layers):
        raise ValueError(
            f"tune is {tune!r}; allowed: 'none', 'all' or a number of last layers, 0 to "
            f'{len(layers)}'
        )
    lm.requires_grad_(tune == 'all')
    layers[len(layers) - number :].requires_grad_(True)


class _Shared(list):
    """Hides modules from ``parameters()`` and ``state_dict()``; a copy of the owner shares them."""

    def __deepcopy__(self, memo: dict) -> '_Shared':
        return self


class TokenCache(dict):
    """Token features of a frozen model by the bytes of the ids, as float16.

    All models of a process that read the same folder in the same type share one: the variants of
    an ablation, and the copy that averages the weights.
    """

    known: ClassVar[dict[str, 'TokenCache']] = {}

    def __init__(self) -> None:
        super().__init__()
        self.num_bytes = 0

    @classmethod
    def of(cls, model: str) -> 'TokenCache':
        """The cache of a model."""
        return cls.known.setdefault(model, cls())

    def __deepcopy__(self, memo: dict) -> 'TokenCache':
        return self

    def keep(self, key: bytes, row: Tensor) -> None:
        """Keep ``row (L, E)``, once."""
        if key not in self:
            self[key] = row.clone()
            self.num_bytes += row.nbytes


@MODELS.register_module()
class TransformersLM(nn.Module):
    """Token features of any ``transformers`` encoder.

    A wholly frozen model is kept out of the parameters and of the checkpoint (it is known by its
    name, and one that is not packaged by a number beside that: weights trained with another are
    refused), and the features of each sentence are computed once and kept, so that it does not run
    again in the next epoch.

    Args:
        name: folder or hub name; ``'minilm'`` is the packaged all-MiniLM-L6-v2, which needs no
            network.
        tune: ``'none'``, ``'all'``, or the number of last layers to train.
        layers: the layers whose features are put side by side; 0 is what the words are without
            their company, -1 the last layer. Two of them tell apart what one blends. In models
            like BERT what lies behind the last one that is named is not computed.
        cache_mb: memory for the features of a frozen model; sentences beyond it are recomputed.
        dtype: the precision in which a frozen model runs (see :mod:`demul_mm.precision`); bfloat16
            gives features at a cosine of .9999 to those of float32.
    """

    def __init__(
        self,
        name: str = 'minilm',
        tune: str | int = 'none',
        layers: tuple[int, ...] = (-1,),
        cache_mb: int = 1024,
        dtype: str = 'auto',
    ) -> None:
        super().__init__()
        self.name = name
        self.dtype = check_precision(dtype)
        folder = resolve_language_model(name)
        lm = load_quietly(folder)
        self.layers = tuple(layers)
        self.out_dim: int = lm.config.hidden_size * len(self.layers)
        self.meaning_dim: int = lm.config.hidden_size  # of the last of the layers
        self.frozen = tune in ('none', 0)
        shared = self.frozen and cache_mb > 0
        self._cache = (
            TokenCache.of(f'{folder} in {dtype}, layers {self.layers}') if shared else TokenCache()
        )
        self._cache_bytes = cache_mb * 2**20
        self._said_full = False
        if self.frozen and name != 'minilm':
            self.register_buffer('identity', identity_of(lm))
        _cut(lm, self.layers)
        _tune(lm, tune)
        if self.frozen:
            self._hidden = _Shared([pack_linear(lm.eval())])
        else:
            self.lm = lm

    def _load_from_state_dict(
        self, state_dict: dict[str, Any], prefix: str, *args: Any, **kwargs: Any
    ) -> None:
        own = self._buffers.get('identity')
        saved = state_dict.get(f'{prefix}identity')
        if saved is not None and (own is None or saved != own.cpu()):
            raise ValueError(
                f'the weights were trained with another language model than {self.name!r}: set '
                f'model.{prefix}name to the one they were trained with'
            )
        if own is not None and saved is None:
            MMLogger.get_current_instance().warning(
                'the weights do not tell which language model they were trained with; now '
                f'model.{prefix}name is {self.name!r}'
            )
            state_dict[f'{prefix}identity'] = own
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Token ids ``(Q, L)`` and ``mask (Q, L)`` to features ``(Q, L, out_dim)``."""
        if not self.frozen:
            return self._read(self.lm, ids, mask)
        lengths = on_host(mask).sum(1).tolist()
        sentences = [row[:n] for row, n in zip(on_host(ids), lengths)]
        keys = [sentence.numpy().tobytes() for sentence in sentences]
        fresh = {key: ids for key, ids in zip(keys, sentences) if key not in self._cache}
        rows = self._run_frozen(fresh, ids.device)
        features = [rows[key] if key in rows else self._cache[key] for key in keys]
        padded = nn.utils.rnn.pad_sequence(features, batch_first=True)  # (Q, L', out_dim)
        padded = F.pad(padded, (0, 0, 0, ids.shape[1] - padded.shape[1]))
        return to_device(padded, ids.device).float()

    def read_ahead(self, ids: Tensor, mask: Tensor) -> None:
        """Keep the features of many sentences, ``(Q, L)`` each.

        In a distributed run each process reads a share and tells the others: all must give the
        same sentences. What exceeds the cache is left out; of a model that is not frozen nothing
        is kept.
        """
        if not self.frozen:
            return
        sentences = {
            row[:length].numpy().tobytes(): row[:length]
            for row, length in zip(on_host(ids), on_host(mask).sum(1).tolist())
        }
        rank, world = get_dist_info()
        keys = self._fresh(sentences) if rank == 0 else []
        sent = [keys]
        broadcast_object_list(sent)  # what they have read before may differ
        keys = sent[0]
        quiet = rank > 0 or len(keys) < 2 * AHEAD
        with tqdm(total=len(keys), desc='sentences', unit='sentence', disable=quiet) as bar:
            for start in range(0, len(keys), AHEAD * world):
                part = keys[start : start + AHEAD * world]
                mine = self._run_frozen(
                    {key: sentences[key] for key in part[rank::world]}, ids.device
                )
                for other in range(world if world > 1 else 0):
                    theirs = {key: len(sentences[key]) for key in part[other::world]}
                    self._tell(mine if rank == other else None, theirs, other)
                bar.update(len(part))

    def _fresh(self, sentences: dict[bytes, Tensor]) -> list[bytes]:
        """The keys of those that are not in the cache and fit into it."""
        room = self._cache_bytes - self._cache.num_bytes
        keys = []
        for key, sentence in sentences.items():
            if key not in self._cache:
                room -= len(sentence) * self.out_dim * 2
                if room < 0:
                    break
                keys.append(key)
        return keys

    def _tell(
        self, rows: dict[bytes, Tensor] | None, lengths: dict[bytes, int], source: int
    ) -> None:
        """Hand the features of sentences of so many tokens from one process to all others."""
        if rows is None:
            block = torch.empty(sum(lengths.values()), self.out_dim, dtype=torch.float16)
        else:
            block = torch.cat(
                [rows[key] for key in lengths]
                or [torch.empty(0, self.out_dim, dtype=torch.float16)]
            )
        broadcast(block, source)
        if rows is None:
            for key, row in zip(lengths, block.split(list(lengths.values()))):
                self._cache.keep(key, row)

    def _read(self, lm: 'PreTrainedModel', ids: Tensor, mask: Tensor) -> Tensor:
        """``(Q, L)`` to ``(Q, L, out_dim)``."""
        hidden = self.layers != (-1,)
        out = lm(input_ids=ids, attention_mask=mask.long(), output_hidden_states=hidden)
        return put_together(out, self.layers)

    @torch.no_grad()
    def _run_frozen(self, fresh: dict[bytes, Tensor], device: torch.device) -> dict[bytes, Tensor]:
        """Features of the sentences not yet in the cache, kept there while it has room."""
        if not fresh:
            return {}
        lm = self._hidden[0] = self._hidden[0].to(device, choose_precision(self.dtype, device))
        keys = list(fresh)
        rows = {
            keys[i]: row.to(torch.float16)
            for i, row in read_frozen(lm, list(fresh.values()), self.layers, device)
        }
        for key, row in rows.items():
            if self._cache.num_bytes + row.nbytes <= self._cache_bytes:
                self._cache.keep(key, row)
            elif self._cache_bytes and not self._said_full:
                self._said_full = True
                MMLogger.get_current_instance().warning(
                    f'the language cache is full with {len(self._cache)} sentences; the others '
                    'are recomputed each time: raise cache_mb'
                )
        return rows
