"""Mine hard negative videos from the model's own shared space."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from mmengine.dataset import pseudo_collate
from mmengine.dist import get_dist_info
from mmengine.hooks import Hook
from mmengine.runner import Runner
from torch import Tensor
from torch.utils.data import DataLoader

from demul_mm.datasets.samplers import HardVideoSampler, SeededIndex
from demul_mm.engine.epochs import require_epochs
from demul_mm.engine.models import unwrapped
from demul_mm.engine.ranks import of_all_ranks
from demul_mm.index.prototypes import select_prototypes
from demul_mm.models.localizers import DeMUL
from demul_mm.registry import HOOKS


class MinedVideo(NamedTuple):
    """What mining keeps of a video."""

    prototypes: Tensor  # (k, S) unit vectors of its events
    queries: Tensor  # (Q, S) unit vectors
    meaning: Tensor  # (Q, E) unit caption vectors


@HOOKS.register_module()
@dataclass(eq=False)
class HardVideoMiningHook(Hook):
    """Before an epoch, tell the ``HardVideoSampler`` which videos the model confuses.

    All training videos and the queries drawn for the epoch are encoded once, without fusion and
    without gradients: about a fifth of the cost of an epoch. Nothing is kept between epochs, so a
    resumed run mines what the uninterrupted one did.

    Args:
        begin: the first epoch that is mined for; before it, the shared space is hardly trained.
        num_rivals: rivals kept for each video.
        num_prototypes: vectors by which a video is found.
        too_alike: videos with a caption more like the query than this are no rivals.
    """

    # After the epoch's seed is set.
    priority = 'HIGH'

    begin: int = 2
    num_rivals: int = 8
    num_prototypes: int = 6
    too_alike: float = 0.8

    def before_train(self, runner: Runner) -> None:
        require_epochs(runner, self)
        sampler = runner.train_dataloader.sampler
        if not isinstance(sampler, HardVideoSampler):
            raise TypeError(
                "HardVideoMiningHook needs train_dataloader.sampler=dict(type='HardVideoSampler'), "
                f'not {type(sampler).__name__}'
            )

    def before_train_epoch(self, runner: Runner) -> None:
        if runner.epoch < self.begin:
            return
        start = time.perf_counter()
        videos = self._encode(runner)
        names = list(videos)
        found = mine_rivals(list(videos.values()), self.num_rivals, self.too_alike)
        self._sampler(runner).rivals = {
            name: [names[rival] for rival in rivals] for name, rivals in zip(names, found)
        }
        runner.logger.info(
            f'mined rivals of {len(names)} videos in {time.perf_counter() - start:.1f} s'
        )

    @staticmethod
    def _sampler(runner: Runner) -> HardVideoSampler:
        return runner.train_dataloader.sampler

    @torch.no_grad()
    def _encode(self, runner: Runner) -> dict[int, MinedVideo]:
        """All videos of the train split by their number and in its order, the same on all ranks."""
        model = unwrapped(runner.model)
        assert isinstance(model, DeMUL)
        model.eval()
        loader = runner.train_dataloader
        rank, world = get_dist_info()
        entropy = (int(self._sampler(runner).seed), runner.epoch)
        numbers = [SeededIndex(i, entropy) for i in range(rank, len(loader.dataset), world)]
        batches = DataLoader(
            loader.dataset,
            sampler=numbers,
            batch_size=loader.batch_size,
            num_workers=loader.num_workers,
            collate_fn=pseudo_collate,
        )
        own: dict[int, MinedVideo] = {}
        for batch in batches:
            data = model.data_preprocessor(batch, False)
            for sample, video in zip(data['data_samples'], self._kept(model, data)):
                own[int(sample.sample_idx)] = video
        model.train()
        return of_all_ranks(own)

    def _kept(self, model: DeMUL, data: dict) -> list[MinedVideo]:
        inputs = data['inputs']
        encoded = model.encode_video(inputs)
        queries = model.encode_tokens(inputs['ids'], inputs['word_mask'])
        moments = [row[m].cpu().numpy() for row, m in zip(encoded.shared.float(), encoded.mask)]
        prototypes = select_prototypes(moments, self.num_prototypes)
        counts = [len(sample.queries) for sample in data['data_samples']]
        columns = (queries.shared.float().cpu().split(counts), queries.meaning.cpu().split(counts))
        return [MinedVideo(torch.from_numpy(p), q, m) for p, q, m in zip(prototypes, *columns)]


@torch.no_grad()
def mine_rivals(
    videos: Sequence[MinedVideo],
    num_rivals: int = 8,
    too_alike: float = 0.8,
    chunk: int = 1024,
) -> list[list[int]]:
    """The wrong videos that the queries of each video find first.

    A query finds a video by its best prototype, as level 1 of the index does. A video is skipped
    that has a caption too much like the query: it may well show the same event.

    Args:
        videos: ``V`` of them.
        num_rivals: for each video, at most.
        too_alike: cosine of two captions above which they may tell of the same event.

    Returns:
        For each video the numbers of its rivals, hardest first.
    """
    counts = [len(video.prototypes) for video in videos]
    prototypes = torch.cat([video.prototypes for video in videos])  # (P, S)
    owner = torch.repeat_interleave(torch.arange(len(videos)), torch.tensor(counts))
    queries = torch.cat([video.queries for video in videos])
    meaning = torch.cat([video.meaning for video in videos])
    asked = torch.tensor([len(video.queries) for video in videos])
    of_query = torch.repeat_interleave(torch.arange(len(videos)), asked)
    depth = min(4 * num_rivals + 1, len(videos))
    best: list[dict[int, float]] = [{} for _ in videos]
    for start in range(0, len(queries), chunk):
        part = queries[start : start + chunk]
        near = part.new_full((len(part), len(videos)), -2.0)
        near.scatter_reduce_(
            1, owner.expand(len(part), -1), part @ prototypes.T, 'amax', include_self=True
        )
        scores, found = near.topk(depth, dim=1)
        for q, (row, names) in enumerate(zip(scores.tolist(), found.tolist()), start):
            mine = int(of_query[q])
            for score, name in zip(row, names):
                if name == mine or score <= best[mine].get(name, -2.0):
                    continue
                captions = videos[name].meaning
                if len(captions) and float((captions @ meaning[q]).max()) > too_alike:
                    continue
                best[mine][name] = score
    return [sorted(row, key=lambda name: -row[name])[:num_rivals] for row in best]
