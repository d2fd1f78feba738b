"""Every config: loads, builds small, makes a batch with its own pipeline, learns and predicts."""

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

from demul_mm.registry import MODELS

ROOT = Path(__file__).resolve().parents[1]
PATHS = [path for path in sorted((ROOT / 'configs').rglob('*.py')) if '_base_' not in path.parts]
PATHS += sorted((ROOT / 'projects').glob('*/configs/**/*.py'))
ABLATIONS = ROOT / 'configs' / 'ablations'
# The ablations change the same things on each data set (seen below): one set is run.
PATHS = [p for p in PATHS if ABLATIONS not in p.parents or p.parent.name == 'activitynet']
SMALL = dict(dim=16, shared_dim=16, private_dim=8, size=16, survivors=12)
SENTENCES = ['a person opens the door', 'the dog runs', 'she sits down']
EXTENT, CLIPS = 24.0, 12

HOOKS_, SCORE = 'custom_hooks', 'model.head.joint'
PLAIN = {
    'model.head.profile': None,
    'model.head.boundary_weight': 0.0,
    'model.head.inside_weight': 0.0,
    SCORE: dict(type='JointScore', terms=('semantic',)),
}
# Each ablation: the settings in which it differs from the recipe, and nothing else.
CHANGES: dict[str, dict[str, object]] = {
    'adamw': {'optim_wrapper.optimizer': None},
    'augmented': {
        'train_pipeline': None,  # what is in it is seen below
        'train_dataloader.dataset.pipeline': None,
    },
    'cls_only': {'model.head.regress': False, SCORE: dict(type='JointScore', terms=('semantic',))},
    'distillation': {'model.head.distillation': dict(type='FusionDistillation')},
    'decoupling': {
        'model.decoupler.private_dim': 64,
        'model.decorrelation': dict(type='CrossCorrelationLoss', loss_weight=0.1),
        'model.confusion': dict(type='ModalityConfusionLoss', dim=128, loss_weight=0.01),
    },
    'dual_encoder': {**PLAIN, 'model.neck': None},
    'hard_mining': {'train_dataloader.sampler': None, HOOKS_: None},
    'hard_negatives': {'model.train_cfg.num_negatives': 0.25},
    'no_calibration': {HOOKS_: None},
    'no_fusion': {'model.neck': None},
    'no_profile': {'model.head.profile': None},
    'plain_detector': {
        **PLAIN,
        'model.retrieval': None,
        'model.neck.survivors': None,
    },
    'quality': {
        'model.head.quality_weight': 1.0,
        SCORE: dict(
            type='JointScore', terms=('semantic', 'quality', 'boundary', 'coherence', 'video')
        ),
    },
    'single_scale': {'model.pyramid.num_levels': 1},
    'smoothing': {'model.head.smoothing': 0.5},
    'sparse_map': {
        'model.head.candidates': [dict(type='SparseMapCandidates', dim=128)],
    },
    'start_end': {'model.head.candidates': [dict(type='StartEndCandidates', dim=128)]},
    'three_stages': {
        'model.neck.stages': ('sentence', 'phrases', 'words'),
        'model.neck.cells_talk': False,
    },
    'transfer': {
        'model.memory': dict(type='SemanticMemory', caption_dim=384, shared_dim=128, size=1024),
    },
    'two_stage': {HOOKS_: None},
}
# The recipe that a folder's configs change.
FULL = {
    'activitynet': ROOT / 'configs' / 'demul_anet_simulated.py',
    'rendered': ROOT / 'configs' / 'demul_demo.py',
    'tacos': ROOT / 'configs' / 'demul_tacos_simulated.py',
}
ABLATED = sorted((path.parent.name, path.stem) for path in ABLATIONS.glob('*/*.py'))


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def needs_mmaction(path: Path) -> bool:
    return 'mmaction.' in path.read_text()


def shrunk(node: dict) -> dict:
    """The same model of width 16; what reads features, words or frames stays as it is."""
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
    for step in filter(loads, steps):
        if step['type'].endswith('LoadVideoClips'):
            frames = (CLIPS, 3, step.get('frames_per_clip', 4), 32, 32)
            streams['frames'] = rng.integers(0, 256, frames, dtype=np.uint8)
        else:
            name = step.get('stream', 'visual')
            rows = rng.standard_normal((CLIPS, config.model.streams[name].in_dim))
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
    if needs_mmaction(request.param):
        pytest.importorskip('mmaction')
    config = Config.fromfile(request.param)
    give_word_vectors(config, tmp_path / 'glove.txt')
    with DefaultScope.overwrite_default_scope(config.default_scope):
        yield config


