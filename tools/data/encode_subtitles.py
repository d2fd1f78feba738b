"""Turn subtitles, transcripts or captions into features: a row for each clip of a video.

The source is a folder of SRT or WebVTT files, named after their videos; or a JSONL file with a line
for each video, in our form (a subtitle may also be [start, end, text]) or as TVR publishes it:
    {"video_id": "kitchen_03", "subtitles": [{"start": 1.0, "end": 2.5, "text": "Hand me salt."}]}
    {"vid_name": "friends_s01e03_seg02_clip_19", "sub": [{"text": "...", "start": 0, "end": 1.9}]}
or a ZIP file with a JSONL file for each video, a line for each clip:
    {"moment": 0, "description": "a beach with a clear blue ocean"}

A row is the mean vector of the texts in a clip by a language model, with --bare-words that of their
single words (BareWords), or with --hashed-words the words themselves, hashed and spread over the
time of their text (HashedWords). Clips without text are rows of zeros; a video without any text is
not in the store: load the stream with optional=True. Run it again to resume. Broken files and lines
are left out and listed; the exit code is then 1.

Examples:
    python tools/data/encode_subtitles.py tvqa_preprocessed_subtitles.jsonl \\
        data/tvr/features/subtitles --clip-seconds 1.5
    python tools/data/encode_subtitles.py captions_val.zip data/qvhighlights/features/captions \\
        --clip-seconds 2
    python tools/data/encode_subtitles.py my_subtitles/ data/mine/features/subtitles
    python tools/data/encode_subtitles.py my_subtitles/ data/mine/features/words --bare-words
    python tools/data/encode_subtitles.py my_subtitles/ data/mine/features/hashed --hashed-words
    python tools/data/encode_subtitles.py my_subtitles/ data/mine/features/subtitles \\
        --lm sentence-transformers/all-mpnet-base-v2 --device cuda
"""

import argparse
import math
import os
import sys
from collections.abc import Sequence
from itertools import islice
from typing import TYPE_CHECKING

import numpy as np
from tqdm import tqdm

from demul_mm.cli import run_tool, tool_parser
from demul_mm.registry import MODELS, TASK_UTILS

if TYPE_CHECKING:
    from demul_mm.datasets.subtitles import TimedText

VIDEOS = 64  # whose texts are encoded together
BATCH = 64  # of texts
# What stands before the language model's name in the manifest.
KINDS = dict(
    TransformersLM='', BareWords='bare words of ', HashedWords='hashed words, in turn, of '
)


def parse_args() -> argparse.Namespace:
    parser = tool_parser(__doc__)
    parser.add_argument('source', help='folder of .srt and .vtt files, a JSONL or a ZIP file')
    parser.add_argument('out', help='folder to write')
    parser.add_argument(
        '--clip-seconds', type=float, default=1.5, help='seconds a row covers (default: 1.5)'
    )
    parser.add_argument(
        '--lm',
        default='minilm',
        help="language model: folder or hub name (default: 'minilm', which is packaged)",
    )
    kind = parser.add_mutually_exclusive_group()
    kind.add_argument(
        '--bare-words',
        dest='token_model',
        action='store_const',
        const='BareWords',
        default='TransformersLM',
        help='mean vectors of single words, read without context (needs wordllama)',
    )
    kind.add_argument(
        '--hashed-words',
        dest='token_model',
        action='store_const',
        const='HashedWords',
        help='hashes of the words, for WordMatch',
    )
    parser.add_argument('--max-length', type=int, default=64, help='tokens kept of a text')
    parser.add_argument('--encoding', help='of the files of a folder, if not UTF-8 or UTF-16')
    parser.add_argument('--dtype', choices=['float16', 'float32'], default='float16')
    parser.add_argument('--device', default='cpu', help="'cpu' (default) or 'cuda'")
    args = parser.parse_args()
    if not 0 < args.clip_seconds < math.inf:
        parser.error(f'--clip-seconds {args.clip_seconds:g}: give seconds above 0')
    if not os.path.exists(args.source):
        parser.error(f'there is no {args.source}')
    return args


