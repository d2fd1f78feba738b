"""Pack the captions that configs/demul_qvhighlights_captions_cv.py reads.

The source is val.zip or the folder val in data/qvhighlights/caption of
https://github.com/YoucanBaby/VTG-GPT (MIT): a file `<vid>.jsonl` for each video, a line for every
2 s. Into DATA/annotations/captions_val.zip go those of the videos of highlight_val_release.jsonl,
as val/<vid>.jsonl. Videos without captions are listed, and the exit code is then 1.

Examples:
    git clone --depth 1 https://github.com/YoucanBaby/VTG-GPT
    python tools/data/qvhighlights/prepare_cv.py VTG-GPT/data/qvhighlights/caption/val.zip
    python tools/data/qvhighlights/prepare_cv.py caption/val --data /mnt/qvhighlights
"""

import argparse
import os
import sys
import zipfile
from pathlib import Path

from demul_mm.cli import run_tool, tool_parser


def parse_args() -> argparse.Namespace:
    parser = tool_parser(__doc__)
    parser.add_argument('captions', type=Path, help='ZIP file or folder with <vid>.jsonl')
    parser.add_argument(
        '--data',
        type=Path,
        default=Path('data/qvhighlights'),
        help='where annotations/highlight_val_release.jsonl is (default: data/qvhighlights)',
    )
    return parser.parse_args()


def read_captions(source: Path) -> dict[str, bytes]:
    """The content of each ``<vid>.jsonl``, by vid."""
    if source.is_dir():
        return {path.stem: path.read_bytes() for path in source.glob('*.jsonl')}
    try:
        with zipfile.ZipFile(source) as archive:
            names = [name for name in archive.namelist() if name.endswith('.jsonl')]
            return {os.path.basename(name)[:-6]: archive.read(name) for name in names}
    except zipfile.BadZipFile as error:
        raise ValueError(f'{source}: {error}; download it again') from error


def main() -> int:
    args = parse_args()
    from demul_mm.datasets.reading import entry, read_jsonl
    from demul_mm.files import replacing

    queries = str(args.data / 'annotations' / 'highlight_val_release.jsonl')
    vids = sorted({entry(row, 'vid', queries, where, str) for where, row in read_jsonl(queries)})
    captions = read_captions(args.captions)
    there = [vid for vid in vids if vid in captions]
    if not there:
        raise ValueError(f'{args.captions}: no <vid>.jsonl of the {len(vids)} videos of {queries}')
    out = args.data / 'annotations' / 'captions_val.zip'
    with replacing(out) as path, zipfile.ZipFile(path, 'w', zipfile.ZIP_DEFLATED) as archive:
        for vid in there:
            archive.writestr(f'val/{vid}.jsonl', captions[vid])
    print(f'{out}: {len(there):,} videos')
    missing = [vid for vid in vids if vid not in captions]
    if missing:
        print(f'{len(missing)} without captions:', *missing, sep='\n  ', file=sys.stderr)
    return 1 if missing else 0


if __name__ == '__main__':
    run_tool(main)
