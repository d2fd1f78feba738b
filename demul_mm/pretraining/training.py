"""The training of a backbone on the sentences of a split, which can be stopped and go on."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from scipy.cluster.vq import kmeans2
from torch import Tensor, nn
from tqdm import tqdm

from demul_mm.engine.optim.muon import MuonAdamW
from demul_mm.files import replacing
from demul_mm.models.backbones.clip_cnn import ClipCNN
from demul_mm.precision import autocast
from demul_mm.pretraining.objective import SentenceMatcher, contrastive_loss
from demul_mm.pretraining.sentences import Vocabulary
from demul_mm.pretraining.split import SentenceSplit

WIDTHS = (48, 64, 96)
SAVE_EVERY = 50
"""Steps that a run which is stopped can lose."""


@dataclass(frozen=True)
class Schedule:
    """What a training does.

    Attributes:
        steps: training steps.
        videos: videos in a step.
        clips: clips of each of them.
        lr: peak of the learning rate, which rises for a tenth of the steps and then falls.
        seed: decides which videos and clips each step takes.
    """

    steps: int = 500
    videos: int = 6
    clips: int = 16
    lr: float = 1e-2
    seed: int = 0


class Trainer:
    """Contrasts clips with sentences: within each video, and across the videos of a step.

    A step draws its clips by its number alone, so that a training which goes on from its saved
    state ends as one that was never stopped.

    Args:
        model: to train; its prototypes and statistics are left to :func:`set_prototypes`.
        matcher: trained with it.
        split: training videos.
        bags: (Q, W) of each video's sentences.
        schedule: what to do.
        about: of what else it is a training: a state with another one is refused.
        state: file from which to go on, where there is one; it is written every
            :data:`SAVE_EVERY` steps.
    """

    def __init__(
        self,
        model: ClipCNN,
        matcher: SentenceMatcher,
        split: SentenceSplit,
        bags: list[Tensor],
        schedule: Schedule,
        about: dict,
        state: Path,
    ) -> None:
        self.model, self.matcher, self.split, self.bags = model, matcher, split, bags
        self.schedule, self.state = schedule, state
        self.told = {'schedule': asdict(schedule), **about}
        self.insides = [split.inside(i) for i in range(len(split))]
        self.parameters = [p for n, p in model.named_parameters() if n != 'prototypes']
        self.parameters += matcher.parameters()
        self.optimizer = MuonAdamW(self.parameters, weight_decay=0.02, kernels=True)
        self.scheduler = torch.optim.lr_scheduler.OneCycleLR(
            self.optimizer,
            schedule.lr,
            total_steps=schedule.steps + 1,
            pct_start=0.1,
            cycle_momentum=False,
        )
        self.done = 0
        if state.exists():
            self._load()

    def _parts(self) -> dict[str, nn.Module | torch.optim.Optimizer]:
        return dict(model=self.model, matcher=self.matcher, optimizer=self.optimizer)

    def _load(self) -> None:
        content = torch.load(self.state, weights_only=True)
        if content.get('told') != self.told:
            raise ValueError(
                f'{self.state} is of a training with {content.get("told")}, now {self.told}: give '
                'the same videos and options to go on, or delete it'
            )
        for name, part in self._parts().items():
            part.load_state_dict(content[name])
        self.scheduler.load_state_dict(content['scheduler'])
        self.done = content['done']

    def _save(self) -> None:
        content: dict = {name: part.state_dict() for name, part in self._parts().items()}
        content.update(scheduler=self.scheduler.state_dict(), told=self.told, done=self.done)
        with replacing(self.state) as temporary:
            torch.save(content, temporary)

    def run(self) -> None:
        """All steps that are left; then the model and the matcher are in evaluation mode."""
        bar = tqdm(
            total=self.schedule.steps, initial=self.done, desc='train', unit='step', mininterval=1
        )
        while self.done < self.schedule.steps:
            loss = self.step()
            bar.update()
            bar.set_postfix(loss=f'{loss:.2f}', refresh=False)
            if self.done % SAVE_EVERY == 0:
                self._save()
        bar.close()
        self.model.eval()
        self.matcher.eval()

    def step(self) -> float:
        """One step; returns the loss."""
        clips, positive, chosen = self._draw()
        own = torch.block_diag(*[torch.ones_like(p) for p in positive]).bool()
        with autocast('auto', 'cpu'):
            cells = self.model.embed(clips)
        logits = self.matcher(cells, torch.cat([self.bags[i] for i in chosen]))
        matches = torch.block_diag(*positive).bool()
        loss = contrastive_loss(logits, matches, own)
        loss = loss + contrastive_loss(logits, matches, torch.ones_like(own))
        self.optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.parameters, 5.0)
        self.optimizer.step()
        self.scheduler.step()
        self.done += 1
        return loss.item()

    def _draw(self) -> tuple[Tensor, list[Tensor], np.ndarray]:
        """Clips (B, 3, t, H, W), which of them each video's sentences describe, the videos."""
        rng = np.random.default_rng([self.schedule.seed, self.done])
        chosen = rng.choice(len(self.bags), min(self.schedule.videos, len(self.bags)), False)
        clips, positive = [], []
        for i in chosen:
            total = self.insides[i].shape[1]
            which = np.sort(rng.choice(total, min(self.schedule.clips, total), replace=False))
            clips.append(self.split.clips(i, which))
            positive.append(self.insides[i][:, which])
        return torch.cat(clips), positive, chosen


