"""Every config: loads, builds small, makes a batch with its own pipeline, learns and predicts."""

import copy
import importlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from mmcv.transforms import Compose
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.evaluator import Evaluator
from mmengine.registry import HOOKS, DefaultScope

from demul_mm.cli import load_config
from demul_mm.cli.options import check_options
from demul_mm.registry import MODELS
from tests.adapters.drn import WITHOUT, has_drn
from tools.test import CORPUS, add_corpus_metric, use_tta

ROOT = Path(__file__).resolve().parents[1]
PATHS = [path for path in sorted((ROOT / 'configs').rglob('*.py')) if '_base_' not in path.parts]
PATHS += sorted((ROOT / 'projects').glob('*/configs/**/*.py'))
PATHS = [path for path in PATHS if 'clip_zero_shot' not in path.parts]  # nothing is trained there
SIMULATED = {'features': str(ROOT / 'configs' / '_base_' / 'features' / 'simulated.py')}
# A map of fewer parts than a video has clips: moments of one and the same clip rank by rounding.
SMALL = dict(dim=16, text_dim=16, shared_dim=16, private_dim=8, size=16, survivors=12, num_clips=8)
SENTENCES = ['a person opens the door', 'the dog runs', 'she sits down']
EXTENT, CLIPS = 24.0, 12

with pytest.MonkeyPatch.context() as patch:  # the benchmarks are scripts side by side
    patch.syspath_prepend(str(ROOT / 'benchmarks'))
    table = importlib.import_module('ablations')
    ABLATIONS, ablate = table.ABLATIONS, table.ablate
    LEFT_OUT, TEXT = table.WHOLE_ONLY, table.TEXT_ONLY
    ADDED = (*table.SHORT_ONLY, 'transfer')  # which the recipe of Charades-STA has
RECIPES = {
    name: ROOT / 'configs' / f'demul_{name}.py'
    for name in ('charades_clip_cv', 'demo', 'youcook2_transcripts_cv')
}


def recipe_of(ablation: str) -> str:
    """A recipe that an ablation is for."""
    if ablation in TEXT:
        return 'youcook2_transcripts_cv'
    return 'demo' if ablation in ADDED else 'charades_clip_cv'


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def needs_mmaction(path: Path) -> bool:
    return 'mmaction.' in path.read_text() or 'drn' in path.parts


def skip_without(path: Path) -> None:
    """Skip where mmaction2, or its DRN, is not installed."""
    if needs_mmaction(path):
        pytest.importorskip('mmaction')
    if 'drn' in path.parts and not has_drn():
        pytest.skip(WITHOUT)


def shrunk(node: dict) -> dict:
    """The same model, small; what reads features, words or frames stays as it is."""
    small = {}
    for key, value in node.items():
        if isinstance(value, dict) and key not in ('lm', 'backbone'):
            value = shrunk(value)
        elif key == 'candidates':
            value = [shrunk(one) for one in value]
        elif key in SMALL and value:  # 0 stands for no such part
            value = SMALL[key]
        small[key] = value
    return small


def loaded_video(config: Config, steps: list[dict], seed: int) -> dict:
    """An item with random features, as the loading steps leave it."""
    rng = np.random.default_rng(seed)
    streams: dict[str, np.ndarray] = {}
    widths = {space.stream: space.in_dim for space in config.model.get('aligned', [])}
    widths |= {name: tower.in_dim for name, tower in config.model.streams.items()}
    if config.model.get('word_match'):
        widths[config.model.word_match.stream] = 1024
    for step in filter(loads, steps):
        if step['type'].endswith('LoadVideoClips'):
            frames = (CLIPS, 3, step.get('frames_per_clip', 4), 32, 32)
            streams['frames'] = rng.integers(0, 256, frames, dtype=np.uint8)
        else:
            name = step.get('stream', 'visual')
            rows = rng.standard_normal((CLIPS, widths.get(name, 8)))
            streams[name] = rows.astype(np.float32)
    assert streams, 'a pipeline that loads nothing'
    return {
        'video_id': f'v{seed}',
        'sample_idx': seed,
        'duration': EXTENT,
        'extent': EXTENT,
        'queries': SENTENCES,
        'query_ids': [f'v{seed}#{q}' for q in range(3)],
        'gt_spans': [np.array([[4.0 * q + seed, 5.0 * q + 6 + seed]]) for q in range(3)],
        'streams': streams,
        # What the first sentence is about, and once more.
        'meta': {'actions': [('c0', seed, 6.0 + seed), ('c0', 15.0, 20.0)]},
        'rng': rng,
    }


