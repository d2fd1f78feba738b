"""Whether DeMUL trains and finds on a GPU what it does on a CPU, how fast, and where it waits.

Needs no network and no data. Every section is tried by itself: one that fails is reported, and the
others go on; the exit code is then 1. With ``--device cpu --quick`` it is a test of itself.

Examples:
    python benchmarks/gpu_check --out work_dirs/gpu
    python benchmarks/gpu_check --only encodings waiting
    python benchmarks/gpu_check --device cpu --quick
"""

import os

# Before cuBLAS is loaded: without it, it is not deterministic.
os.environ.setdefault('CUBLAS_WORKSPACE_CONFIG', ':4096:8')

import argparse
import json
import tempfile
import time
import traceback
from collections.abc import Callable
from pathlib import Path

import agreement  # noqa: F401  each of the three lists its sections
import learning  # noqa: F401
import throughput  # noqa: F401
import torch
from lab import FULL, QUICK, Lab, commit
from sections import SECTIONS, Rows, Skipped

from demul_mm.evaluation.tables import format_markdown
from demul_mm.files import write_atomically
from demul_mm.precision import choose_precision


def environment(lab: Lab) -> dict[str, str]:
    """What the figures belong to."""
    name = torch.cuda.get_device_name() if lab.on_gpu else torch.backends.cpu.get_cpu_capability()
    chosen = str(choose_precision('auto', lab.device)).removeprefix('torch.')
    return dict(device=name, torch=torch.__version__, precision=chosen, commit=commit())


def attempt(check: Callable[[Lab, Rows], None], lab: Lab) -> dict:
    """What a section found, and how it ended: 'ok', 'skipped: ...' or 'FAILED: ...'."""
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
    lines = ['# GPU check', '', ', '.join(f'{k} {v}' for k, v in facts.items()), '']
    for name, result in results.items():
        about = (SECTIONS[name].__doc__ or '').strip()
        lines += [f'## {name}: {result["outcome"]}', '', f'{about} ({result["seconds"]} s)', '']
        lines += [format_markdown(result['rows']), ''] if result['rows'] else []
    return '\n'.join(lines)


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--device', default='cuda', help='default: %(default)s')
    parser.add_argument('--quick', action='store_true', help='small shapes')
    parser.add_argument('--only', nargs='+', choices=SECTIONS, metavar='SECTION')
    parser.add_argument(
        '--seconds', type=float, default=400, help='no section starts later (default: %(default)s)'
    )
    parser.add_argument('--out', default='work_dirs/gpu_check', help='writes OUT.json and OUT.md')
    args = parser.parse_args()
    if args.device == 'cuda' and not torch.cuda.is_available():
        parser.error('torch sees no GPU here; allowed: --device cpu --quick')
    return args


def main() -> None:
    args = parse_args()
    start = time.perf_counter()
    results: dict[str, dict] = {}
    with tempfile.TemporaryDirectory(prefix='gpu_check_') as folder:
        lab = Lab(Path(folder), args.device, QUICK if args.quick else FULL)
        facts = environment(lab)
        for name in args.only or SECTIONS:
            if time.perf_counter() - start > args.seconds:
                results[name] = dict(outcome='skipped: no time left', seconds=0, rows={})
            else:
                results[name] = attempt(SECTIONS[name], lab)
            print(f'{name}: {results[name]["outcome"]} ({results[name]["seconds"]} s)', flush=True)
            Path(args.out).parent.mkdir(parents=True, exist_ok=True)
            write_atomically(f'{args.out}.json', json.dumps(dict(facts, sections=results)))
            write_atomically(f'{args.out}.md', page(facts, results))
    raise SystemExit(any(r['outcome'].startswith('FAILED') for r in results.values()))


if __name__ == '__main__':
    main()
