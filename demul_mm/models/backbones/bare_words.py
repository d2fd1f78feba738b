"""Vectors of the words of a text, each by itself."""

from importlib.util import find_spec
from pathlib import Path

from safetensors import safe_open
from tokenizers import Tokenizer
from torch import Tensor, nn

from demul_mm.hub import loading
from demul_mm.models.task_modules.tokenizer import resolve_language_model
from demul_mm.registry import MODELS

INSIDE = '##'  # begins a word piece of BERT that is not the first of its word
SPACE = '\u2581'  # begins a piece of WordLlama's tokenizer that is


@MODELS.register_module()
class BareWords(nn.Module):
    """The words of a text, each for itself, as vectors whose mean tells what the text is about.

    A language model blends words into what they mean together; here a rare word keeps its vector,
    so that onion is found where onions are named. The vectors are those of WordLlama (Miller, 2024,
    https://github.com/dleemiller/WordLlama): the token embeddings of large language models,
    trained on to find texts by their mean. A word piece of BERT has the sum of the vectors that its
    letters have there; special tokens and punctuation have none. No code of the package is run.

    Args:
        name: as in ``TransformersLM``: the language model whose tokenizer makes the ids. It must be
            one of BERT's form, in which ``##`` marks a piece inside a word.

    Raises:
        ImportError: WordLlama's files are missing.
        ValueError: a tokenizer of another form.
    """

    table: Tensor  # (W, 256)

    def __init__(self, name: str = 'minilm') -> None:
        super().__init__()
        table = vectors_of(word_pieces(name))
        self.register_buffer('table', table, persistent=False)

    @property
    def out_dim(self) -> int:
        """Values a word."""
        return self.table.shape[1]

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Token ids ``(Q, L)`` and ``mask (Q, L)`` to ``(Q, L, out_dim)``, zeros outside of it."""
        return self.table[ids] * mask[..., None]


def word_pieces(name: str) -> list[str]:
    """The pieces of a language model's vocabulary in the order of their ids.

    Those that are no part of a word (special tokens, punctuation) are empty.

    Raises:
        ValueError: its tokenizer is not of BERT's form, in which ``##`` marks a piece inside a
            word.
    """
    from transformers import AutoTokenizer

    folder = resolve_language_model(name)
    with loading(folder, 'a tokenizer'):
        tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    pieces = tokenizer.convert_ids_to_tokens(list(range(len(tokenizer))))
    if not any(piece.startswith(INSIDE) for piece in pieces):
        raise ValueError(
            f'no piece of the tokenizer of {name!r} begins with {INSIDE}: bare words are the word '
            "pieces of BERT's vocabularies"
        )
    special = set(tokenizer.all_special_tokens)
    return [p if any(map(str.isalnum, p)) and p not in special else '' for p in pieces]


def vectors_of(pieces: list[str]) -> Tensor:
    """WordLlama's vectors ``(W, 256)`` of word pieces; zeros for an empty one."""
    folder = _wordllama()
    tokenizer = Tokenizer.from_file(str(folder / 'tokenizers/l2_supercat_tokenizer_config.json'))
    tokenizer.no_padding()
    with safe_open(folder / 'weights/l2_supercat_256.safetensors', framework='pt') as file:
        (key,) = file.keys()
        vectors = file.get_tensor(key).float()
    found = tokenizer.encode_batch(
        [piece.removeprefix(INSIDE) for piece in pieces], add_special_tokens=False
    )
    table = vectors.new_zeros(len(pieces), vectors.shape[1])
    for row, piece, encoding in zip(table, pieces, found):
        ids = encoding.ids
        if piece.startswith(INSIDE) and ids:  # it follows no space
            first = encoding.tokens[0].removeprefix(SPACE)
            bare = tokenizer.token_to_id(first)
            ids = [*([ids[0] if bare is None else bare] if first else []), *ids[1:]]
        row.copy_(vectors[ids].sum(0))
    return table


def _wordllama() -> Path:
    """The folder of the package, which is not imported."""
    spec = find_spec('wordllama')
    if spec is None or not spec.submodule_search_locations:
        raise ImportError(
            "BareWords reads WordLlama's vectors: pip install 'demul-mm[words]' (16 MB)"
        )
    return Path(spec.submodule_search_locations[0])