class Videos:
    """A split of two made-up videos, as a step sees it that draws from the whole data set."""

    def __init__(self, config: Config, split: str) -> None:
        self.config = config
        self.steps = config[f'{split}_dataloader'].dataset.pipeline
        self.pipeline = Compose([step for step in self.steps if not loads(step)])
        for step in self.pipeline.transforms:
            if hasattr(step, 'attach'):
                step.attach(self)

    def __len__(self) -> int:
        return 2

    def get_data_info(self, index: int) -> dict:
        return loaded_video(self.config, self.steps, index)


def loads(step: dict) -> bool:
    return step['type'].split('.')[-1].startswith('LoadVideo')


def video(config: Config, seed: int, split: str) -> dict:
    """A packed item of random features, made by all steps of the pipeline that follow loading."""
    videos = Videos(config, split)
    return videos.pipeline(loaded_video(config, videos.steps, seed))


def give_word_vectors(config: Config, path: Path) -> None:
    """Write the file of word vectors that a config names, if it does, for two words."""
    lm = config.model.language.lm
    if lm.get('path'):
        path.write_text(''.join(f'{word} {"0.5 " * lm.dim}\n' for word in ('the', 'dog')))
        lm.path = str(path)


@pytest.fixture
def loaded(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Config]:
    path, ablation = request.param
    skip_without(path)
    config = Config.fromfile(path)
    ablate(config, ABLATIONS[ablation] if ablation else {})
    give_word_vectors(config, tmp_path / 'glove.txt')
    with DefaultScope.overwrite_default_scope(config.default_scope):
        yield config


ALL = [
    pytest.param((p, None), id=name_of(p), marks=[pytest.mark.slow] * needs_mmaction(p))
    for p in PATHS
]
# An ablation changes the same things in each recipe (seen below): it is run in one.
PAIRS = [('demo', name) for name in ABLATIONS if name not in (*LEFT_OUT, *TEXT)]
PAIRS += [('charades_clip_cv', name) for name in ABLATIONS if name not in (*ADDED, *TEXT)]
PAIRS += [('youcook2_transcripts_cv', name) for name in TEXT]
ALL += [pytest.param((RECIPES[recipe_of(name)], name), id=name) for name in ABLATIONS]


@pytest.mark.parametrize('loaded', ALL, indirect=True)
def test_learns_and_predicts(loaded: Config) -> None:
    torch.manual_seed(0)
    model = MODELS.build(shrunk(loaded.model.to_dict()))
    batch = pseudo_collate([video(loaded, seed, 'train') for seed in (0, 1)])
    model.train()
    ready = model.data_preprocessor(batch, True)
    losses = model(**ready, mode='loss')
    total, _ = model.parse_losses(losses)
    assert total.isfinite()
    assert total > 0
    total.backward()
    gradients = [p.grad for p in model.parameters() if p.grad is not None]
    assert all(gradient.isfinite().all() for gradient in gradients)
    assert sum(float(gradient.abs().sum()) for gradient in gradients) > 0

    model.eval()
    batch = pseudo_collate([video(loaded, seed, 'test') for seed in (2, 3)])
    ready = model.data_preprocessor(batch, False)
    samples = model(**ready, mode='predict')
    for sample in samples:
        assert len(sample.pred_moments) == len(SENTENCES)
        for moments in sample.pred_moments:
            assert 0 < len(moments.spans) <= loaded.model.test_cfg.nms.max_keep
            assert (moments.spans[:, 0] <= moments.spans[:, 1]).all()
            assert (moments.spans >= 0).all()
            assert (moments.spans <= EXTENT).all()
            assert (moments.scores.diff() <= 0).all()

    assert Evaluator(loaded.test_evaluator).metrics
    assert Evaluator(loaded.val_evaluator).metrics
    assert all(HOOKS.build(hook) for hook in loaded.custom_hooks)


TTA = [
    'demul_anet',
    'demul_charades',
    'demul_demo',
    'demul_didemo',
    'demul_tacos',
    'demul_tvr',
    'demul_tvr_subtitles',
]


