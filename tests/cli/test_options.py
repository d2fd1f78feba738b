"""Every option takes effect, or is refused with what to use instead."""

from pathlib import Path
from typing import Any

import pytest
from mmengine.config import Config

from demul_mm.cli import add_config_options, tool_parser
from demul_mm.cli.options import apply_options, check_options

CONFIGS = Path(__file__).resolve().parents[2] / 'configs'
CONFIG = Config(
    dict(
        model=dict(type='A', head=dict(width=4), list=[dict(loss_weight=1.0), dict(alpha=2)]),
        train_dataloader=dict(batch_size=2, num_workers=0),
        load_from=None,
    )
)
LOADERS = ('train_dataloader', 'val_dataloader', 'test_dataloader')


@pytest.mark.parametrize(
    'key', ['load_from', 'model.head.width', 'model.list.1.alpha', 'model.list.0', 'model']
)
def test_existing_paths_pass(key: str) -> None:
    check_options(CONFIG, {key: 1})


@pytest.mark.parametrize(
    ('key', 'hint'),
    [
        ('train_dataloader.batchsize', 'Did you mean train_dataloader.batch_size?'),
        ('trian_dataloader.batch_size', 'Did you mean train_dataloader?'),
        ('num_workers', 'Did you mean train_dataloader.num_workers?'),
        ('model.list.2.alpha', 'Allowed are: 0, 1'),
        ('load_from.x', 'Allowed are: none, it is a plain value'),
        ('model.head.qqq', 'Allowed are: width'),
    ],
)
def test_misspelt_paths_name_the_nearest(key: str, hint: str) -> None:
    with pytest.raises(ValueError, match='there is no') as error:
        check_options(CONFIG, {'load_from': 'x', key: 1})
    assert hint in str(error.value)
    assert key in str(error.value)


def test_an_option_may_name_an_argument_that_the_config_leaves_at_its_default():
    config = {'train_dataloader': {'dataset': {'type': 'JsonlMomentDataset', 'ann_file': 'a'}}}
    check_options(config, {'train_dataloader.dataset.max_videos': 5})
    with pytest.raises(ValueError, match='max_vidoes'):
        check_options(config, {'train_dataloader.dataset.max_vidoes': 5})


def test_a_path_with_a_comma_is_one_value() -> None:
    """Where the config holds a text, or the Runner takes one; elsewhere it is a list."""
    parser = tool_parser('What it does.\n\nExamples:\n    none')
    add_config_options(parser)
    settings = {
        'load_from': 'best_R@1,IoU=0.5.pth',
        'data_root': '/a, b/',
        'val_evaluator.ious': '0.1,0.3',
    }
    words = [f'{key}={value}' for key, value in settings.items()]
    options = parser.parse_args(['--cfg-options', *words]).cfg_options
    dataset = dict(data_root='data/', ann_file='a')
    config = Config(dict(load_from=None, data_root='data/', val_evaluator=dict(ious=[0.5])))
    config.train_dataloader = dict(dataset=dataset)
    apply_options(config, options)
    assert config.load_from == 'best_R@1,IoU=0.5.pth'
    assert config.data_root == config.train_dataloader.dataset.data_root == '/a, b/'
    assert config.val_evaluator.ious == [0.1, 0.3]
    assert type(config.val_evaluator.ious) is list


def at(config: Config, path: str) -> Any:
    node: Any = config
    for part in path.split('.'):
        node = node[int(part)] if part.isdigit() else node[part]
    return node


def anet() -> Config:
    return Config.fromfile(CONFIGS / 'demul_anet.py')


# ResampleClips, in training after three augmentations.
RESAMPLE = [f'{part}.dataset.pipeline.{i}.num_clips' for part, i in zip(LOADERS, (4, 1, 1))]


@pytest.mark.parametrize(
    ('option', 'settings'),
    [
        ('num_clips=77', RESAMPLE),
        ('data_root=x/', [f'{part}.dataset.data_root' for part in LOADERS]),
        ('features.visual.path=y', [f'{part}.dataset.features.visual.path' for part in LOADERS]),
        ('train_pipeline.4.num_clips=9', RESAMPLE[:1]),
        (
            'test_pipeline.1.num_clips=9',
            RESAMPLE[1:],
        ),
    ],
)
def test_a_name_of_the_config_file_stands_for_its_settings(
    option: str, settings: list[str]
) -> None:
    key, _, text = option.partition('=')
    value = int(text) if text.isdigit() else text
    config, plain = anet(), anet()
    apply_options(config, {key: value})
    for setting in settings:
        assert at(config, setting) == value
        assert at(plain, setting) != value
    if key == 'train_pipeline.4.num_clips':
        for part in LOADERS[1:]:
            assert config[part] == plain[part]
    apply_options(config, {'train_pipeline.5.max_queries': 3})  # one option after the other
    assert config.train_dataloader.dataset.pipeline[5].max_queries == 3