class SentenceEncoder:
    """Unit vectors of sentences: the mean of a language model's token features."""

    def __init__(self, name: str, lm: str, max_length: int, device: str) -> None:
        from demul_mm.device import choose_device

        self.device = choose_device(device)
        self.tokenizer = TASK_UTILS.build(
            dict(type='TransformersTokenizer', name=name, max_length=max_length)
        )
        options = dict(tune='none') if lm == 'TransformersLM' else {}
        self.lm = MODELS.build(dict(type=lm, name=name, **options)).to(self.device)
        self.dim: int = self.lm.out_dim
        self.num_cut = 0

    def __call__(self, texts: Sequence[str]) -> np.ndarray:
        """``(N, dim)`` float32; each distinct text is encoded once, beside others as long."""
        distinct = sorted(set(texts), key=lambda text: (len(text), text))
        self.num_cut += len(self.tokenizer.cut(distinct))
        parts = [self._encode(distinct[i : i + BATCH]) for i in range(0, len(distinct), BATCH)]
        place = {text: i for i, text in enumerate(distinct)}
        return np.concatenate(parts)[[place[text] for text in texts]]

    def _encode(self, texts: list[str]) -> np.ndarray:
        import torch

        ids, mask = (tensor.to(self.device) for tensor in self.tokenizer(texts))
        with torch.inference_mode():
            tokens = self.lm(ids, mask) * mask[..., None]
            return torch.nn.functional.normalize(tokens.sum(1), dim=-1).cpu().numpy()


def encode(videos: Sequence['TimedText'], encoder: SentenceEncoder) -> list[np.ndarray]:
    """For each video the features ``(N, dim)`` of its texts."""
    rows = iter(encoder([one.text for video in videos for one in video.subtitles]))
    return [np.stack(list(islice(rows, len(video.subtitles)))) for video in videos]


def main() -> int:
    args = parse_args()
    from demul_mm.datasets import PackedWriter
    from demul_mm.datasets.subtitles import clip_rows, read_timed_text, word_by_word

    encoder = SentenceEncoder(args.lm, args.token_model, args.max_length, args.device)
    bad: list[str] = []
    silent = 0
    provenance = {
        'made_by': 'tools/data/encode_subtitles.py',
        'source': os.path.basename(os.path.normpath(args.source)),
        'lm': KINDS[args.token_model] + args.lm,
        'max_length': args.max_length,
    }
    with PackedWriter(
        args.out,
        dim=encoder.dim,
        dtype=args.dtype,
        provenance=provenance,
        clip_seconds=args.clip_seconds,
    ) as writer:
        found = read_timed_text(args.source, args.clip_seconds, args.encoding)
        source = iter(tqdm(found, unit='video'))
        while block := list(islice(source, VIDEOS)):
            bad += [video.fault for video in block if video.fault]
            silent += sum(not video.subtitles and not video.fault for video in block)
            new = [v for v in block if v.subtitles and v.video_id not in writer]
            if args.token_model == 'HashedWords':
                new = [v._replace(subtitles=word_by_word(v.subtitles)) for v in new]
            for video, rows in zip(new, encode(new, encoder) if new else []):
                clips = clip_rows(video.subtitles, rows, args.clip_seconds, video.duration)
                writer.add(video.video_id, clips)
        total = len(writer)
    print(f'{args.out}: {total:,} videos, {encoder.dim} values a row; {silent:,} without any text')
    if encoder.num_cut:
        print(
            f'{encoder.num_cut:,} texts are longer than the {args.max_length} tokens that are read'
        )
    if bad:
        print(f'{len(bad):,} left out:', *bad, sep='\n', file=sys.stderr)
    return 1 if bad else 0


if __name__ == '__main__':
    run_tool(main)
