"""Check that DeMUL trains and predicts on a GPU as on a CPU, how fast, and where it waits.

Needs no network and no data. A section that fails is reported and the others go on; the exit code
is then 1. ``--device cpu --quick`` tests the check itself.

Examples:
    python benchmarks/gpu_check --out work_dirs/gpu
    python benchmarks/gpu_check --only encodings waiting
    python benchmarks/gpu_check --device cpu --quick
"""

import argparse
import json
import os
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from demul_mm.cli import run_tool, tool_parser
from demul_mm.files import write_atomically

if TYPE_CHECKING:
    from lab import Lab
    from sections import Rows

sys.path.append(str(Path(__file__).resolve().parents[1]))  # where measuring.py is


def environment(lab: 'Lab') -> dict[str, str]:
    """The device, versions and commit of the figures."""
    import torch
    from measuring import commit

    from demul_mm.precision import choose_precision

    name = torch.cuda.get_device_name() if lab.on_gpu else torch.backends.cpu.get_cpu_capability()
    chosen = str(choose_precision('auto', lab.device)).removeprefix('torch.')
    return dict(device=name, torch=torch.__version__, precision=chosen, commit=commit())


def attempt(check: Callable[['Lab', 'Rows'], None], lab: 'Lab') -> dict:
    """The rows of a section, and how it ended: 'ok', 'skipped: ...' or 'FAILED: ...'."""
    import torch
    from sections import Skipped

    rows: Rows = {}
    start = time.perf_counter()
    try:
        check(lab, rows)
        outcome = 'ok'
    except Skipped as reason:
        outcome = f'skipped: {reason}'
    except Exception as error:
        traceback.print_exc()
        outcome = f'FAILED: {type(error).__name__}: {str(error)[:500]}'
    if lab.on_gpu:
        torch.cuda.empty_cache()
    return dict(outcome=outcome, seconds=round(time.perf_counter() - start, 1), rows=rows)


def page(facts: dict[str, str], results: dict[str, dict]) -> str:
    """The Markdown page."""
    from sections import SECTIONS

    from demul_mm.evaluation.tables import format_markdown

    lines = ['# GPU check', '', ', '.join(f'{k} {v}' for k, v in facts.items()), '']
    for name, result in results.items():
        about = (SECTIONS[name].__doc__ or '').strip()
        lines += [f'## {name}: {result["outcome"]}', '', f'{about} ({result["seconds"]} s)', '']
        lines += [format_markdown(result['rows']), ''] if result['rows'] else []
    return '\n'.join(lines)


def parse_args() -> argparse.Namespace:
    parser = tool_parser(__doc__)
    parser.add_argument('--device', default='cuda', help='default: %(default)s')
    parser.add_argument('--quick', action='store_true', help='small shapes')
    parser.add_argument('--only', nargs='+', metavar='SECTION', help='default: all')
    parser.add_argument(
        '--seconds', type=float, default=400, help='no section starts later (default: %(default)s)'
    )
    parser.add_argument('--out', default='work_dirs/gpu_check', help='writes OUT.json and OUT.md')
    return parser.parse_args()


def sections_of(args: argparse.Namespace) -> dict[str, Callable[['Lab', 'Rows'], None]]:
    """The sections of ``--only``, or all.

    Raises:
        ValueError: there is no GPU, or no section of that name.
    """
    import agreement  # noqa: F401  each of the three lists its sections
    import learning  # noqa: F401
    import throughput  # noqa: F401
    import torch
    from sections import SECTIONS

    if args.device == 'cuda' and not torch.cuda.is_available():
        raise ValueError('torch sees no GPU here; allowed: --device cpu --quick')
    unknown = sorted(set(args.only or ()) - SECTIONS.keys())
    if unknown:
        raise ValueError(f'--only {unknown[0]}: allowed are {", ".join(SECTIONS)}')
    return {name: SECTIONS[name] for name in args.only or SECTIONS}


def main() -> int:
    args = parse_args()
    # Before cuBLAS is loaded: without it, it is not deterministic.
    os.environ.setdefault('CUBLAS_WORKSPACE_CONFIG', ':4096:8')
    sections = sections_of(args)
    from lab import FULL, QUICK, Lab

    start = time.perf_counter()
    results: dict[str, dict] = {}
    with tempfile.TemporaryDirectory(prefix='gpu_check_') as folder:
        lab = Lab(Path(folder), args.device, QUICK if args.quick else FULL)
        facts = environment(lab)
        for name, check in sections.items():
            if time.perf_counter() - start > args.seconds:
                results[name] = dict(outcome='skipped: no time left', seconds=0, rows={})
            else:
                results[name] = attempt(check, lab)
            print(f'{name}: {results[name]["outcome"]} ({results[name]["seconds"]} s)', flush=True)
            Path(args.out).parent.mkdir(parents=True, exist_ok=True)
            write_atomically(f'{args.out}.json', json.dumps(dict(facts, sections=results)))
            write_atomically(f'{args.out}.md', page(facts, results))
    return int(any(r['outcome'].startswith('FAILED') for r in results.values()))


if __name__ == '__main__':
    run_tool(main)