def pretrain(
    split: SentenceSplit,
    vocabulary: Vocabulary,
    schedule: Schedule,
    out: Path,
    *,
    dim: int,
    widths: Sequence[int] = WIDTHS,
) -> tuple[ClipCNN, SentenceMatcher]:
    """Train a backbone, and write a checkpoint that describes it and its clips.

    Args:
        schedule: how long, and on how much at once.
        out: the checkpoint; ``<out>.state`` beside it holds the training while it goes on, and a
            call with the same arguments takes it from there.
        dim: d, width of the features.
        widths: channels of the backbone's convolutions.

    Raises:
        ValueError: the state is of another training.
    """
    torch.manual_seed(schedule.seed)
    state = out.with_name(out.name + '.state')
    options = dict(
        num_frames=split.frames.clips['frames_per_clip'], out_dim=dim, widths=list(widths)
    )
    model = ClipCNN(**options)
    matcher = SentenceMatcher(len(vocabulary), model.embed_dim)
    bags = [vocabulary(sentences) for sentences in split.sentences]
    made = {'backbone': dict(type='ClipCNN', **options), 'clips': split.frames.clips}
    data = json.dumps([split.rows, vocabulary.words, vocabulary.weight.tolist()])
    about = {**made, 'data': hashlib.sha256(data.encode()).hexdigest()[:16]}
    Trainer(model, matcher, split, bags, schedule, about, state).run()
    set_prototypes(model, matcher, split, torch.cat(bags), schedule.seed)
    meta = {**made, 'steps': schedule.steps, 'seed': schedule.seed}
    with replacing(out) as temporary:
        torch.save({'state_dict': model.state_dict(), 'meta': meta}, temporary)
    state.unlink(missing_ok=True)
    return model, matcher


@torch.no_grad()
def set_prototypes(
    model: ClipCNN, matcher: SentenceMatcher, split: SentenceSplit, bags: Tensor, seed: int
) -> None:
    """Put the prototypes where the sentences are, and measure the responses to clips."""
    sentences = torch.nn.functional.normalize(matcher.embed(bags.unique(dim=0)), dim=1)
    if len(sentences) <= model.out_dim:  # further ones between pairs of sentences
        rng = torch.Generator().manual_seed(seed)
        pairs = torch.randint(len(sentences), (2, model.out_dim - len(sentences)), generator=rng)
        centres = torch.cat([sentences, sentences[pairs[0]] + sentences[pairs[1]]])
    else:
        found, _ = kmeans2(sentences.numpy(), model.out_dim, minit='++', rng=seed)
        centres = torch.from_numpy(found)
    model.prototypes.copy_(torch.nn.functional.normalize(centres, dim=1))
    some = np.linspace(0, len(split) - 1, min(60, len(split))).astype(int)
    responses = torch.cat([respond(model, split, i) for i in some])
    model.mean.copy_(responses.mean(0))
    # One response has no spread about its mean, which is not that of a sample.
    spread = responses.std(0, correction=min(1, len(responses) - 1))
    model.std.copy_(spread.clamp(min=1e-3))


@torch.no_grad()
def respond(model: ClipCNN, split: SentenceSplit, index: int) -> Tensor:
    """Features of all clips of a video, (T, d)."""
    with autocast('auto', 'cpu'):
        return model(split.clips(index))
