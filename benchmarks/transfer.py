"""Measure search with the semantic memory of the train split, at several weights.

The corpus is encoded once. For each weight, every query is moved towards the moments of the train
split whose captions resemble it (0: not at all), and searched.

Examples:
    python benchmarks/ablations.py configs/demul_demo.py transfer work_dirs/transfer.py
    python tools/train.py work_dirs/transfer.py
    python benchmarks/transfer.py work_dirs/transfer.py best.pth
    python benchmarks/transfer.py work_dirs/transfer.py best.pth --mode fast --weights 0 .2 .4
"""

from typing import TYPE_CHECKING

from tqdm import tqdm
from trained_arguments import add_arguments

from demul_mm.cli import run_tool, tool_parser

if TYPE_CHECKING:
    from trained import Trained

BATCH = 64
SHOWN = [f'VR/R@{k}' for k in (1, 10, 100)] + [
    f'VCMR/R@{k},IoU={m}' for m in (0.5, 0.7) for k in (1, 10, 100)
]


def main() -> None:
    parser = tool_parser(__doc__)
    add_arguments(parser)
    parser.add_argument('--weights', type=float, nargs='+', default=[0.0, 0.1, 0.2, 0.4])
    parser.add_argument('--mode', choices=['fast', 'full', 'exact'], default='full')
    parser.add_argument('--num-fused', type=int, default=20)
    args = parser.parse_args()
    from trained import load_trained

    trained = load_trained(args)
    memory = trained.model.memory
    if memory is None:
        parser.error('the model has no semantic memory: train the ablation `transfer`')
    print(f'{len(trained.queries)} queries, {trained.searcher.index.stats()["videos"]} videos')
    print(f'{int(memory.mask.sum())} moments in the memory; {neighbours(trained)}\n')
    print('| weight | ' + ' | '.join(SHOWN) + ' |')
    print('| --- |' + ' --- |' * len(SHOWN))
    for weight in args.weights:
        metrics = evaluate(trained, weight, args.mode, args.num_fused)
        print(
            f'| {weight:g} | ' + ' | '.join(f'{metrics[k]:.1f}' for k in SHOWN) + ' |', flush=True
        )


def neighbours(trained: 'Trained') -> str:
    """How many queries have a similar caption in the memory."""
    from demul_mm.retrieval import encode_queries

    memory = trained.model.memory
    total = 0
    for start in range(0, len(trained.queries), BATCH):
        texts = [asked.text for asked in trained.queries[start : start + BATCH]]
        meaning = encode_queries(trained.model, texts).meaning
        weight = memory.soft_label(meaning, memory.captions) * memory.mask
        total += int((weight.sum(1) > 0).sum())
    return f'{100 * total / len(trained.queries):.0f} % of the queries have a neighbour in it'


def evaluate(trained: 'Trained', weight: float, mode: str, num_fused: int) -> dict[str, float]:
    """VR and VCMR at one weight, in percent."""
    from demul_mm.evaluation.metrics import CorpusMomentMetric
    from demul_mm.retrieval import SearchOptions, encode_queries

    answers, videos = {}, {}
    for start in tqdm(range(0, len(trained.queries), BATCH), desc=f'{weight:g}', leave=False):
        part = trained.queries[start : start + BATCH]
        sentences = [asked.text for asked in part]
        found, _ = trained.searcher.search(
            encode_queries(trained.model, sentences, weight),
            SearchOptions(mode, num_moments=100, num_fused=num_fused),
            sentences=sentences,
        )
        for asked, answer in zip(part, found):
            rows = [[m.video_id, m.start, m.end, m.score] for m in answer.moments]
            answers[asked.query_id] = rows
            videos[asked.query_id] = [[v, 0.0, 0.0, 0.0] for v in answer.videos]
    truth = [dict(query_id=a.query_id, video_id=a.video_id, gt=a.spans) for a in trained.queries]
    metrics = CorpusMomentMetric.calculate(answers, truth, topk=(1, 10, 100))
    ranked = CorpusMomentMetric.calculate(videos, truth, topk=(1, 10, 100))
    return {**metrics, **{key: ranked[key] for key in SHOWN if key.startswith('VR')}}


if __name__ == '__main__':
    run_tool(main)