@pytest.mark.parametrize(
    'loaded',
    [pytest.param(p, id=name_of(p), marks=[pytest.mark.slow] * needs_mmaction(p)) for p in PATHS],
    indirect=True,
)
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


TTA = ['demul_anet', 'demul_charades', 'demul_didemo', 'demul_tacos', 'demul_tvr_subtitles']


@pytest.mark.parametrize(
    'loaded', [pytest.param(ROOT / 'configs' / f'{n}.py', id=n) for n in TTA], indirect=True
)
def test_several_time_scales(loaded: Config) -> None:
    """The scales of ``tools/test.py --tta`` go through the model and are merged."""
    torch.manual_seed(0)
    config = dict(loaded.tta_model, module=shrunk(loaded.model.to_dict()))
    model = MODELS.build(config).eval()
    loaded.test_dataloader.dataset.pipeline = loaded.tta_pipeline
    batch = pseudo_collate([video(loaded, seed, 'test') for seed in (2, 3)])
    lengths = [[len(rows) for rows in scale['visual']] for scale in batch['inputs']]
    assert lengths == [[CLIPS] * 2, [round(0.75 * CLIPS)] * 2, [round(1.5 * CLIPS)] * 2]
    for sample in model.test_step(batch):
        assert len(sample.pred_moments) == len(SENTENCES)
        for moments in sample.pred_moments:
            assert 0 < len(moments.spans) <= loaded.model.test_cfg.nms.max_keep
            assert (moments.spans <= EXTENT).all()


def test_every_data_set_has_its_time_scales() -> None:
    for path in (ROOT / 'configs').glob('*.py'):
        config = Config.fromfile(path)
        steps = config.test_dataloader.dataset.pipeline
        if not any(step['type'] == 'LoadVideoFeature' for step in steps):
            continue
        first, several = config.tta_pipeline[:-1], config.tta_pipeline[-1]
        resample, pack = several['transforms']
        assert [*first, resample[0], *pack] == steps, name_of(path)  # one scale is the plain test


def flat(node: dict, prefix: str = '') -> dict:
    rows = {}
    for key, value in node.items():
        if isinstance(value, dict):
            rows.update(flat(value, f'{prefix}{key}.'))
        else:
            rows[prefix + key] = value
    return rows


def at(config: dict, path: str) -> object:
    node: object = config
    for key in path.split('.'):
        assert isinstance(node, dict)
        node = node.get(key)
    return node


def test_every_ablation_is_known() -> None:
    assert {folder for folder, _ in ABLATED} == FULL.keys()
    for folder in ('activitynet', 'rendered'):
        assert {name for other, name in ABLATED if other == folder} == CHANGES.keys()


@pytest.mark.parametrize(('folder', 'name'), ABLATED)
def test_an_ablation_changes_its_part_alone(folder: str, name: str) -> None:
    full = Config.fromfile(FULL[folder]).to_dict()
    changed = Config.fromfile(ABLATIONS / folder / f'{name}.py').to_dict()
    before, after = flat(full), flat(changed)
    differing = {k for k in {*before, *after} if before.get(k) != after.get(k)}
    differing |= before.keys() ^ after.keys()
    for path, value in CHANGES[name].items():
        if path.startswith('model.'):
            assert at(changed, path) == value
        else:
            assert any(key == path or key.startswith(path + '.') for key in differing), path
    for key in differing:
        assert any(key == path or key.startswith(path + '.') for path in CHANGES[name]), key


@pytest.mark.parametrize('folder', ['activitynet', 'rendered'])
def test_the_augmented_pipeline_only_adds_steps(folder: str) -> None:
    full = Config.fromfile(FULL[folder]).train_pipeline
    more = Config.fromfile(ABLATIONS / folder / 'augmented.py').train_pipeline
    augmentations = ['SpliceMoment', 'TemporalCrop', 'SpeedChange', 'ClipDrop', 'WordDrop']
    assert [step['type'] for step in more if step['type'] in augmentations] == augmentations
    assert [step for step in more if step['type'] not in augmentations] == full


@pytest.mark.parametrize('folder', ['activitynet', 'rendered'])
def test_hooks_differ_in_one(folder: str) -> None:
    full = Config.fromfile(FULL[folder]).custom_hooks

    def hooks(name: str) -> list[dict]:
        return Config.fromfile(ABLATIONS / folder / f'{name}.py').custom_hooks

    assert hooks('no_calibration') == [h for h in full if h['type'] != 'CalibrationHook']
    for name, kind in (('hard_mining', 'HardVideoMiningHook'), ('two_stage', 'TwoStageHook')):
        assert [h for h in hooks(name) if h['type'] != kind] == full
        assert len(hooks(name)) == len(full) + 1
