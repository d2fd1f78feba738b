"""Memory and time of indexing a long video file, beside those of decoding it alone.

Films of moving noise in small frames are made in several lengths. Each is decoded only, and indexed
by the library of `demul_mm`, in processes of their own. Memory is the peak of resident memory; time
is processor time of all threads.

Examples:
    python benchmarks/long_file.py published/demo --minutes 6 60
    python benchmarks/long_file.py google/siglip2-base-patch16-224 --minutes 60 --size 320 180
"""

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

from measuring import peak_mb

from demul_mm.cli import run_tool, tool_parser


def parse_args() -> argparse.Namespace:
    parser = tool_parser(__doc__)
    parser.add_argument('model', help='image-text model or published DeMUL: folder or name')
    parser.add_argument('--minutes', type=int, nargs='+', default=[6, 60])
    parser.add_argument('--size', type=int, nargs=2, default=[128, 96], help='of the frames')
    parser.add_argument('--fps', type=int, default=10)
    parser.add_argument('--only', nargs=2, help=argparse.SUPPRESS)  # one case: what, and the file
    return parser.parse_args()


def write_film(path: Path, minutes: int, size: list[int], fps: int) -> None:
    """Write a film of moving noise, with a new picture every second."""
    import av
    import numpy as np

    draw = np.random.default_rng(0)
    with av.open(str(path), 'w') as container:
        stream = container.add_stream('mpeg4', rate=fps)
        stream.width, stream.height = size
        for _ in range(60 * minutes):
            picture = draw.integers(0, 256, (size[1] // 8, size[0] // 8, 3), dtype=np.uint8)
            picture = picture.repeat(8, 0).repeat(8, 1)
            for step in range(fps):
                frame = av.VideoFrame.from_ndarray(np.roll(picture, step, 1).copy(), format='rgb24')
                container.mux(stream.encode(frame))
        container.mux(stream.encode())


def measure(args: argparse.Namespace) -> dict[str, float]:
    """One case, in this process."""
    what, file = args.only
    if what == 'decode':
        import av

        clock = time.process_time()
        with av.open(file) as container:
            container.streams.video[0].thread_type = 'SLICE'
            for _ in container.decode(video=0):
                pass
    else:
        from demul_mm.app.library import Library
        from demul_mm.app.models import load_encoder

        encoder = load_encoder(args.model, offline=True)
        clock = time.process_time()
        with TemporaryDirectory() as folder:
            report = Library(folder, lambda name: encoder).update([file])
            assert report.added == 1, report.broken
    seconds = time.process_time() - clock
    return {'CPU seconds': seconds, 'peak MB': peak_mb()}


def main() -> None:
    args = parse_args()
    if args.only:
        print(json.dumps(measure(args)))
        return
    from demul_mm.evaluation.tables import format_table

    rows = {}
    with TemporaryDirectory() as folder:
        for minutes in args.minutes:
            film = Path(folder, f'{minutes}.mp4')
            write_film(film, minutes, args.size, args.fps)
            for what in ('decode', 'index'):
                command = [sys.executable, __file__, args.model, '--only', what, str(film)]
                done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
                row = json.loads(done.stdout.splitlines()[-1])
                row['x real time'] = 60 * minutes / row['CPU seconds']
                rows[f'{what}, {minutes} min'] = row
            film.unlink()
    print(format_table(rows))


if __name__ == '__main__':
    run_tool(main)
