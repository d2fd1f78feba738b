"""Word vectors: the cheap alternative to a language model."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from demul_mm.files import open_text
from demul_mm.models.task_modules.word_tokenizer import word_id
from demul_mm.registry import MODELS

FORMAT = 'demul_mm.word_vectors'
COMMON_SHARE = 1e-3  # a word that makes up this share of all text weighs half
WHERE = (
    'GloVe: https://nlp.stanford.edu/data/glove.6B.zip holds glove.6B.300d.txt (842 MB); '
    'tools/data/pack_word_vectors.py makes a small file of it that loads at once'
)


def read_word_vectors(path: str, max_words: int | None = None) -> tuple[Tensor, Tensor]:
    """The ids ``(W,)``, rising, and vectors ``(W, d)`` float16 of a file of word vectors.

    The vectors of a text are evened out (:func:`even_out`).

    Args:
        path: text as GloVe has it, a word and its numbers on each line, common words first, or
            ``.safetensors`` made of it by :func:`write_word_vectors`.
        max_words: so many of a text's first words; None for all.

    Raises:
        FileNotFoundError: no such file; the message says where to get it.
        ValueError: it is another kind of file.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f'there is no file of word vectors {path!r}. {WHERE}')
    if Path(path).suffix == '.safetensors':
        return _read_packed(path)
    ids: list[int] = []
    rows: list[np.ndarray] = []
    seen: set[int] = set()
    for number, word, row in _lines(path):
        if rows and len(row) != len(rows[0]):
            raise ValueError(
                f'{path}: line {number} has {len(row)} numbers, the first word has '
                f'{len(rows[0])}; is the file whole? {WHERE}'
            )
        if word_id(word.lower()) not in seen:
            seen.add(word_id(word.lower()))
            ids.append(word_id(word.lower()))
            rows.append(row)
        if len(ids) == max_words:
            break
    if not rows:
        raise ValueError(f'{path} holds no word vector. {WHERE}')
    unsorted, vectors = torch.tensor(ids), even_out(torch.from_numpy(np.stack(rows)))
    order = unsorted.argsort()
    return unsorted[order], vectors[order].half()


def _lines(path: str) -> Iterator[tuple[int, str, np.ndarray]]:
    """Number of the line, word and vector."""
    dim = -1
    with open_text(path) as file:
        for number, line in enumerate(file, start=1):
            word, *values = line.rstrip().rsplit(' ', dim)  # a word may hold a space
            if number == 1 and len(values) == 1:
                continue  # word2vec and fastText say how many there are
            try:
                row = np.array(values, dtype=np.float32)
            except ValueError as error:
                raise ValueError(f'{path}: line {number} is no word vector. {WHERE}') from error
            if not len(row) or not np.isfinite(row).all():
                raise ValueError(f'{path}: line {number} is no word vector. {WHERE}')
            dim = dim if dim > 0 else len(row)
            yield number, word, row


def even_out(vectors: Tensor) -> Tensor:
    """Word vectors whose mean tells sentences apart.

    The mean of raw vectors is nearly the same for all sentences. So the vectors lose their mean
    and their ``d // 100`` strongest common directions (Mu and Viswanath, "All-but-the-Top", ICLR
    2018), and common words weigh less: ``a / (a + p)`` (Arora et al., "A Simple but Tough-to-Beat
    Baseline for Sentence Embeddings", ICLR 2017), with ``a = COMMON_SHARE`` and ``p`` by Zipf's
    law from the rank.

    Args:
        vectors: ``(W, d)``, common words first.
    """
    vectors = vectors - vectors.mean(0)
    top = vectors.shape[1] // 100
    if top:
        _, axes = torch.linalg.eigh(vectors.T @ vectors)  # by rising strength
        common = axes[:, -top:]
        vectors = vectors - vectors @ common @ common.T
    rank = torch.arange(1, len(vectors) + 1)
    share = 1 / (rank * (1 / rank).sum())
    return vectors * (COMMON_SHARE / (COMMON_SHARE + share))[:, None]


def _read_packed(path: str) -> tuple[Tensor, Tensor]:
    try:
        with safe_open(path, framework='pt') as file:
            if (file.metadata() or {}).get('format') == FORMAT:
                return file.get_tensor('ids'), file.get_tensor('vectors')
    except SafetensorError as error:
        raise ValueError(f'{path} is damaged ({error}); make it again') from error
    raise ValueError(f'{path} holds something else than word vectors ({FORMAT}). {WHERE}')


def write_word_vectors(path: str, ids: Tensor, vectors: Tensor) -> None:
    """Write what :func:`read_word_vectors` gave as ``.safetensors``."""
    save_file({'ids': ids, 'vectors': vectors}, path, metadata={'format': FORMAT})


@MODELS.register_module()
class WordVectors(nn.Module):
    """A vector for each word, whatever its neighbours; the token model of ``LanguageEncoder``.

    Words that the file does not have share ``num_hashed`` learned vectors, chosen by two hashes of
    the word each, so that hardly any two words have the same. Without a file that is all there is:
    vectors learned from the training sentences. Use it with ``WordTokenizer``.

    Vectors that are not tuned are kept out of the checkpoint, which then needs the file.

    Args:
        path: file of word vectors, see :func:`read_word_vectors`; None for none.
        dim: width; of a file, what it must have.
        tune: whether to train the vectors of the file.
        num_hashed: learned vectors for the other words.
    """

    known: Tensor  # (W,) ids, rising
    vectors: Tensor  # (W, d)

    def __init__(
        self,
        path: str | None = None,
        dim: int = 300,
        tune: bool = False,
        num_hashed: int = 8192,
    ) -> None:
        super().__init__()
        if num_hashed < 1 or dim < 1:
            raise ValueError(f'dim={dim}, num_hashed={num_hashed}: give at least 1')
        self.out_dim = dim
        ids, vectors = torch.zeros(0, dtype=torch.int64), torch.zeros(0, dim)
        if path is not None:
            ids, vectors = read_word_vectors(path)
            if vectors.shape[1] != dim:
                raise ValueError(
                    f'{path} holds vectors of {vectors.shape[1]} values, the config says '
                    f'dim={dim}; set dim, and caption_dim of the memory, to that of the file'
                )
        self.register_buffer('known', ids, persistent=False)
        if tune:
            self.vectors = nn.Parameter(vectors.float())
        else:
            self.register_buffer('vectors', vectors, persistent=False)
        spread = float(vectors.float().std()) if len(ids) else 1.0
        self.hashed = nn.Parameter(torch.randn(num_hashed, dim) * spread / 2**0.5)

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Word ids ``(Q, L)`` and ``mask (Q, L)`` to features ``(Q, L, out_dim)``."""
        count = len(self.hashed)
        features = self.hashed[ids % count] + self.hashed[ids // count % count]
        if len(self.known):
            place = torch.searchsorted(self.known, ids).clamp(max=len(self.known) - 1)
            is_known = (self.known[place] == ids)[..., None]  # (Q, L, 1)
            features = torch.where(is_known, self.vectors[place].to(features.dtype), features)
        return features * mask[..., None]
