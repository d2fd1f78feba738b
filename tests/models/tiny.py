"""A whole DeMUL that runs in milliseconds: width 32, four levels, words known by their hash."""

from collections.abc import Sequence
from zlib import crc32

import torch
from torch import Tensor, nn

from demul_mm.models.localizers import DeMUL
from demul_mm.registry import MODELS, TASK_UTILS
from demul_mm.structures import MomentDataSample

DIM, SHARED, PRIVATE, FEATURES, LEVELS, TOKENS = 32, 16, 8, 12, 4, 10
VOCABULARY = 97
SENTENCES = (
    'a red disc enters from the left',
    'the square spins',
    'two green crosses meet for the second time',
    'after that the blue disc leaves',
    'the camera shakes',
)

# Parts of a model that reads which words are said, and how many words there are.
WORDS = 16
WORD_MATCH: dict[str, dict] = dict(
    word_match=dict(type='WordMatch', stream='said', words=dict(dim=WORDS), windows=(3,)),
    reader=dict(type='SimilarityReader', dim=DIM, learned=False),
)


@TASK_UTILS.register_module()
class TinyTokenizer:
    """Words are numbered by their hash."""

    def __call__(self, sentences: Sequence[str]) -> tuple[Tensor, Tensor]:
        rows = [
            torch.tensor([crc32(word.encode()) % VOCABULARY for word in sentence.split()])
            for sentence in sentences
        ]
        mask = [torch.ones(len(row), dtype=torch.bool) for row in rows]
        return (
            nn.utils.rnn.pad_sequence(rows, batch_first=True),
            nn.utils.rnn.pad_sequence(mask, batch_first=True),
        )


@MODELS.register_module()
class TinyTokens(nn.Module):
    """One trained vector for each word."""

    out_dim = TOKENS

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(VOCABULARY, TOKENS)

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        return self.table(ids)


def tiny_config(streams: Sequence[str] = ('visual',), **changes: dict | list | None) -> dict:
    """The default model's config, small; ``neck=dict(survivors=8)`` changes a part of it."""
    dims = {name: FEATURES + i for i, name in enumerate(streams)}
    config: dict = dict(
        type='DeMUL',
        data_preprocessor=dict(
            type='MomentDataPreprocessor',
            tokenizer=dict(type='TinyTokenizer'),
            pad_divisor=2 ** (LEVELS - 1),
        ),
        language=dict(
            type='LanguageEncoder', lm=dict(type='TinyTokens'), dim=DIM, num_phrases=3, dropout=0.0
        ),
        streams={
            name: dict(
                type='TemporalTower', in_dim=in_dim, dim=DIM, num_heads=2, radius=3, dropout=0.0
            )
            for name, in_dim in dims.items()
        },
        pyramid=dict(
            type='TemporalPyramid', dim=DIM, num_levels=LEVELS, num_heads=2, radius=3, dropout=0.0
        ),
        decoupler=dict(
            type='SemanticDecoupler', dim=DIM, shared_dim=SHARED, private_dim=PRIVATE, dropout=0.0
        ),
        proposal=dict(type='ProposalHead', dim=DIM),
        neck=dict(type='ProgressiveFusion', dim=DIM, survivors=12, num_heads=2),
        head=dict(
            type='UnifiedMomentHead',
            dim=DIM,
            profile=dict(type='CurveProfile', dim=DIM, places=13),
            dropout=0.0,
        ),
        memory=dict(type='SemanticMemory', size=16),
        criterion=dict(weights=dict(decorrelation=0.1, confusion=0.01)),
        train_cfg=dict(num_negatives=1),
        test_cfg=dict(nms=dict(type='MomentNMS', iou_thr=0.5, max_keep=5)),
    )
    for part, change in changes.items():
        if isinstance(change, dict):
            change = {**config.get(part, {}), **change}
        config[part] = change
    return config


def tiny_model(
    streams: Sequence[str] = ('visual',), seed: int = 0, **changes: dict | list | None
) -> DeMUL:
    """A fresh model, in evaluation mode."""
    torch.manual_seed(seed)
    return MODELS.build(tiny_config(streams, **changes)).eval()


def tiny_sample(duration: float, queries: Sequence[str], seed: int = 0) -> MomentDataSample:
    """A video with one made-up moment for each query."""
    rng = torch.Generator().manual_seed(seed)
    sample = MomentDataSample()
    sample.set_metainfo(dict(sample_idx=seed, video_id=f'v{seed}', duration=duration))
    sample.queries = list(queries)
    borders = [torch.rand(1, 2, generator=rng).sort(-1).values * duration for _ in queries]
    sample.gt_spans = borders
    return sample


def tiny_data(
    lengths: Sequence[int] = (13, 8, 20),
    num_queries: Sequence[int] = (2, 1, 2),
    streams: Sequence[str] = ('visual',),
) -> dict:
    """A collated batch; video ``v`` is the same in every batch that has it in place ``v``."""
    inputs: dict[str, list[Tensor | None]] = {name: [] for name in streams}
    samples = []
    for v, (length, number) in enumerate(zip(lengths, num_queries)):
        rng = torch.Generator().manual_seed(100 + v)
        for i, name in enumerate(streams):
            inputs[name].append(torch.randn(length, FEATURES + i, generator=rng))
        queries = [SENTENCES[(v + q) % len(SENTENCES)] for q in range(number)]
        samples.append(tiny_sample(2.0 * length, queries, seed=v))
    return dict(inputs=inputs, data_samples=samples)


def with_words(data: dict) -> dict:
    """The same batch with words in each clip; those of a video are the same in every batch."""
    said = []
    for sample, rows in zip(data['data_samples'], data['inputs']['visual']):
        rng = torch.Generator().manual_seed(int(sample.video_id[1:]))
        said.append((torch.rand(len(rows), WORDS, generator=rng) < 0.5).float())
    return dict(inputs={**data['inputs'], 'said': said}, data_samples=data['data_samples'])


def only(data: dict, *videos: int) -> dict:
    """The same batch with these videos alone."""
    inputs = {name: [rows[v] for v in videos] for name, rows in data['inputs'].items()}
    return dict(inputs=inputs, data_samples=[data['data_samples'][v].clone() for v in videos])


def losses_of(model: DeMUL, data: dict) -> dict[str, Tensor]:
    """The losses of a collated batch."""
    ready = model.data_preprocessor(data)
    return model.loss(ready['inputs'], ready['data_samples'])


def predictions_of(model: DeMUL, data: dict) -> list[MomentDataSample]:
    """The predictions of a collated batch."""
    ready = model.data_preprocessor(data)
    return model.predict(ready['inputs'], [sample.clone() for sample in ready['data_samples']])


def train_steps(model: DeMUL, data: dict, steps: int, lr: float = 5e-3) -> list[float]:
    """Train on one batch; returns the sum of the losses at each step."""
    model.train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=lr)
    totals = []
    for _ in range(steps):
        total = torch.stack(list(losses_of(model, data).values())).sum()
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
        totals.append(total.item())
    model.eval()
    return totals
