"""DeMUL: decoupled multimodal modelling, unified localization."""

from collections.abc import Iterator, Sequence
from typing import cast

import torch
from mmengine.structures import InstanceData
from torch import Tensor

from demul_mm.models.heads.candidates import HeadOutput
from demul_mm.models.heads.joint_score import VIDEO
from demul_mm.models.localizers.base import MomentLocalizer, with_defaults
from demul_mm.models.localizers.explain import explain_samples
from demul_mm.models.localizers.pairs import (
    chunk_pairs,
    hardest_negatives,
    own_pairs,
    require_queries,
    require_streams,
    true_spans,
)
from demul_mm.models.losses import TrainingBatch
from demul_mm.models.necks.aligned import AlignedStream
from demul_mm.models.necks.fusion import dual_encoder_pairs, mean_of_streams
from demul_mm.models.necks.similarity_reader import similarity_curves
from demul_mm.models.task_modules import PointGenerator
from demul_mm.models.task_modules.points import PyramidPoints, padded_length
from demul_mm.registry import MODELS, TASK_UTILS
from demul_mm.structures import MomentCandidates, MomentDataSample, QueryEncoding, VideoEncoding


@MODELS.register_module()
class DeMUL(MomentLocalizer):
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
        word_match: config of what tells which of a sentence's words are said around a clip, as
            ``WordMatch``, for the reader; None for none.
        reader: config of what reads the curves of cosines in the shared space, as
            ``SimilarityReader``; None for none.
        frame_encoder: config of the encoder that turns the stream ``frames`` into ``visual``.
        memory: config of the semantic memory; None for none.
        criterion: what the losses weigh, and other options of ``MomentCriterion``.
        length_memory: config of the memory of how long moments last, as ``LengthMemory``; None for
            none.
        prior: config of what a moment may be beside the candidates, as ``MomentPrior``; None for
            nothing.
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
        word_match: dict | None = None,
        reader: dict | None = None,
        frame_encoder: dict | None = None,
        memory: dict | None = None,
        criterion: dict | None = None,
        length_memory: dict | None = None,
        prior: dict | None = None,
        calibrator: dict | None = None,
        train_cfg: dict | None = None,
        test_cfg: dict | None = None,
        data_preprocessor: dict | None = None,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(data_preprocessor, init_cfg)
        self.language = MODELS.build(language)
        self.frame_encoder = MODELS.build(frame_encoder) if frame_encoder else None
        self.towers = torch.nn.ModuleDict({k: MODELS.build(v) for k, v in streams.items()})
        self.pyramid = MODELS.build(pyramid)
        self.decoupler = MODELS.build(
            {'streams': tuple(streams), 'num_levels': self.pyramid.num_levels, **decoupler}
        )
        spaces = torch.nn.ModuleList(MODELS.build(space) for space in aligned)
        last = getattr(self.language.lm, 'layers', (-1,))[-1]
        if last != -1 and any(space.words is None for space in spaces):
            raise ValueError(
                f'language.lm.layers ends with {last}, but an aligned stream holds what the last '
                'layer tells: end them with -1'
            )
        self.aligned = cast('list[AlignedStream]', spaces)
        if word_match and not reader:
            raise ValueError('nothing reads what word_match tells: give a reader, too')
        self.word_match = MODELS.build(word_match) if word_match else None
        curves = len(aligned) + (len(self.word_match.windows) if self.word_match else 0)
        self.reader = MODELS.build({'curves': curves, **reader}) if reader else None
        self.proposal = MODELS.build(proposal)
        self.neck = MODELS.build({'num_streams': len(streams), **neck}) if neck else None
        if self.neck is None or not self.neck.reads_sentence:
            self.decoupler.freeze_sentence()
        self.head = MODELS.build(head)
        self.memory = None
        if memory:
            widths = {
                'caption_dim': self.language.meaning_dim,
                'shared_dim': self.decoupler.shared_dim + sum(s.width for s in self.aligned),
            }
            self.memory = MODELS.build({**widths, **memory})
        options = {'dim': self.decoupler.shared_dim, **(criterion or {})}
        self.criterion = MODELS.build({'type': 'MomentCriterion', **options})
        self.length_memory = None
        if length_memory:
            width = self.language.meaning_dim
            self.length_memory = MODELS.build({'caption_dim': width, **length_memory})
        self.prior = MODELS.build(prior) if prior else None
        self.calibrator = MODELS.build(calibrator or dict(type='ScoreCalibrator'))
        training = with_defaults('train_cfg', train_cfg, num_negatives=0.25)
        testing = with_defaults(
            'test_cfg', test_cfg, nms=dict(type='MomentNMS'), max_pair_points=50_000, explain=False
        )
        self.num_negatives = float(training['num_negatives'])
        self.nms = TASK_UTILS.build(testing['nms'])
        self.max_pair_points = int(testing['max_pair_points'])
        self.explain = bool(testing['explain'])
        self.fusing = True  # TwoStageHook trains the encoders without fusion first
        self.points = PointGenerator(self.pyramid.num_levels)
        self.points.check_padding(self.data_preprocessor.pad_divisor)

    def raw(self, inputs: dict, data_samples: Sequence[MomentDataSample]) -> VideoEncoding:
        """The videos' encoding."""
        return self.encode_video(inputs)

    # -- encoders ----------------------------------------------------------------------------

    def encode_video(self, inputs: dict) -> VideoEncoding:
        """Encode ``V`` videos without any query.

        Args:
            inputs: what the data preprocessor made: ``streams`` ``{name: ((V, T, d), (V, T)
                mask)}`` and, with a frame encoder, ``frames`` ``[(T_v, 3, t, H, W), ...]``.
        """
        streams = dict(inputs['streams'])
        if self.frame_encoder is not None and inputs.get('frames') is not None:
            features = self.frame_encoder(inputs['frames'])
            longest = max(len(rows) for rows in features)
            streams['visual'] = self.data_preprocessor.pad(features, longest)
        beside = [*self.aligned, *([self.word_match] if self.word_match else [])]
        read = dict.fromkeys([*self.towers, *(part.stream for part in beside)])
        require_streams(streams, read)
        pyramids, has_stream = {}, []
        valid = torch.stack([streams[name][1] for name in read]).any(0)  # (V, T)
        for name, tower in self.towers.items():
            x, mask = streams[name]
            pyramids[name], _ = self.pyramid(tower(x, mask), mask)
            has_stream.append(mask.any(1))
        stream_mask = torch.stack(has_stream, 1)  # (V, N)
        num_clips = valid.sum(1)
        points = self.points(valid.shape[1], valid.device)
        mask = points.valid(num_clips)
        # Without any tower's stream, what the towers make of nothing: an index takes unit vectors,
        # but they tell nothing of the means.
        has_any = stream_mask.any(1, keepdim=True)  # (V, 1)
        features, private, shared = self.decoupler.encode_streams(
            pyramids, stream_mask | ~has_any, mask & has_any, points.level_sizes
        )
        for space in self.aligned:
            x, has_clip = streams[space.stream]
            cells = self.pyramid.average(space.clips(x, has_clip), has_clip)
            shared = space.join(shared, cells)
        said = valid.new_zeros(*valid.shape, 0, dtype=torch.uint8)
        if self.word_match is not None:
            said = self.word_match.encode_video(*streams[self.word_match.stream])
        return VideoEncoding(
            points=features * mask[:, None, :, None],
            private=private,
            shared=shared * mask[..., None],
            spans=self.proposal(mean_of_streams(features, stream_mask), points, num_clips),
            mask=mask,
            stream_mask=stream_mask,
            num_clips=num_clips,
            said=said,
        )

    def encode_query(self, sentences: list[str]) -> QueryEncoding:
        """Encode ``Q`` sentences; an empty one raises ValueError."""
        return self.encode_tokens(*self.data_preprocessor.tokenize(sentences))

    def encode_tokens(self, ids: Tensor, mask: Tensor) -> QueryEncoding:
        """Encode ``Q`` tokenised sentences ``(Q, L)``."""
        language = self.language(ids, mask)
        shared, private = self.decoupler.encode_language(language.sentence)
        sentence = self.decoupler.recombine_language(language.sentence, shared, private)
        for space in self.aligned:
            shared = space.join(shared, space.queries(language.meaning, ids, mask))
        return QueryEncoding(
            words=language.words,
            word_mask=language.word_mask,
            phrases=language.phrases,
            sentence=sentence,
            private=private,
            shared=shared,
            phrase_attention=language.phrase_attention,
            meaning=language.meaning,
            asked=self.word_match.encode_query(ids, mask) if self.word_match else ids[:, :0],
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
        out = self.fuse(
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

    def fuse(
        self,
        videos: VideoEncoding,
        queries: QueryEncoding,
        video: Tensor,
        query: Tensor,
        points: PyramidPoints,
        similarity: Tensor,
        keep: Tensor | None = None,
    ) -> HeadOutput:
        """Fuse ``R`` pairs and rate the candidates of each.

        Args:
            videos: encoded videos.
            queries: encoded sentences.
            video: ``(R,)``, the video of each pair.
            query: ``(R,)``, its sentence.
            points: the ``M`` cells of these videos.
            similarity: ``(R, M)``, their cosines with the sentence in the shared space.
            keep: ``(R, M)`` bool, cells that every fusion stage visits.
        """
        rows, texts = videos.for_fusion(video), queries.select(query)
        if self.reader is not None:
            shared = videos.shared[:, : points.level_sizes[0]], queries.shared
            cosine, valid = similarity_curves(
                self.aligned, self.reader.learned, *shared, video, query
            )
            if self.word_match is not None:
                found = self.word_match(videos.said, queries.asked, video, query)
                cosine, valid = (torch.cat(pair, 1) for pair in zip(found, (cosine, valid)))
            x = self.reader(rows.points, cosine, valid, rows.num_clips, points)
            rows = rows._replace(points=x)
        base = self.head.base_logit(similarity)
        if self.neck is None:
            fused = dual_encoder_pairs(rows, points, base)
        elif self.training and not self.fusing:
            fused = self.neck.skip(rows, texts, points, base)
        else:
            fused = self.neck(rows, texts, points, base, keep)
        return self.head(fused, similarity, rows.mask, points, rows.num_clips, query)

    # -- training ----------------------------------------------------------------------------

    def loss(self, inputs: dict, data_samples: Sequence[MomentDataSample]) -> dict[str, Tensor]:
        """Losses of a batch of videos with their queries."""
        require_queries(inputs)
        videos = self.encode_video(inputs)
        queries = self.encode_tokens(inputs['ids'], inputs['word_mask'])
        false = None
        if inputs.get('hard_ids') is not None and self.criterion.contrasts:
            false = self.encode_tokens(inputs['hard_ids'], inputs['hard_mask']).shared
        device = videos.mask.device
        owner = own_pairs([len(s.queries) for s in data_samples], device)  # (Q,)
        spans, span_mask = true_spans(data_samples, device)
        points = self.points(self.padded_clips(videos), device)
        exact = torch.autocast(device.type, enabled=False)  # similarities and losses in float32
        with exact:
            clips = videos.num_clips[owner][:, None, None]
            targets = self.criterion.targets(points, videos.mask[owner], spans * clips, span_mask)
            cells = torch.einsum('qs,vms->qvm', queries.shared, videos.shared)
            near = self.head.video_similarity(cells, videos.mask[None].expand_as(cells))  # (Q, V)
        batch = TrainingBatch(videos, queries, owner, points, cells, near, false)
        rival, asking = hardest_negatives(
            near.detach(), owner, queries.meaning @ queries.meaning.T, self.num_negatives
        )
        video = torch.cat([owner, rival])
        query = torch.cat([torch.arange(len(owner), device=device), asking])
        keep = targets.with_rivals(len(rival)).positive
        out = self.fuse(videos, queries, video, query, points, cells[query, video], keep)
        with exact:
            scores, _ = self.head.score(out, out.spans.detach())
            return self.criterion(batch, targets, out, scores, self.memory)

    # -- testing -----------------------------------------------------------------------------

    def answer(self, inputs: dict, data_samples: Sequence[MomentDataSample]) -> list[InstanceData]:
        """The moments of each query in its own video, best first, in seconds."""
        videos = self.encode_video(inputs)
        queries = self.encode_tokens(inputs['ids'], inputs['word_mask'])
        if self.explain:
            explain_samples(self, videos, data_samples)
        return self.localize_own(videos, queries, data_samples)

    def localize_own(
        self, videos: VideoEncoding, queries: QueryEncoding, samples: Sequence[MomentDataSample]
    ) -> list[InstanceData]:
        """The same of encoded videos and queries, all of the samples in their order."""
        moments: list[InstanceData] = []
        durations = [s.duration for s in samples for _ in s.queries]
        for rows, found, extents in self.own_candidates(videos, queries, samples):
            moments += self.select(found, queries.meaning[rows], extents, durations[rows])
        return moments

    def own_candidates(
        self, videos: VideoEncoding, queries: QueryEncoding, samples: Sequence[MomentDataSample]
    ) -> Iterator[tuple[slice, MomentCandidates, Tensor]]:
        """All candidates of the queries in their own videos, of as many at once as memory allows.

        Yields:
            which of the queries, their candidates, and the seconds that the clip axis of each
            query's video covers.
        """
        device = videos.mask.device
        owner = own_pairs([len(s.queries) for s in samples], device)
        extents = [s.metainfo.get('extent', s.duration) for s in samples for _ in s.queries]
        for rows in chunk_pairs(len(owner), videos.mask.shape[1], self.max_pair_points):
            query = torch.arange(rows.start, rows.stop, device=device)
            found = self.localize(videos, queries, owner[rows], query)
            yield rows, found, torch.tensor(extents[rows], device=device)

    def rate(self, found: MomentCandidates, meaning: Tensor, extents: Tensor) -> Tensor:
        """The scores ``(R, M)`` of candidates, with what their lengths add; arguments as below."""
        scores = found.scores.float()
        if self.length_memory is None:
            return scores
        seconds = (found.spans[..., 1] - found.spans[..., 0]).float() * extents.to(scores)[:, None]
        return scores + self.length_memory(meaning, seconds)

    def select(
        self,
        found: MomentCandidates,
        meaning: Tensor,
        extents: Tensor,
        durations: Sequence[float],
    ) -> list[InstanceData]:
        """Calibrate and suppress: the moments of each of ``R`` pairs, best first, in seconds.

        Args:
            found: all candidates.
            meaning: ``(R, E)`` of the pairs' queries.
            extents: ``(R,)`` seconds that the clip axis of each pair's video covers.
            durations: ``R`` numbers of seconds, at which moments end at the latest.

        Returns:
            of each pair ``spans (K, 2)``, ``scores (K,)`` in [0, 1], ``joint (K,)``, whose
            probability they are (unless soft suppression has lowered them), on one scale for all
            pairs of a query, and ``terms (K, 5)``.
        """
        extent = extents.to(found.spans.device, torch.float32)
        limit = extent.new_tensor(durations)
        given, rated, mask = found.spans.float(), self.rate(found, meaning, extents), found.mask
        terms = found.terms.float()
        if self.prior is not None:
            given, rated, mask = self.prior(given, rated, mask, limit / extent)
            # Of a place that is no candidate only the video's likeness is known.
            known = terms[:, :1] * (torch.arange(terms.shape[-1], device=terms.device) == VIDEO)
            terms = torch.cat([terms, known.expand(-1, given.shape[1] - terms.shape[1], -1)], 1)
        if self.nms.of_probabilities:
            spans, scores, valid, index = self.nms(given, self.calibrator(rated), mask)
            joint = rated.gather(1, index)
        else:
            spans, joint, valid, index = self.nms(given, rated, mask)
            scores = self.calibrator(joint)
        terms = terms.gather(1, index[..., None].expand(-1, -1, terms.shape[-1]))
        spans = torch.minimum(spans * extent[:, None, None], limit[:, None, None])
        columns = (spans, scores, joint, terms, valid)
        return [
            InstanceData(spans=s[v], scores=p[v], joint=j[v], terms=t[v])
            for s, p, j, t, v in zip(*(column.cpu() for column in columns))
        ]
