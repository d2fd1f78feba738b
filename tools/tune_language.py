"""Tune the sentence encoder of a config to what is said or written in its training videos.

Queries are contrasted with the texts of their moments (subtitles, speech or captions: `texts` of
the config's data sets), against all other texts. It changes what a text stream and a query are, so
the stream is made anew with it and the model told its name; tools/cross_validate.py does all of
that for each fold of a config that has `language_tuning`.

How it trains is `language_tuning` in the config (demul_mm.pretraining.TuningSchedule), which
--cfg-options changes. Run again to go on with what was interrupted.

Examples:
    python tools/tune_language.py configs/demul_youcook2_transcripts_cv.py --out work_dirs/lm
    python tools/data/encode_subtitles.py data/youcook2/annotations/videos.jsonl work_dirs/speech \\
        --clip-seconds 2 --lm work_dirs/lm
    python tools/train.py configs/demul_youcook2_transcripts_cv.py --cfg-options \\
        model.language.lm.name=work_dirs/lm \\
        train_dataloader.dataset.features.text.path=$PWD/work_dirs/speech \\
        val_dataloader.dataset.features.text.path=$PWD/work_dirs/speech \\
        test_dataloader.dataset.features.text.path=$PWD/work_dirs/speech
    python tools/tune_language.py my_config.py --out work_dirs/lm --device cuda \\
        --cfg-options language_tuning.epochs=3
"""

import argparse
from pathlib import Path

from demul_mm.cli import add_config_options, load_config, run_tool, tool_parser


def parse_args() -> argparse.Namespace:
    parser = tool_parser(__doc__)
    parser.add_argument('config', help='config whose data sets have texts=')
    parser.add_argument('--out', type=Path, required=True, help='folder to write')
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--device', default='cpu', help="'cpu' (default) or 'cuda'")
    add_config_options(parser)
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    state = args.out.with_name(args.out.name + '.state')
    if args.out.exists():
        raise ValueError(f'{args.out} is there; give another --out, or remove it')
    config = load_config(args.config, args.cfg_options)
    from demul_mm.datasets.subtitles import read_timed_text
    from demul_mm.evaluation.floors import annotation_entries
    from demul_mm.pretraining.language import LanguageTuner, TuningSchedule, read_talks
    from demul_mm.registry import DATASETS

    schedule = TuningSchedule(**config.get('language_tuning') or {})
    talks = {}
    for part in ('train', 'val'):
        if config.get(f'{part}_dataloader') is None:
            raise ValueError(
                f'{args.config} has no {part}_dataloader: how well the encoder does is told on '
                'held-out videos'
            )
        dataset = config[f'{part}_dataloader'].dataset.to_dict()
        path = dataset.get('texts')
        if path is None:
            raise ValueError(f'{args.config}: the data sets have no texts=, nothing is said there')
        built = DATASETS.build(dict(dataset, pipeline=[], features={}))
        told = read_timed_text(built.texts, schedule.clip_seconds)
        talks[part] = read_talks(annotation_entries(built), told)
    tuner = LanguageTuner(config.model.language.lm.name, schedule, args.seed, args.device)
    state.parent.mkdir(parents=True, exist_ok=True)
    print(f'held out, before: precision {tuner.precision(talks["val"]):.1f} %', flush=True)
    for loss in tuner.run(talks['train'], state):
        precision = tuner.precision(talks['val'])
        print(
            f'epoch {tuner.done} of {schedule.epochs}: loss {loss:.3f}, held out: precision '
            f'{precision:.1f} %',
            flush=True,
        )
    tuner.write(args.out)
    state.unlink()


if __name__ == '__main__':
    run_tool(main)
