"""Convert word vectors from text, as GloVe is published, to a small file that loads fast.

Examples:
    # glove.6B.300d.txt is in https://nlp.stanford.edu/data/glove.6B.zip
    python tools/data/pack_word_vectors.py glove.6B.300d.txt data/glove/glove.6B.300d.safetensors
    python tools/data/pack_word_vectors.py crawl-300d-2M.vec data/glove/fasttext.safetensors \\
        --words 200000
"""

import argparse
import os

from demul_mm.cli import run_tool, tool_parser


def parse_args() -> argparse.Namespace:
    parser = tool_parser(__doc__)
    parser.add_argument('source', help='text file: a word and its numbers on each line')
    parser.add_argument('out', help='file to write, .safetensors')
    parser.add_argument(
        '--words', type=int, default=100_000, help='most common words kept (default: 100000)'
    )
    args = parser.parse_args()
    if args.words < 1:
        parser.error(f'--words {args.words}: give at least 1')
    if not args.out.endswith('.safetensors'):
        parser.error(f'give a name that ends in .safetensors, not {args.out}')
    return args


def main() -> None:
    args = parse_args()
    from demul_mm.models.backbones.word_vectors import read_word_vectors, write_word_vectors

    ids, vectors = read_word_vectors(args.source, args.words)
    os.makedirs(os.path.dirname(args.out) or '.', exist_ok=True)
    write_word_vectors(args.out, ids, vectors)
    print(f'{args.out}: {len(ids):,} words, {vectors.shape[1]} values each')


if __name__ == '__main__':
    run_tool(main)