@pytest.mark.parametrize(
    'loaded',
    [pytest.param((ROOT / 'configs' / f'{n}.py', None), id=n) for n in TTA],
    indirect=True,
)
def test_several_time_scales(loaded: Config) -> None:
    """The scales of ``tools/test.py --tta`` go through the model and are merged."""
    torch.manual_seed(0)
    plain = loaded.test_dataloader.dataset.pipeline
    use_tta(loaded)
    *first, several = loaded.test_dataloader.dataset.pipeline
    resample, pack = several['transforms']
    assert [*first, {k: v for k, v in resample[0].items() if k != 'scale'}, *pack] == plain
    assert [step['scale'] for step in resample] == [1.0, 0.75, 1.5]
    merging, loaded.model = loaded.model, loaded.model.module
    model = MODELS.build(dict(merging, module=shrunk(loaded.model.to_dict()))).eval()
    batch = pseudo_collate([video(loaded, seed, 'test') for seed in (2, 3)])
    lengths = [[len(rows) for rows in scale['visual']] for scale in batch['inputs']]
    assert lengths == [[CLIPS] * 2, [round(0.75 * CLIPS)] * 2, [round(1.5 * CLIPS)] * 2]
    for sample in model.test_step(batch):
        assert len(sample.pred_moments) == len(SENTENCES)
        for moments in sample.pred_moments:
            assert 0 < len(moments.spans) <= loaded.model.test_cfg.nms.max_keep
            assert (moments.spans <= EXTENT).all()


OTHER_STREAMS = ('slowonly', 'captions', 'transcripts')  # that read no visual features


@pytest.mark.parametrize(
    'path', [p for p in PATHS if not any(name in p.stem for name in OTHER_STREAMS)], ids=name_of
)
def test_simulated_features_are_an_option(path: Path) -> None:
    plain, config = load_config(str(path)), load_config(str(path), SIMULATED)
    assert config.work_dir == f'work_dirs/{path.stem}_simulated'
    for part in ('train', 'val', 'test'):
        features = config[f'{part}_dataloader'].dataset.features
        store = dict(type='PackedStore', path='features/simulated/{split}', dim=256)
        assert features.pop('visual') == store
        plain[f'{part}_dataloader'].dataset.features.pop('visual')
    assert config.model.streams.visual.pop('in_dim') == 256
    plain.model.streams.visual.pop('in_dim')
    for key in ('model', 'train_dataloader', 'val_dataloader', 'test_dataloader'):
        assert config[key] == plain[key]


def test_the_test_in_a_corpus_is_an_option() -> None:
    for path in (ROOT / 'configs').glob('*.py'):
        config = load_config(str(path), CORPUS)
        own = config.test_evaluator
        own = [metric['type'] for metric in (own if isinstance(own, list) else [own])]
        add_corpus_metric(config)
        assert config.test_cfg.type == 'demul_mm.CorpusTestLoop'
        kinds = [metric['type'] for metric in config.test_evaluator]
        if 'CorpusMomentMetric' not in own:
            own = ['demul_mm.CorpusMomentMetric', *own]
        assert kinds == own
        before = copy.deepcopy(config.test_evaluator)
        add_corpus_metric(config)
        assert config.test_evaluator == before


def test_a_child_config_sets_a_visualizer(tmp_path: Path) -> None:
    path = tmp_path / 'child.py'
    path.write_text(
        f'_base_ = [{str(RECIPES["demo"])!r}]\n'
        "visualizer = dict(type='Visualizer', vis_backends=[dict(type='LocalVisBackend')])\n"
    )
    assert Config.fromfile(path).visualizer.type == 'Visualizer'


def flat(node: dict, prefix: str = '') -> dict:
    rows = {}
    for key, value in node.items():
        if isinstance(value, dict):
            rows.update(flat(value, f'{prefix}{key}.'))
        else:
            rows[prefix + key] = value
    return rows


@pytest.mark.parametrize(('recipe', 'name'), PAIRS)
def test_an_ablation_changes_its_part_alone(recipe: str, name: str) -> None:
    full, config = Config.fromfile(RECIPES[recipe]), Config.fromfile(RECIPES[recipe])
    # What it sets is there to be set: no misspelt setting that changes nothing.
    check_options(full, dict.fromkeys(ABLATIONS[name]))
    before = copy.deepcopy(full.to_dict())
    ablate(config, ABLATIONS[name])
    assert full.to_dict() == before
    old, new = flat(before), flat(config.to_dict())
    differing = {k for k in {*old, *new} if old.get(k) != new.get(k)}
    differing |= old.keys() ^ new.keys()

    def within(key: str, path: str) -> bool:
        return key == path or key.startswith(path + '.')

    for path in ABLATIONS[name]:
        assert any(within(key, path) for key in differing), path
    for key in differing:
        assert any(within(key, path) for path in ABLATIONS[name]), key


