"""DeMUL: decoupled multimodal modelling, unified localization."""

from collections.abc import Sequence
from typing import cast

import torch
from mmengine.model import BaseModel
from mmengine.structures import InstanceData
from torch import Tensor

from demul_mm.models.heads.candidates import HeadOutput
from demul_mm.models.localizers.explain import explain_samples
from demul_mm.models.localizers.pairs import (
    TrainingBatch,
    chunk_pairs,
    hardest_negatives,
    own_pairs,
    pad_spans,
    require_streams,
    same_moment,
    touching,
)
from demul_mm.models.necks.aligned import AlignedStream
from demul_mm.models.necks.fusion import dual_encoder_pairs
from demul_mm.models.task_modules import PointGenerator
from demul_mm.models.task_modules.points import PyramidPoints, padded_length
from demul_mm.registry import MODELS, TASK_UTILS
from demul_mm.structures import (
    MomentCandidates,
    MomentDataSample,
    QueryEncoding,
    VideoEncoding,
)


@MODELS.register_module()
class DeMUL(BaseModel):
    """Find moments in videos from sentences.

    ``encode_video`` never sees a query and ``encode_query`` never sees a video: both can be done
    once and indexed. ``localize`` brings the pairs that survive the index together.

    Args:
        language: config of the language encoder.
        streams: a tower for each stream of features, by name.
        pyramid: config of the temporal pyramid, shared by all streams.
        decoupler: config of the semantic decoupler.
        proposal: config of the query-free proposal head.
        neck: config of the fusion neck; None for the dual encoder alone.
        head: config of the localization head.
        aligned: configs of the spaces that streams share with sentences before any training, as
            ``AlignedStream``.
        reader: config of what reads the curves of cosines in those spaces, as ``SimilarityReader``;
            None for none.
        frame_encoder: config of the encoder that turns the stream ``frames`` into ``visual``.
        memory: config of the semantic memory; None for none.
        retrieval: config of the losses in the shared space; None for none.
        decorrelation: config of the loss between shared and private parts; None for none.
        confusion: config of the modality confusion loss; None for none.
        phrase_weight: weight of the loss that keeps phrases apart.
        calibrator: config of the calibrator.
        train_cfg: ``num_negatives``: videos of the batch that each query is also fused with; below
            1, the share of queries that are fused with one.
        test_cfg: ``nms``: config of the suppression; ``max_pair_points``: pairs times cells that
            are fused at once, which bounds the memory of long videos with many queries;
            ``explain``: also say in ``pred_phrases`` which words speak for which clips.
        data_preprocessor: config of the data preprocessor.
        init_cfg: as in mmengine.
    """

    def __init__(
        self,
        language: dict,
        streams: dict,
        pyramid: dict,
        decoupler: dict,
        proposal: dict,
        head: dict,
        neck: dict | None = None,
        aligned: Sequence[dict] = (),
        reader: dict | None = None,
        frame_encoder: dict | None = None,
        memory: dict | None = None,
        retrieval: dict | None = None,
        decorrelation: dict | None = None,
        confusion: dict | None = None,
        phrase_weight: float = 0.1,
        calibrator: dict | None = None,
        train_cfg: dict | None = None,
        test_cfg: dict | None = None,
        data_preprocessor: dict | None = None,
        init_cfg: dict | None = None,
    ) -> None:
        preprocessor = data_preprocessor or dict(type='MomentDataPreprocessor')
        super().__init__(data_preprocessor=preprocessor, init_cfg=init_cfg)
        self.language = MODELS.build(language)
        self.frame_encoder = MODELS.build(frame_encoder) if frame_encoder else None
        self.towers = torch.nn.ModuleDict({k: MODELS.build(v) for k, v in streams.items()})
        self.pyramid = MODELS.build(pyramid)
        self.decoupler = MODELS.build({'streams': tuple(streams), **decoupler})
        spaces = torch.nn.ModuleList(MODELS.build(space) for space in aligned)
        self.aligned = cast('list[AlignedStream]', spaces)
        self.reader = MODELS.build({'curves': len(aligned), **reader}) if reader else None
        self.proposal = MODELS.build(proposal)
        self.neck = MODELS.build({'num_streams': len(streams), **neck}) if neck else None
        if self.neck is None or not self.neck.reads_sentence:
            # Nothing else reads them, and DDP wants a gradient everywhere.
            self.decoupler.language.recombine.requires_grad_(False)
            self.decoupler.language.norm.requires_grad_(False)
        self.head = MODELS.build(head)
        self.memory = MODELS.build(memory) if memory else None
        self.retrieval = MODELS.build(retrieval) if retrieval else None
        self.decorrelation = MODELS.build(decorrelation) if decorrelation else None
        self.confusion = MODELS.build(confusion) if confusion else None
        self.phrase_weight = phrase_weight
        self.calibrator = MODELS.build(calibrator or dict(type='ScoreCalibrator'))
        training = _options('train_cfg', train_cfg, num_negatives=0.25)
        testing = _options(
            'test_cfg',
            test_cfg,
            nms=dict(type='MomentNMS'),
            max_pair_points=50_000,
            explain=False,
        )
        self.num_negatives = float(training['num_negatives'])
        self.nms = TASK_UTILS.build(testing['nms'])
        self.max_pair_points = int(testing['max_pair_points'])
        self.explain = bool(testing['explain'])
        self.fusing = True  # TwoStageHook trains the encoders without fusion first
        self.points = PointGenerator(self.pyramid.num_levels)
        divisor = self.data_preprocessor.pad_divisor
        if divisor % self.points.divisor:
            raise ValueError(
                f'data_preprocessor.pad_divisor is {divisor}; a pyramid of '
                f'{self.points.num_levels} levels needs a multiple of {self.points.divisor}'
            )

    def forward(
        self, inputs: dict, data_samples: list[MomentDataSample] | None = None, mode: str = 'tensor'
    ) -> dict[str, Tensor] | list[MomentDataSample] | VideoEncoding:
        """Dispatch to ``loss``, ``predict`` or, for ``'tensor'``, the videos' encoding."""
        if mode == 'loss':
            return self.loss(inputs, data_samples or [])
        if mode == 'predict':
            return self.predict(inputs, data_samples or [])
        if mode == 'tensor':
            return self.encode_video(inputs)
        raise ValueError(f"mode is {mode!r}; allowed: 'loss', 'predict', 'tensor'")

    # -- encoders ----------------------------------------------------------------------------

    def encode_video(self, inputs: dict) -> VideoEncoding:
        """Encode ``V`` videos without any query.

        Args:
            inputs: of the data preprocessor: ``streams`` ``{name: ((V, T, d), (V, T) mask)}``
                and, with a frame encoder, ``frames`` ``[(T_v, 3, t, H, W), ...]``.
        """
        streams = dict(inputs['streams'])
        if self.frame_encoder is not None and inputs.get('frames') is not None:
            features = self.frame_encoder(inputs['frames'])
            longest = max(len(rows) for rows in features)
            streams['visual'] = self.data_preprocessor.pad(features, longest)
        require_streams(streams, [*self.towers, *(space.stream for space in self.aligned)])
        pyramids, has_stream = {}, []
        valid = torch.stack([streams[name][1] for name in self.towers]).any(0)  # (V, T)
        for name, tower in self.towers.items():
            x, mask = streams[name]
            pyramids[name], _ = self.pyramid(tower(x, mask), mask)
            has_stream.append(mask.any(1))
        stream_mask = torch.stack(has_stream, 1)  # (V, N)
        num_clips = valid.sum(1)
        points = self.points(valid.shape[1], valid.device)
        mask = points.valid(num_clips)
        features, private, shared = self.decoupler.encode_streams(pyramids, stream_mask, mask)
        for space in self.aligned:
            x, told = streams[space.stream]
            cells = self.pyramid.average(space.clips(x, told), told)
            shared = space.join(shared, cells)
        weight = stream_mask[:, :, None, None].to(features.dtype)
        mean = (features * weight).sum(1) / weight.sum(1).clamp(min=1)
        return VideoEncoding(
            points=features * mask[:, None, :, None],
            private=private,
            shared=shared * mask[..., None],
            spans=self.proposal(mean, points, num_clips),
            mask=mask,
            stream_mask=stream_mask,
            num_clips=num_clips,
        )

    def encode_query(self, sentences: list[str]) -> QueryEncoding:
        """Encode ``Q`` sentences; an empty one raises ValueError."""
        return self.encode_tokens(*self.data_preprocessor.tokenize(sentences))

    def encode_tokens(self, ids: Tensor, mask: Tensor) -> QueryEncoding:
        """Encode ``Q`` tokenised sentences ``(Q, L)``."""
        told = self.language(ids, mask)
        shared, private = self.decoupler.encode_language(told.sentence)
        sentence = self.decoupler.recombine_language(told.sentence, shared, private)
        for space in self.aligned:
            shared = space.join(shared, space.queries(told.meaning, ids, mask))
        return QueryEncoding(
            words=told.words,
            word_mask=told.word_mask,
            phrases=told.phrases,
            sentence=sentence,
            private=private,
            shared=shared,
            phrase_attention=told.phrase_attention,
            meaning=told.meaning,
        )

    # -- pairs -------------------------------------------------------------------------------

    def localize(
        self, videos: VideoEncoding, queries: QueryEncoding, video: Tensor, query: Tensor
    ) -> MomentCandidates:
        """All candidates of ``R`` (query, video) pairs, rated on one scale.

        Pairs of one query compete: their start and end curves are normalised together.

        Args:
            videos: ``V`` encoded videos.
            queries: ``Q`` encoded queries.
            video: ``(R,)`` int64, the video of each pair.
            query: ``(R,)`` int64, the query of each pair.
        """
        points = self.points(self.padded_clips(videos), video.device)
        out = self._fuse(
            videos, queries, video, query, points, self.similarity(videos, queries, video, query)
        )
        _, group = query.unique(return_inverse=True)  # the pairs may be of few of many queries
        return self.head.predict_by_feat(out._replace(query=group))

    @staticmethod
    def similarity(
        videos: VideoEncoding, queries: QueryEncoding, video: Tensor, query: Tensor
    ) -> Tensor:
        """Cosines ``(R, M)`` of pairs in the shared space, as the index has them: in float32."""
        with torch.autocast(video.device.type, enabled=False):
            return torch.einsum('rs,rms->rm', queries.shared[query], videos.shared[video])

    def padded_clips(self, videos: VideoEncoding) -> int:
        """The length that the clips of a batch were padded to."""
        return padded_length(videos.mask.shape[1], self.points.num_levels)

    def _fuse(
        self,
        videos: VideoEncoding,
        queries: QueryEncoding,
        video: Tensor,
        query: Tensor,
        points: PyramidPoints,
        similarity: Tensor,
        keep: Tensor | None = None,
    ) -> HeadOutput:
        """The head's word on pairs whose cosines in the shared space are ``similarity (R, M)``."""
        rows, texts = videos.for_fusion(video), queries.select(query)
        if self.reader is not None:
            curves = self._similarity_curves(videos, queries, video, query, points)
            x = self.reader(rows.points, *curves, rows.num_clips, points)
            rows = rows._replace(points=x)
        base = self.head.base_logit(similarity)
        if self.neck is not None and (self.fusing or not self.training):
            fused = self.neck(rows, texts, points, base, keep)
        else:
            fused = dual_encoder_pairs(rows, points, base)
        return self.head(fused, similarity, rows.mask, points, rows.num_clips, query)

    @torch.no_grad()
    def _similarity_curves(
        self,
        videos: VideoEncoding,
        queries: QueryEncoding,
        video: Tensor,
        query: Tensor,
        points: PyramidPoints,
    ) -> tuple[Tensor, Tensor]:
        """Cosines of pairs and clips in each of ``C`` aligned spaces, ``(R, C, T)``.

        And which clips have something to compare, ``(R, C, T)``.
        """
        of_clips, of_query = videos.shared[:, : points.level_sizes[0]], queries.shared
        curves, told = [], []
        for space in reversed(self.aligned):
            (of_clips, clips), (of_query, asked) = space.split(of_clips), space.split(of_query)
            cosines = torch.einsum('rte,re->rt', clips[video], asked[query])
            curves.append(cosines)
            told.append((clips != 0).any(-1)[video])
        return torch.stack(curves[::-1], 1), torch.stack(told[::-1], 1)

    # -- training ----------------------------------------------------------------------------

    def loss(self, inputs: dict, data_samples: list[MomentDataSample]) -> dict[str, Tensor]:
        """Losses of a batch of videos with their queries."""
        if inputs['ids'] is None:
            raise ValueError('the batch has no query: leave videos without one out of training')
        videos = self.encode_video(inputs)
        queries = self.encode_tokens(inputs['ids'], inputs['word_mask'])
        hard = None
        if inputs.get('hard_ids') is not None and self.retrieval is not None:
            hard = self.encode_tokens(inputs['hard_ids'], inputs['hard_mask'])
        device = videos.mask.device
        owner = own_pairs([len(s.queries) for s in data_samples], device)  # (Q,)
        spans, span_mask = pad_spans(data_samples, device)
        points = self.points(self.padded_clips(videos), device)
        exact = torch.autocast(device.type, enabled=False)  # similarities and losses in float32
        with exact:
            truth = spans * videos.num_clips[owner][:, None, None]
            positive, own = self.head.assigner(points, videos.mask[owner], truth, span_mask)
            cells = torch.einsum('qs,vms->qvm', queries.shared, videos.shared)
            near = self.head.video_similarity(cells, videos.mask[None].expand_as(cells))  # (Q, V)
            batch = TrainingBatch(owner, truth, span_mask, positive, own, cells, near)
            losses = self._shared_losses(videos, queries, batch, points, hard)
        query = torch.arange(len(owner), device=device)
        rival, rival_query = hardest_negatives(
            near.detach(), owner, queries.meaning @ queries.meaning.T, self.num_negatives
        )
        keep = torch.cat([positive, positive[rival_query] & False])
        video, query = torch.cat([owner, rival]), torch.cat([query, rival_query])
        out = self._fuse(videos, queries, video, query, points, cells[query, video], keep)
        # A rival video holds no truth.
        spans = torch.cat([spans, spans[rival_query]])
        span_mask = torch.cat([span_mask, span_mask[rival_query] & False])
        with exact:
            losses.update(self.head.loss_by_feat(out, spans, span_mask, points))
        if self.neck is not None and not self.fusing:  # DDP wants a gradient everywhere
            unused = [*self.neck.parameters(), *self.decoupler.language.recombine.parameters()]
            unused += self.decoupler.language.norm.parameters()
            losses['loss_unused'] = sum(parameter.sum() for parameter in unused) * 0.0
        return losses

    def _shared_losses(
        self,
        videos: VideoEncoding,
        queries: QueryEncoding,
        batch: TrainingBatch,
        points: PyramidPoints,
        hard: QueryEncoding | None,
    ) -> dict[str, Tensor]:
        """Losses that need no fusion: retrieval, proposals, decoupling, phrases.

        ``hard`` are false variants of queries.
        """
        owner, positive = batch.owner, batch.positive
        clips = videos.num_clips[owner][:, None, None]
        number = positive.sum().clamp(min=1)
        losses = dict(
            loss_proposal=self.proposal.loss_span(
                videos.spans[owner], batch.own / clips, positive.float(), number
            ),
            loss_phrases=self.phrase_weight * self.language.orthogonality(queries.phrase_attention),
        )
        weight = positive / positive.sum(1, keepdim=True).clamp(min=1)
        mine = torch.nn.functional.one_hot(owner, len(videos.mask))  # (Q, V)
        # One product with the cells of all videos: a copy of the own video's costs far more.
        of_all = weight[:, None] * mine[..., None]  # (Q, V, M)
        moment = torch.einsum('qvm,vms->qs', of_all, videos.shared)  # (Q, S)
        unit = torch.nn.functional.normalize(moment, dim=-1)
        if self.retrieval is not None:
            touches = touching(points, batch.truth, batch.span_mask)
            losses.update(
                self.retrieval(
                    cells=batch.cells,
                    videos=batch.near,
                    owner=owner,
                    positive=positive,
                    counted=videos.mask[owner] & (positive | ~touches),
                    cell_mask=videos.mask,
                    meaning=queries.meaning,
                    query=queries.shared,
                    moment=unit,
                    same=same_moment(batch.truth, batch.span_mask, owner),
                    false=None if hard is None else hard.shared,
                    memory=self.memory,
                )
            )
        learned = slice(self.decoupler.shared_dim)
        if self.decorrelation is not None:
            mask = videos.mask[:, None] & videos.stream_mask[..., None]  # (V, N, M)
            shared = videos.shared[:, None, :, learned].expand(-1, mask.shape[1], -1, -1)
            losses['loss_decorrelation'] = self.decorrelation(
                shared.flatten(0, 2), videos.private.flatten(0, 2).float(), mask.flatten()
            ) + self.decorrelation(queries.shared[:, learned], queries.private.float())
        if self.confusion is not None:
            losses['loss_confusion'] = self.confusion(
                moment[:, learned], queries.shared[:, learned]
            )
        if self.memory is not None and self.training:
            self.memory.push(queries.meaning, unit.detach())
        return losses

    # -- testing -----------------------------------------------------------------------------

    @torch.no_grad()
    def predict(self, inputs: dict, data_samples: list[MomentDataSample]) -> list[MomentDataSample]:
        """Fill ``pred_moments`` of each data sample."""
        if inputs['ids'] is None:
            for sample in data_samples:
                sample.pred_moments = []
            return data_samples
        videos = self.encode_video(inputs)
        queries = self.encode_tokens(inputs['ids'], inputs['word_mask'])
        owner = own_pairs([len(s.queries) for s in data_samples], videos.mask.device)
        moments: list[InstanceData] = []
        extents = [s.metainfo.get('extent', s.duration) for s in data_samples for _ in s.queries]
        durations = [s.duration for s in data_samples for _ in s.queries]
        for rows in chunk_pairs(len(owner), videos.mask.shape[1], self.max_pair_points):
            query = torch.arange(rows.start, rows.stop, device=owner.device)
            found = self.localize(videos, queries, owner[rows], query)
            moments += self.select(found, extents[rows], durations[rows])
        for sample in data_samples:
            sample.pred_moments = moments[: len(sample.queries)]
            moments = moments[len(sample.queries) :]
        if self.explain:
            explain_samples(self, videos, data_samples)
        return data_samples

    def select(
        self, found: MomentCandidates, extents: list[float], durations: list[float]
    ) -> list[InstanceData]:
        """Calibrate and suppress: the moments of each of ``R`` pairs, best first, in seconds."""
        scores = self.calibrator(found.scores.float())
        spans, scores, valid, index = self.nms(found.spans.float(), scores, found.mask)
        terms = found.terms.gather(1, index[..., None].expand(-1, -1, found.terms.shape[-1]))
        extent = spans.new_tensor(extents)[:, None, None]
        limit = spans.new_tensor(durations)[:, None, None]
        spans = torch.minimum(spans * extent, limit)
        columns = (spans, scores, terms.float(), valid)
        return [
            InstanceData(spans=s[v], scores=p[v], terms=t[v])
            for s, p, t, v in zip(*(column.cpu() for column in columns))
        ]


def _options(part: str, given: dict | None, **defaults: object) -> dict:
    """The defaults with what is given in their place; an option without a default is refused."""
    unknown = sorted(set(given or {}) - set(defaults))
    if unknown:
        raise ValueError(f'{part} has no option {unknown[0]!r}; allowed: {", ".join(defaults)}')
    return {**defaults, **(given or {})}
