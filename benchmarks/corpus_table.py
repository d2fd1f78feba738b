"""What the index benchmark measured, as Markdown."""

from collections.abc import Callable
from typing import Any

Result = dict[str, Any]
BEST_200 = "level 2: exact mode's best 200"
SETS = {'queries': 'queries', 'drawn': 'drawn queries'}


def milliseconds(of: dict[str, float]) -> str:
    """p50 / p95."""
    return f'{of["p50"]:.1f} / {of["p95"]:.1f}'


def table(results: list[Result]) -> str:
    """The main figures, a column for each size."""
    lines = [
        row(results, 'videos', lambda r: f'{r["videos"]:,}'),
        '| --- |' + ' --- |' * len(results),
        *_size_rows(results),
        *_latency_rows(results),
        *_loss_rows(results),
        *_rival_rows(results),
    ]
    return '\n'.join(lines)


def row(results: list[Result], name: str, cell: Callable[[Result], str]) -> str:
    """One row; a dash where something was not measured."""

    def shown(result: Result) -> str:
        try:
            return cell(result)
        except KeyError:
            return '-'

    return f'| {name} | ' + ' | '.join(map(shown, results)) + ' |'


def _size_rows(results: list[Result]) -> list[str]:
    cells: dict[str, Callable[[Result], str]] = {
        'moments a video': lambda r: f'{r["moments"] / r["videos"]:.1f}',
        'level 1': lambda r: f'{r["level1"]["kind"]}, depth {r["level1"].get("depth", "-")}',
        'build, without encoding (s)': lambda r: f'{r["build_s"]:.0f}',
        'KB a video on disk': lambda r: f'{r["bytes_per_video"] / 1000:.2f}',
        'the same, product-quantised (pq4, 12 prototypes)': lambda r: (
            f'{r["pq"]["bytes_per_video"] / 1000:.2f}'
        ),
        'KB a video in memory': lambda r: f'{r["probe"]["memory"] / r["videos"] / 1000:.2f}',
        'open; open and verify (s)': lambda r: (
            f'{r["probe"]["open_s"]:.2f}; {r["probe"]["open_verified_s"]:.2f}'
        ),
        'add; remove 1,000 videos (s)': lambda r: (
            f'{r["add_1000_s"]:.2f}; {r["remove_1000_s"]:.2f}'
        ),
    }
    return [row(results, *item) for item in cells.items()]


def _latency_rows(results: list[Result]) -> list[str]:
    first = results[0]['latency']['one']['levels']['p50']
    work = results[0]['latency']['one']['cpu']['p50']
    rows = []
    for batch, name in (('one', '1 query'), ('batch', '64 queries')):
        for key, what in (('level1', 'level 1'), ('level2', 'level 2'), ('levels', 'levels 1 + 2')):
            rows.append(
                row(
                    results,
                    f'{name}: {what}, p50 / p95 (ms)',
                    lambda r, b=batch, k=key: milliseconds(r['latency'][b][k]),
                )
            )
    return [
        *rows,
        row(
            results,
            'processor time of a whole search: 1; 64 queries, p50 (ms)',
            lambda r: '; '.join(f'{r["latency"][b]["cpu"]["p50"]:.1f}' for b in ('one', 'batch')),
        ),
        row(
            results,
            'growth of processor time, 1 query',
            lambda r: f'{r["latency"]["one"]["cpu"]["p50"] / work:.2f}',
        ),
        row(
            results,
            'growth of levels 1 + 2, 1 query',
            lambda r: f'{r["latency"]["one"]["levels"]["p50"] / first:.2f}',
        ),
        row(
            results,
            '1 query after adding and removing 1,000 (ms)',
            lambda r: milliseconds(r['latency_after_removal']),
        ),
        row(results, '1 query, exact mode (ms)', lambda r: milliseconds(r['exact_latency'])),
        row(
            results,
            'fusing the 20 best videos, 1 query (ms)',
            lambda r: milliseconds(r['fusion']['in memory']['fuse']),
        ),
        row(
            results,
            'whole search with fusion, 1 query, encodings in memory; on disk (ms)',
            lambda r: '; '.join(
                milliseconds(r['fusion'][where]['total']) for where in ('in memory', 'on disk')
            ),
        ),
    ]


def _loss_rows(results: list[Result]) -> list[str]:
    rows = []
    for key, name in SETS.items():
        rows += [
            row(
                results,
                f'{name}: recall of {part}',
                lambda r, k=key, p=part: f'{r[k]["recall"][p]:.4f}',
            )
            for part in results[0][key]['recall']
        ]
        rows += [
            row(
                results,
                f'{name}: {part}, fast; exact',
                lambda r, k=key, p=part: f'{r[k]["fast"][p]:.2f}; {r[k]["exact"][p]:.2f}',
            )
            for part in results[0][key]['fast']
        ]
    rows += [
        row(results, f'queries: {part}, float32', lambda r, p=part: f'{r["float32"][p]:.2f}')
        for part in results[0]['queries']['fast']
    ]
    return [
        *rows,
        row(
            results,
            "pq4: recall of exact mode's best 200; level 1 + 2, 1 query (ms)",
            lambda r: f'{r["pq"]["recall"][BEST_200]:.4f}; {milliseconds(r["pq"]["levels"])}',
        ),
    ]


def _rival_rows(results: list[Result]) -> list[str]:
    def ratio(result: Result) -> str:
        return '; '.join(
            f'{result["exhaustive"][b]["p50"] / result["latency"][b]["levels"]["p50"]:.1f}'
            for b in ('one', 'batch')
        )

    return [
        row(
            results,
            'exhaustive clips: 1; 64 queries (ms)',
            lambda r: '; '.join(milliseconds(r['exhaustive'][b]) for b in ('one', 'batch')),
        ),
        row(results, 'exhaustive / ours: time of 1; of 64', ratio),
        row(
            results,
            'exhaustive / ours: memory',
            lambda r: f'{r["exhaustive"]["bytes"] / r["probe"]["memory"]:.1f}',
        ),
        row(
            results,
            'Milvus Lite: same moments (share of 100 queries); 1 query (ms)',
            lambda r: (
                f'{r["milvus"]["same_moments"]:.2f}; '
                f'{milliseconds(r["milvus"]["latency"]["one"]["levels"])}'
            ),
        ),
    ]