def test_a_name_of_the_config_file_alone_is_refused() -> None:
    with pytest.raises(ValueError, match="'feature_dim' is read by the config file alone") as error:
        check_options(anet(), {'feature_dim': 99})
    assert 'model.streams.visual.in_dim' in str(error.value)
    for key in ('dim', 'num_levels'):
        with pytest.raises(ValueError, match=rf'Did you mean \S+\.{key}'):
            check_options(anet(), {key: 4})
    with pytest.raises(ValueError, match='Change it in the file'):
        check_options(Config(dict(mine=1)), {'mine': 2})


def test_names_that_are_alike_are_refused() -> None:
    steps = [dict(type='Load'), dict(type='Resample', num_clips=4)]
    loaders = {part: dict(dataset=dict(pipeline=steps)) for part in LOADERS[:2]}
    config = Config(dict(train_pipeline=steps, test_pipeline=steps, **loaders))
    with pytest.raises(ValueError, match='have the same value') as error:
        check_options(config, {'train_pipeline.1.num_clips': 2})
    assert 'Give train_dataloader.dataset.pipeline, val_dataloader' in str(error.value)


@pytest.mark.parametrize(
    ('key', 'value'),
    [
        ('train_dataloader.drop_last', True),
        ('val_dataloader.pin_memory', True),
        ('test_dataloader.prefetch_factor', 4),
        ('train_dataloader.num_batch_per_epoch', 3),
        ('optim_wrapper.paramwise_cfg', dict(norm_decay_mult=0.0)),
        ('optim_wrapper.paramwise_cfg.norm_decay_mult', 0.0),
        ('optim_wrapper.accumulative_counts', 2),
        ('optim_wrapper.clip_grad.norm_type', 1.0),
        ('env_cfg.dist_cfg.timeout', 90),
        ('env_cfg.resource_limit', 8192),
        ('visualizer.type', 'Visualizer'),
        ('model_wrapper_cfg.type', 'MMDistributedDataParallel'),
        ('custom_hooks.1.update_buffers', True),  # of the class
        ('custom_hooks.1.interval', 2),  # handed on to the averaged model
    ],
)
def test_legitimate_settings_pass_and_are_set(key: str, value: object) -> None:
    config = anet()
    apply_options(config, {key: value})
    assert at(config, key) == value


@pytest.mark.parametrize(
    'key',
    [
        'train_dataloader.dropp_last',
        'optim_wrapper.param_wise',
        'optim_wrapper.clip_grad.nrom_type',
        'env_cfg.timeout',
        'custom_hooks.0.interval',  # whose class takes none
        'default_hooks.chekpoint.interval',
    ],
)
def test_misspelt_settings_of_untyped_parts_are_refused(key: str) -> None:
    with pytest.raises(ValueError, match='there is no'):
        check_options(anet(), {key: 1})


def test_an_option_may_build_on_one_before() -> None:
    config = anet()
    with pytest.raises(ValueError, match='num_fused'):
        check_options(config, {'test_cfg.num_fused': 7})
    apply_options(config, {'test_cfg.type': 'CorpusTestLoop', 'test_cfg.num_fused': 7})
    assert config.test_cfg == dict(type='CorpusTestLoop', num_fused=7)


def test_other_features(tmp_path: Path) -> None:
    config = anet()
    apply_options(config, {'features': str(CONFIGS / '_base_/features/clip.py')})
    store = dict(type='PackedStore', path='features/clip', dim=512)
    assert [config[part].dataset.features.visual for part in LOADERS] == [store] * 3
    assert config.model.streams.visual.in_dim == config.feature_dim == 512
    apply_options(config, {'features.visual.path': 'features/mine'})
    assert config.test_dataloader.dataset.features.visual.path == 'features/mine'
    other = tmp_path / 'audio.py'
    other.write_text("features = dict(audio=dict(type='FolderStore', path='a', dim=8))")
    with pytest.raises(ValueError, match="the stream 'audio', which train_dataloader"):
        check_options(config, {'features': str(other)})
    with pytest.raises(ValueError, match='names no features'):
        check_options(config, {'features': str(CONFIGS / '_base_/default_runtime.py')})
