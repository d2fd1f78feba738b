"""Measure the corpus index against exact and exhaustive search: speed, size and recall.

For each corpus size: building, adding, removing, bytes, latencies of the steps for one query and
for batches of 64, what level 1 and the whole search lose compared with exact search, and the same
queries by exhaustive clip scoring. All is measured in one run: compare ratios with those of other
machines, not seconds.

Examples:
    OMP_WAIT_POLICY=PASSIVE python benchmarks/corpus.py --sizes 10000
    OMP_WAIT_POLICY=PASSIVE python benchmarks/corpus.py --sizes 10000 100000 1000000 --out r.json
    OMP_WAIT_POLICY=PASSIVE python benchmarks/corpus.py --sizes 10000 --options kind=ivf_pq
    OMP_WAIT_POLICY=PASSIVE python benchmarks/corpus.py --sizes 10000 100000 \\
        --vectors work_dirs/vectors --query-vectors work_dirs/queries.safetensors \\
        --fusion configs/demul_demo.py work_dirs/demo/train/best.pth

Vectors and query vectors of a trained model are written by tools/index/export.py.
"""

import argparse
import json
from pathlib import Path

from demul_mm.cli import add_config_options, run_tool, tool_parser
from demul_mm.cli.parser import Options


def parse_args() -> argparse.Namespace:
    parser = tool_parser(__doc__)
    parser.add_argument('--sizes', type=int, nargs='+', default=[10_000], help='videos')
    parser.add_argument('--dim', type=int, default=128, help='S of synthetic vectors')
    parser.add_argument('--queries', type=int, default=1000, help='for recall (default 1000)')
    parser.add_argument('--repeats', type=int, default=200, help='timed single queries')
    parser.add_argument('--vectors', help='folder of trained vectors, enlarged by distractors')
    parser.add_argument('--query-vectors', help='safetensors of trained queries with their truth')
    parser.add_argument(
        '--shift', type=float, default=0.25, help='by how much distractors are moved (default 0.25)'
    )
    parser.add_argument(
        '--fusion',
        nargs=2,
        metavar=('CONFIG', 'CHECKPOINT'),
        help="also measure fusing 20 videos of the config's test data set",
    )
    add_config_options(parser)
    parser.add_argument('--backend', default='FaissIndex')
    parser.add_argument('--options', nargs='+', action=Options, default={})
    parser.add_argument('--search', nargs='+', action=Options, default={}, help='search options')
    parser.add_argument('--milvus-up-to', type=int, default=0, help='also Milvus Lite to this size')
    parser.add_argument(
        '--pq-up-to', type=int, default=0, help='also with product quantisation to this size'
    )
    parser.add_argument(
        '--float32-up-to', type=int, default=100_000, help='also unquantised search to this size'
    )
    parser.add_argument('--work-dir', type=Path, default=Path('work_dirs/benchmarks/corpus'))
    parser.add_argument(
        '--reuse', action='store_true', help='search the index that an earlier run left in work-dir'
    )
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--out', type=Path, help='write everything measured as JSON')
    parser.add_argument('--probe', help=argparse.SUPPRESS)
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    import torch
    from corpus_data import Corpus, EnlargedCorpus, SyntheticCorpus
    from corpus_measures import measure, probe
    from corpus_table import table
    from fusion import measure_fusion
    from measuring import peak_mb

    if args.probe:
        probe(args.probe)
        return
    results = []
    for size in args.sizes:
        corpus: Corpus
        if args.vectors:
            corpus = EnlargedCorpus(size, args.seed, args.vectors, args.query_vectors, args.shift)
        else:
            corpus = SyntheticCorpus(size, args.seed, args.dim)
        results.append(measure(corpus, args))
        if size == args.sizes[0] and args.fusion:
            results[0]['fusion'] = measure_fusion(*args.fusion, args.cfg_options, args.repeats)
        print(table(results), flush=True)
        if args.out:
            args.out.write_text(json.dumps(results, indent=1))
    peak = peak_mb() / 1024
    print(f'\n{torch.get_num_threads()} threads; this process took {peak:.1f} GiB at most')


if __name__ == '__main__':
    run_tool(main)
