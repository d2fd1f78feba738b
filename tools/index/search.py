"""Search an index for moments.

Examples:
    python tools/index/search.py work_dirs/index configs/demul_demo.py work_dirs/demo/best.pth \\
        --text "a red disc leaves" --top 5
    python tools/index/search.py work_dirs/index configs/demul_demo.py work_dirs/demo/best.pth \\
        --text "a red disc leaves" --mode full
    python tools/index/search.py work_dirs/index configs/demul_demo.py work_dirs/demo/best.pth \\
        --text "a red disc leaves" --mode full --interactive
    python tools/index/search.py work_dirs/index --queries queries.safetensors --out hits.json
    python tools/index/search.py work_dirs/index --queries queries.safetensors --mode exact \\
        --where "date>=2024-05-01" --where "tags has cooking" --nms 0.5
"""

import argparse
import json
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from demul_mm.cli import add_config_options, load_config, run_tool, tool_parser
from demul_mm.cli.parser import Options
from demul_mm.files import read_list, write_atomically

if TYPE_CHECKING:
    import numpy as np

    from demul_mm.apis import CorpusInferencer
    from demul_mm.index import MomentHits, SearchFilter
    from demul_mm.structures.nms import MomentNMS


def parse_args() -> argparse.Namespace:
    parser = tool_parser(__doc__)
    parser.add_argument(
        'index', help='folder of the index, or http://HOST:19530/NAME of a MilvusIndex'
    )
    parser.add_argument('config', nargs='?', help='config of the model that encodes the sentences')
    parser.add_argument('checkpoint', nargs='?', help='its weights')
    parser.add_argument('--text', nargs='+', default=[], help='sentences to search for')
    parser.add_argument(
        '--queries',
        help='query vectors of export.py, or any safetensors with a tensor named queries',
    )
    parser.add_argument('--top', type=int, default=10, help='moments (default: %(default)s)')
    parser.add_argument('--num-videos', type=int, help='depth of level 2 (default: 200)')
    parser.add_argument('--num-candidates', type=int, help='depth of level 1')
    parser.add_argument(
        '--mode',
        choices=['fast', 'exact', 'full'],
        default='fast',
        help='fast: the index alone; full: its best videos are fused with the sentence, whose '
        'features the config names; exact: the same after scoring every moment of every video '
        '(vectors alone cannot be fused)',
    )
    parser.add_argument(
        '--num-fused',
        type=int,
        help='videos that modes full and exact fuse (default: 20)',
    )
    parser.add_argument(
        '--where', action='append', default=[], help='condition on metadata; all must hold'
    )
    parser.add_argument('--ids', type=Path, help='text file: search only these videos')
    parser.add_argument('--nms', type=float, help='IoU over which moments of a video are dropped')
    parser.add_argument(
        '--options', nargs='+', action=Options, default={}, help='of level 1, as nprobe=64'
    )
    parser.add_argument(
        '--interactive',
        action='store_true',
        help='go on searching: yes 1, no 2, "later than 0:40", "the second time", undo, ... '
        '(needs --text and a model; "help" lists what can be said)',
    )
    parser.add_argument(
        '--transfer',
        type=float,
        default=0.0,
        help="weight of the model's semantic memory (default: none)",
    )
    parser.add_argument('--cache-dir', help='keep encodings of fused videos here')
    add_config_options(parser)
    parser.add_argument('--out', type=Path, help='write the hits as JSON')
    return parser.parse_args()


def make_queries(
    args: argparse.Namespace,
) -> tuple['np.ndarray', list[str], str | None, dict[str, Any]]:
    """Vectors, names to show, the fingerprint that the index must have, and what words add."""
    if bool(args.queries) == bool(args.text):
        raise ValueError('give either --queries FILE, or --text with CONFIG and CHECKPOINT')
    if args.queries:
        from demul_mm.index.vectors import read_queries

        queries = read_queries(args.queries)
        names = queries.sentences or [f'query {i}' for i in range(len(queries.vectors))]
        return queries.vectors, names, queries.model_fingerprint, {}
    if not args.checkpoint:
        raise ValueError('--text needs CONFIG and CHECKPOINT, to encode the sentences')
    from demul_mm.apis import load_model
    from demul_mm.apis.arguments import as_sentences
    from demul_mm.retrieval import encode_queries
    from demul_mm.truncation import warn_cut

    config = load_config(args.config, args.cfg_options)
    model, _, fingerprint = load_model(config, args.checkpoint)
    sentences = as_sentences(args.text)
    warn_cut(model.data_preprocessor.tokenizer, sentences, 'queries')
    vectors = encode_queries(model, sentences, args.transfer).shared.float().cpu().numpy()
    words = dict(words=args.text, words_weight=model.head.joint.words_weight.item())
    return vectors, args.text, fingerprint, words


