"""Write a trained model as a folder that others can use, on their disk or on huggingface.co.

It holds `model.safetensors` (the averaged weights, which are those that were tested; no
optimizer), `config.json` (all that is read of it: data, which runs no code), `config.py` (the whole
config, for people), `README.md` (a model card with what the model takes and the sha256 of the
weights) and, with an extractor, `extractor.safetensors`: then it reads video files.

Examples:
    python tools/model/publish_model.py configs/demul_demo.py best.pth published/demo \\
        --extractor work_dirs/demo/backbone.pth --licence apache-2.0
    demul index ~/Videos --model published/demo
"""

import argparse

from demul_mm.cli import run_tool, tool_parser


def parse_args() -> argparse.Namespace:
    parser = tool_parser(__doc__)
    parser.add_argument('config', help='config file of the model')
    parser.add_argument('checkpoint', help='its weights')
    parser.add_argument('folder', help='where to write')
    parser.add_argument(
        '--extractor',
        metavar='FILE',
        help='backbone that made the features: of tools/pretrain_backbone.py, or a config of it',
    )
    parser.add_argument('--name', help='what it is called; default: as the folder')
    parser.add_argument('--licence', help='of the weights, as huggingface.co abbreviates it')
    parser.add_argument(
        '--longest',
        type=float,
        metavar='SECONDS',
        help='of the videos that it was trained for; demul searches longer ones in parts',
    )
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    from demul_mm.apis.publishing import publish

    folder = publish(
        args.config,
        args.checkpoint,
        args.folder,
        args.extractor,
        args.name,
        args.licence,
        args.longest,
    )
    print(f'{folder}: {", ".join(sorted(path.name for path in folder.iterdir()))}')


if __name__ == '__main__':
    run_tool(main)
