"""Write the moment vectors of a corpus to files, from which indexes are built without the model.

Killed, it leaves whole files; run again with the same arguments it goes on.

Examples:
    python tools/index/export.py work_dirs/vectors configs/demul_demo.py work_dirs/demo/best.pth
    python tools/index/export.py work_dirs/vectors configs/demul_demo.py work_dirs/demo/best.pth \\
        --levels 1 2 3 4 --queries work_dirs/queries.safetensors
    python tools/index/build.py work_dirs/index --vectors work_dirs/vectors
"""

import argparse
import itertools
from pathlib import Path
from typing import TYPE_CHECKING

from _index_common import add_source_arguments, make_source, progress_bar, tell_left_out

from demul_mm.cli import run_tool, tool_parser

if TYPE_CHECKING:
    from demul_mm.retrieval import BankEntries


def parse_args() -> argparse.Namespace:
    parser = tool_parser(__doc__)
    add_source_arguments(parser, target='folder', what='folder of the vectors', files=False)
    parser.add_argument(
        '--queries',
        type=Path,
        help='also write the vectors of all queries of the test data set, with their truth, here',
    )
    parser.add_argument('--videos-per-file', type=int, default=1000)
    return parser.parse_args()


def left_to_do(folder: Path, ids: list[str], fingerprints: dict[str, str]) -> list[str]:
    """Videos that no file in the folder holds yet."""
    from demul_mm.index.vectors import VectorFolder

    if not any(folder.glob('*.safetensors')):
        return ids
    written = VectorFolder(folder)
    if written.fingerprints != fingerprints:
        raise ValueError(
            f'{folder} holds vectors made with {written.fingerprints}, this is {fingerprints}; '
            'choose another folder, or give --no-resume to write over them'
        )
    done = set(written.ids())
    return [video_id for video_id in ids if video_id not in done]


def write_query_vectors(path: Path, source: 'BankEntries', fingerprint: str) -> int:
    """All queries of the data set whose moment is known."""
    import numpy as np

    from demul_mm.index.vectors import write_queries
    from demul_mm.retrieval import encode_queries

    dataset = source.bank.source.dataset
    sentences, truth = [], []
    for info in (dataset.get_data_info(i) for i in range(len(dataset))):
        for sentence, spans in zip(info['queries'], info['gt_spans']):
            if len(spans):
                sentences.append(sentence)
                truth.append((str(info['video_id']), *map(float, spans[0])))
    if not sentences:
        raise ValueError('no query of the data set has a known moment; leave --queries out')
    vectors = [
        encode_queries(source.bank.model, sentences[i : i + 256]).shared.float().cpu().numpy()
        for i in range(0, len(sentences), 256)
    ]
    write_queries(path, np.concatenate(vectors), sentences, truth, fingerprint)
    return len(sentences)


def main() -> int:
    args = parse_args()
    from demul_mm.index.vectors import VectorFolder, write_vectors

    folder = Path(args.folder)
    if args.queries and args.queries.resolve().parent == folder.resolve():
        raise ValueError(f'--queries {args.queries} lies among the vectors; choose another place')
    source, fingerprints = make_source(args)
    if args.no_resume:
        for file in folder.glob('part-*.safetensors'):
            file.unlink()
    ids = list(source.ids())
    todo = left_to_do(folder, ids, fingerprints)
    with progress_bar(len(ids), 'exporting') as bar:
        bar.update(len(ids) - len(todo))
        paths = (folder / f'part-{number:06d}.safetensors' for number in itertools.count())
        free = (path for path in paths if not path.exists())
        entries = iter(source.load(todo))
        while part := list(itertools.islice(entries, args.videos_per_file)):
            write_vectors(next(free), part, **fingerprints)
            bar.update(len(part))
    print(f'{folder}: {len(VectorFolder(folder).ids())} videos')
    if args.queries:
        count = write_query_vectors(args.queries, source, fingerprints['model_fingerprint'])
        print(f'{args.queries}: {count} queries')
    return tell_left_out(source)


if __name__ == '__main__':
    run_tool(main)