def make_search(args: argparse.Namespace) -> 'CorpusInferencer':
    """The model and the index, for what needs both."""
    if not (args.text and args.checkpoint):
        raise ValueError('fusing and --interactive need --text with CONFIG and CHECKPOINT')
    from demul_mm.apis import CorpusInferencer

    config = load_config(args.config, args.cfg_options)
    return CorpusInferencer(config, args.checkpoint, args.index, cache_dir=args.cache_dir)


def given(args: argparse.Namespace, *names: str) -> dict:
    """Those of these options that were given."""
    return {name: value for name in names if (value := getattr(args, name)) is not None}


def refuse(args: argparse.Namespace, where: str, *names: str) -> None:
    """Say which options have no meaning there, rather than leave them out in silence."""
    unused = [f'--{name.replace("_", "-")}' for name in names if getattr(args, name)]
    if unused:
        raise ValueError(f'{", ".join(unused)} cannot be used with {where}: leave it out')


def search_fused(args: argparse.Namespace, where: 'SearchFilter | None') -> None:
    """Search with fusion: probabilities instead of similarities."""
    refuse(args, f"mode {args.mode}, whose suppression is the config's", 'nms')
    search = make_search(args)
    results = search(
        args.text,
        transfer=args.transfer,
        mode=args.mode,
        num_moments=args.top,
        where=where,
        index_options=args.options,
        **given(args, 'num_videos', 'num_candidates', 'num_fused'),
    )
    if args.out:
        write(args.out, results)
    for result in results if not args.out else []:
        print(result['query'])
        for row in result['moments']:
            chance = row['probability']
            said = 'not fused' if chance is None else f'probability {chance:.3f}'
            print(f'  {row["start"]:8.2f} s  {row["end"]:8.2f} s  {row["video_id"]}  {said}')
    print(', '.join(f'{step} {1000 * s:.1f} ms' for step, s in search.timings.items()))


def converse(args: argparse.Namespace) -> None:
    """Search, and go on as the user says, a line at a time."""
    if len(args.text) != 1:
        raise ValueError('--interactive takes one --text')
    refuse(args, '--interactive', 'where', 'ids', 'nms', 'queries')
    from demul_mm.retrieval import Dialogue

    search = make_search(args)
    options = dict(
        mode=args.mode,
        num_moments=args.top,
        index_options=args.options,
        **given(args, 'num_videos', 'num_candidates', 'num_fused'),
    )
    begin = partial(search.session, transfer=args.transfer, options=options)
    dialogue = Dialogue(begin, args.text[0])
    print(dialogue.answer('show'))
    while not dialogue.ended:
        try:
            line = input('> ')
        except EOFError:
            print()
            break
        print(dialogue.answer(line))
    if args.out:
        dialogue.session.save(args.out)


def as_json(name: str, hits: 'MomentHits') -> dict:
    rows = zip(hits.video_ids, hits.spans.tolist(), hits.scores.tolist())
    return dict(query=name, moments=[[video, *span, score] for video, span, score in rows])


def write(path: Path, answers: list) -> None:
    """The hits as JSON, whole or not at all."""
    write_atomically(path, json.dumps(answers, indent=1, ensure_ascii=False))


def suppression(args: argparse.Namespace) -> 'MomentNMS | None':
    """What ``--nms`` asks for."""
    if args.nms is None:
        return None
    from demul_mm.structures.nms import MomentNMS

    return MomentNMS(iou_thr=args.nms, max_keep=args.top)


def search_vectors(args: argparse.Namespace, where: 'SearchFilter | None') -> None:
    """Search with the index alone."""
    from demul_mm.index import MomentIndex

    refuse(args, 'the index alone, which fuses nothing', 'num_fused', 'cache_dir')
    if args.queries:
        refuse(args, '--queries, which are vectors', 'transfer', 'checkpoint')
    vectors, names, fingerprint, words = make_queries(args)
    index = MomentIndex.open(args.index, expected_fingerprint=fingerprint)
    result = index.search(
        vectors,
        num_moments=args.top,
        num_videos=max(args.num_videos or 200, args.top),
        num_candidates=args.num_candidates,
        mode=args.mode,
        where=where,
        nms=suppression(args),
        options=args.options,
        **words,
    )
    if args.out:
        write(args.out, [as_json(*pair) for pair in zip(names, result.hits)])
    else:
        for name, hits in zip(names, result.hits):
            print(name)
            for video, (start, end), score in zip(hits.video_ids, hits.spans, hits.scores):
                print(f'  {score:.4f}  {start:8.2f} s  {end:8.2f} s  {video}')
    print(', '.join(f'{step} {1000 * s:.1f} ms' for step, s in result.timings.items()))


def main() -> None:
    args = parse_args()
    from demul_mm.index import SearchFilter, parse_condition

    where = None
    if args.where or args.ids:
        where = SearchFilter(
            video_ids=read_list(args.ids) if args.ids else None,
            conditions=[parse_condition(text) for text in args.where],
        )
    if args.interactive:
        converse(args)
    elif args.mode == 'full' or (args.mode == 'exact' and args.text):
        search_fused(args, where)
    else:
        search_vectors(args, where)


if __name__ == '__main__':
    run_tool(main)
