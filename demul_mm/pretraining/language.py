"""Tune a sentence encoder so that queries meet what is said or written in their moments."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from mmengine.config import Config
from mmengine.logging import MMLogger
from torch import Tensor, nn
from tqdm import tqdm

from demul_mm.datasets.subtitles import TimedText
from demul_mm.device import choose_device
from demul_mm.files import replacing
from demul_mm.models.backbones.language_model import identity_of, load_quietly
from demul_mm.models.task_modules.tokenizer import TransformersTokenizer, resolve_language_model
from demul_mm.precision import autocast
from demul_mm.pretraining.probe import average_precision
from demul_mm.registry import DATASETS

if TYPE_CHECKING:
    from demul_mm.evaluation.predictions import PredictionEntry

BATCH = 64
"""Texts of about the same length that are read at once."""


@dataclass(frozen=True)
class TuningSchedule:
    """What a tuning does.

    Attributes:
        stream: name of the model's stream that the texts are.
        epochs: how often each video is seen.
        lr: peak of the learning rate, which rises for a tenth of the steps and then falls.
        videos: videos in a step; the texts of each are negatives for the queries of the others.
        queries: of a video in a step, at most.
        texts: of a video in a step, at most; those of the moments first, of the others any.
        temperature: by which cosines are divided.
        weight_decay: of AdamW.
        clip_seconds: how long a text lasts that tells no time, a caption of a clip.
    """

    stream: str = 'text'
    epochs: int = 1
    lr: float = 5e-5
    videos: int = 6
    queries: int = 8
    texts: int = 64
    temperature: float = 0.05
    weight_decay: float = 0.01
    clip_seconds: float = 2.0

    def __post_init__(self) -> None:
        numbers = {name: value for name, value in asdict(self).items() if name != 'stream'}
        wrong = [name for name, value in numbers.items() if not 0 <= value < math.inf]
        wrong += [n for n in ('epochs', 'videos', 'queries', 'texts') if getattr(self, n) < 1]
        if wrong or not self.temperature or not self.clip_seconds:
            raise ValueError(
                f'{self}: numbers of things are at least 1, temperature and clip_seconds above 0, '
                'the others at least 0'
            )


class Tuning(NamedTuple):
    """How the sentence encoder of a run is tuned: the encoder and the stream lie in its folder.

    Attributes:
        texts: file or folder of what is said in the videos.
        stream: what is made of it.
        clip_seconds: of a row of the stream.
    """

    texts: str
    stream: str
    clip_seconds: float

    @classmethod
    def of(cls, config: Config) -> Tuning | None:
        """What a config says of it, if anything."""
        told = config.get('language_tuning')
        if not told:
            return None
        schedule = TuningSchedule(**told)
        dataset = config.train_dataloader.dataset.to_dict()
        texts = DATASETS.build(dict(dataset, pipeline=[], features={}, lazy_init=True)).texts
        return cls(texts, schedule.stream, schedule.clip_seconds)

    @staticmethod
    def encoder(run: Path) -> Path:
        """Where the encoder lies in the folder of a run."""
        return run.resolve() / 'language_model'

    @staticmethod
    def features(run: Path) -> Path:
        """Where the stream lies there."""
        return run.resolve() / 'features'

    def options(self, run: Path) -> dict[str, str]:
        """Settings that make a config read both."""
        parts = ('train', 'val', 'test')
        path = f'features.{self.stream}.path'
        return {
            'model.language.lm.name': str(self.encoder(run)),
            **{f'{part}_dataloader.dataset.{path}': str(self.features(run)) for part in parts},
        }


class Talk(NamedTuple):
    """A video: what is said, what is asked for, and which answers what.

    Attributes:
        texts: ``N``.
        queries: ``Q``.
        inside: ``(Q, N)``, the share of a text's time that lies in a query's moments.
    """

    texts: list[str]
    queries: list[str]
    inside: np.ndarray


def read_talks(entries: Sequence[PredictionEntry], told: Iterator[TimedText]) -> list[Talk]:
    """The videos of a data set that have a text in a moment; their order is that of ``told``.

    Args:
        entries: its queries, see :func:`annotation_entries`.
        told: the timed texts of its videos, and of others.

    Raises:
        ValueError: there is no such video.
    """
    asked: dict[str, list[PredictionEntry]] = {}
    for entry in entries:
        asked.setdefault(entry['video_id'], []).append(entry)
    talks = []
    for video in told:
        if video.video_id not in asked or not video.subtitles:
            continue
        times = np.array([(one.start, one.end) for one in video.subtitles])
        inside = np.stack([_share(times, entry['gt']) for entry in asked[video.video_id]])
        queries = [entry['query'] for entry in asked[video.video_id]]
        found = inside.any(1)
        if found.any():
            kept = [query for query, is_found in zip(queries, found) if is_found]
            talks.append(Talk([one.text for one in video.subtitles], kept, inside[found]))
    if not talks:
        raise ValueError(
            f'none of {len(asked):,} videos has a text in a moment that is asked for: the texts '
            'are of other videos, or their times are'
        )
    return talks


def _digest(talks: Sequence[Talk]) -> str:
    """What other videos, texts, queries or moments hardly have."""
    found = hashlib.sha256()
    for talk in talks:
        found.update(json.dumps([talk.texts, talk.queries]).encode())
        found.update(talk.inside.tobytes())
    return found.hexdigest()[:16]


def _share(times: np.ndarray, spans: Sequence[Sequence[float]]) -> np.ndarray:
    """Of the times ``(N, 2)``, the share that lies in any of the spans, ``(N,)`` in [0, 1]."""
    start, end = times.T
    shown = sum(np.clip(np.minimum(end, e) - np.maximum(start, s), 0, None) for s, e in spans)
    return np.minimum(shown / (end - start), 1)


class LanguageTuner:
    """Contrasts queries with the texts of their moments, against all other texts of a step.

    Loss of a query with unit vector ``q`` over the texts ``t_j`` of a step, of which the share
    ``w_j`` of the time lies in its moments: ``-log sum_j w_j p_j``, ``p = softmax(q t / tau)``, the
    multiple-instance form of InfoNCE (MIL-NCE, Miech et al. 2020), since any one text of a moment
    may say what is asked for. Vectors are means over tokens, as ``encode_subtitles.py`` makes them
    and as the model reads them; the embeddings of tokens stay as they are.

    Args:
        name: of the model, as in ``TransformersLM``.
        schedule: what to do.
        seed: decides which videos, queries and texts each step takes.
        device: where it computes.
        max_length: tokens kept of a text.
    """

    def __init__(
        self,
        name: str,
        schedule: TuningSchedule,
        seed: int = 0,
        device: str = 'cpu',
        max_length: int = 64,
    ) -> None:
        folder = resolve_language_model(name)
        self.schedule, self.seed, self.device = schedule, seed, choose_device(device)
        self.tokenizer = TransformersTokenizer(name, max_length)
        self.lm = load_quietly(folder)
        self.told = dict(asdict(schedule), seed=seed, model=int(identity_of(self.lm)))
        module: nn.Module = self.lm
        module.to(self.device)
        self.lm.get_input_embeddings().requires_grad_(False)
        self.parameters = [p for p in self.lm.parameters() if p.requires_grad]
        self.optimizer = torch.optim.AdamW(
            self.parameters, schedule.lr, weight_decay=schedule.weight_decay
        )
        self.done = 0  # epochs

    def embed(self, texts: Sequence[str]) -> Tensor:
        """Unit vectors ``(N, E)``, whatever stands beside a text."""
        order = sorted(range(len(texts)), key=lambda i: len(texts[i]))
        parts = []
        for start in range(0, len(order), BATCH):
            ids, mask = self.tokenizer([texts[i] for i in order[start : start + BATCH]])
            ids, mask = ids.to(self.device), mask.to(self.device)
            with autocast('auto', self.device):
                out = self.lm(input_ids=ids, attention_mask=mask.long()).last_hidden_state
            parts.append(F.normalize((out.float() * mask[..., None]).sum(1), dim=-1))
        place = torch.tensor(order, device=self.device).argsort()
        return torch.cat(parts)[place]

    def loss(self, talks: Sequence[Talk]) -> Tensor:
        """Of a step with all queries and texts of these videos."""
        texts = self.embed([text for talk in talks for text in talk.texts])
        queries = self.embed([query for talk in talks for query in talk.queries])
        inside = torch.block_diag(*[torch.from_numpy(talk.inside).float() for talk in talks])
        log_p = (queries @ texts.T / self.schedule.temperature).log_softmax(1)
        return -(log_p + inside.to(self.device).log()).logsumexp(1).mean()

    def run(self, talks: Sequence[Talk], state: Path) -> Iterator[float]:
        """Train the epochs that are left; the mean loss after each, in evaluation mode.

        Args:
            state: file that holds the training after each epoch, and from which it goes on.

        Raises:
            ValueError: the state is of another schedule, model or videos.
        """
        self.told['talks'] = _digest(talks)
        steps = math.ceil(len(talks) / self.schedule.videos)
        self.scheduler = torch.optim.lr_scheduler.OneCycleLR(
            self.optimizer,
            self.schedule.lr,
            total_steps=steps * self.schedule.epochs + 1,
            pct_start=0.1,
            cycle_momentum=False,
        )
        if state.exists():
            self._load(state)
        while self.done < self.schedule.epochs:
            rng = np.random.default_rng([self.seed, self.done])
            torch.manual_seed(self.seed + self.done)
            order = rng.permutation(len(talks))
            losses = []
            self.lm.train()
            for step in tqdm(range(steps), desc=f'epoch {self.done + 1}', unit='step'):
                losses.append(self._step([self._draw(talks[i], rng) for i in order[step::steps]]))
            self.lm.eval()
            self.done += 1
            self._save(state)
            yield float(np.mean(losses))

    def _step(self, talks: Sequence[Talk]) -> float:
        loss = self.loss(talks)
        if not loss.isfinite():
            raise FloatingPointError(
                f'the loss is {loss.item()} in epoch {self.done + 1}: give language_tuning a lower '
                f'lr than {self.schedule.lr:g}'
            )
        self.optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.parameters, 1.0)
        self.optimizer.step()
        self.scheduler.step()
        return loss.item()

    def _draw(self, talk: Talk, rng: np.random.Generator) -> Talk:
        """Some of its queries, and some of its texts, those in their moments first."""
        limits = self.schedule.queries, self.schedule.texts
        asked = np.sort(rng.permutation(len(talk.queries))[: limits[0]])
        shuffled = rng.permutation(len(talk.texts))
        first = np.argsort(~talk.inside[asked].any(0)[shuffled], kind='stable')
        told = shuffled[first][: limits[1]]
        inside = talk.inside[np.ix_(asked, told)]
        kept = inside.any(1)
        return Talk(
            [talk.texts[i] for i in told], [talk.queries[i] for i in asked[kept]], inside[kept]
        )

    @torch.no_grad()
    def precision(self, talks: Sequence[Talk]) -> float:
        """Mean average precision of the texts in a query's moments among those of its video, %.

        A text counts as inside by half of its time or more; queries without such a text are left
        out.
        """
        found = []
        for talk in talks:
            scores = (self.embed(talk.queries) @ self.embed(talk.texts).T).cpu().numpy()
            for row, inside in zip(scores, talk.inside >= 0.5):
                if inside.any():
                    found.append(average_precision(inside, row))
        return 100 * float(np.mean(found)) if found else math.nan

    def write(self, folder: Path) -> None:
        """Write the model and its tokenizer, as transformers reads them; whole, or not at all."""
        temporary = folder.with_name(f'.{folder.name}.tmp')
        self.lm.save_pretrained(temporary)
        self.tokenizer.tokenizer.save_pretrained(temporary)
        temporary.rename(folder)
        MMLogger.get_current_instance().info(f'wrote {folder}')

    def _load(self, state: Path) -> None:
        content = torch.load(state, weights_only=True, map_location=self.device)
        if content['schedule'] != self.told:
            raise ValueError(
                f'{state} is of a tuning with {content["schedule"]}, now {self.told}: give the '
                'same model, videos and options to go on, or delete it'
            )
        self.lm.load_state_dict(content['lm'])
        self.optimizer.load_state_dict(content['optimizer'])
        self.scheduler.load_state_dict(content['scheduler'])
        self.done = content['done']

    def _save(self, state: Path) -> None:
        content = dict(
            lm=self.lm.state_dict(),
            optimizer=self.optimizer.state_dict(),
            scheduler=self.scheduler.state_dict(),
            schedule=self.told,
            done=self.done,
        )
        with replacing(state) as temporary:
            torch.save(content, temporary)