def test_an_ablation_that_changes_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match='the recipe is so already'):
        ablate(Config.fromfile(RECIPES['demo']), ABLATIONS['words_only'])


@pytest.mark.parametrize(
    ('recipe', 'refused'),
    [
        ('charades_clip_cv', {'not_aligned', 'no_word_match', 'transfer'}),
        ('qvhighlights_captions_cv', {'no_actions', 'no_prior', 'no_transfer', 'no_word_match'}),
        (
            'youcook2_transcripts_cv',
            {'no_fusion', 'words_only', 'no_actions', 'not_centred', 'no_prior', 'no_transfer'},
        ),
    ],
)
def test_a_recipe_refuses_an_ablation_that_is_none(recipe: str, refused: set[str]) -> None:
    for name in (*table.LEFT_OUT, *table.PUT_IN):
        config = Config.fromfile(ROOT / 'configs' / f'demul_{recipe}.py')
        if name in refused:
            with pytest.raises(ValueError, match='the ablation is none'):
                ablate(config, ABLATIONS[name])
        else:
            ablate(config, ABLATIONS[name])
            with DefaultScope.overwrite_default_scope(config.default_scope):
                MODELS.build(shrunk(config.model.to_dict()))


@pytest.mark.parametrize('recipe', ['anet', 'qvhighlights_captions_cv'])
@pytest.mark.parametrize('name', ['start_end', 'sparse_map', 'transfer'])
def test_parts_that_are_put_in_have_the_width_of_the_model(recipe: str, name: str) -> None:
    config = Config.fromfile(ROOT / 'configs' / f'demul_{recipe}.py')
    ablate(config, ABLATIONS[name])
    model = MODELS.build(config.model.to_dict())
    for candidates in model.head.candidates:
        assert candidates.pool.project.out_features == config.model.head.dim
    if name == 'transfer':
        aligned = sum(space.width for space in model.aligned)
        width = config.model.decoupler.shared_dim + aligned
        assert model.memory.moments.shape == (1024, width)


def test_the_augmented_pipeline_only_adds_steps() -> None:
    config = Config.fromfile(RECIPES['demo'])
    full = config.train_dataloader.dataset.pipeline
    ablate(config, ABLATIONS['augmented'])
    more = config.train_dataloader.dataset.pipeline
    augmentations = ['SpliceMoment', 'TemporalCrop', 'SpeedChange', 'ClipDrop', 'WordDrop']
    assert [step['type'] for step in more if step['type'] in augmentations] == augmentations
    assert [step for step in more if step['type'] not in augmentations] == full
    assert more[0] == full[0]


@pytest.mark.parametrize('recipe', RECIPES)
def test_hooks_differ_in_one(recipe: str) -> None:
    full = Config.fromfile(RECIPES[recipe]).custom_hooks

    def hooks(name: str) -> list[dict]:
        config = Config.fromfile(RECIPES[recipe])
        ablate(config, ABLATIONS[name])
        return config.custom_hooks

    assert hooks('no_calibration') == [h for h in full if h['type'] != 'CalibrationHook']
    for name, kind in (('hard_mining', 'HardVideoMiningHook'), ('two_stage', 'TwoStageHook')):
        assert [h for h in hooks(name) if h['type'] != kind] == full
        assert len(hooks(name)) == len(full) + 1


def test_baselines_lack_what_they_say() -> None:
    config = Config.fromfile(RECIPES['charades_clip_cv'])
    ablate(config, ABLATIONS['dual_encoder'])
    assert config.model.neck is None
    assert config.model.head.joint == dict(type='JointScore', terms=('semantic',))
    config = Config.fromfile(RECIPES['charades_clip_cv'])
    ablate(config, ABLATIONS['plain_detector'])
    weights = config.model.criterion.weights
    assert weights.moment == weights.query == weights.video == 0
    assert config.model.neck == dict(
        type='ProgressiveFusion', dim=128, stages=('words',), cells_talk=True, survivors=None
    )
