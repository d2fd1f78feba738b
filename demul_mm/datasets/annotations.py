"""What an annotation file says about a video, before cleaning, and the cleaning itself."""

import sys
from collections import Counter
from dataclasses import dataclass, field

import numpy as np

from demul_mm.structures import is_length, is_unicode
from demul_mm.structures.spans import SECONDS

# Published durations are rounded to hundredths: an end this close after the duration is no fault.
ROUNDING = 1e-3


class AnnotationError(ValueError):
    """An annotation that cannot be used; the message names the file and the place in it."""


@dataclass
class RawQuery:
    """One sentence as its file has it.

    Attributes:
        query_id: unique in the data set.
        text: the sentence, not yet stripped.
        spans: moments in seconds, ``[[start, end], ...]``; empty where the truth is unknown.
        where: place in the file for messages, as ``line 7`` or ``video v_abc, sentence 2``.
    """

    query_id: str
    text: str
    spans: list[list[float]]
    where: str


@dataclass
class RawVideo:
    """One video as its file has it.

    Attributes:
        video_id: unique in the data set.
        duration: seconds.
        queries: its sentences.
        where: place in the file for messages.
        file: file name relative to ``data_prefix['video']``, or None where there is none.
        meta: further facts about the video, passed on to the items.
    """

    video_id: str
    duration: float
    queries: list[RawQuery]
    where: str
    file: str | None = None
    meta: dict = field(default_factory=dict)


class CleaningLog:
    """Counts what was dropped or clipped, with the first examples, for one log line."""

    max_examples = 3

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.examples: dict[str, list[str]] = {}
        self.videos = [0, 0]  # read, kept
        self.queries = [0, 0]

    def add(self, reason: str, example: str) -> None:
        """Count one more case of ``reason``."""
        self.counts[reason] += 1
        known = self.examples.setdefault(reason, [])
        if len(known) < self.max_examples:
            known.append(example)

    def line(self) -> str:
        """The whole cleaning in one line."""
        kept = (
            f'kept {self.videos[1]:,} of {self.videos[0]:,} videos and '
            f'{self.queries[1]:,} of {self.queries[0]:,} queries'
        )
        parts = []
        for reason, count in self.counts.items():
            dots = ', ...' if count > len(self.examples[reason]) else ''
            parts.append(f'{count:,} {reason} ({"; ".join(self.examples[reason])}{dots})')
        return '; '.join([kept, *parts])


class Cleaner:
    """Turns raw videos into data set items.

    A span past the end is clipped to ``[0, duration]``; a span that is then empty (start not
    before end) is dropped, and with it a query that has no other; a sentence without words is
    dropped. In ``strict`` mode each of these is an error instead: that is the mode for one's own
    data, where a fault can be mended at its source.

    Args:
        file: annotation file, for messages.
        strict: error instead of mending.
        keep_unlabelled: keep queries that came without any span, and videos that came without any
            query (test data).
    """

    def __init__(self, file: str, strict: bool = False, keep_unlabelled: bool = True) -> None:
        self.file = file
        self.strict = strict
        self.keep_unlabelled = keep_unlabelled
        self.log = CleaningLog()
        self._video_ids: set[str] = set()
        self._query_ids: set[str] = set()

    def clean(self, raw: RawVideo) -> dict | None:
        """An item of the data set, or None when nothing of the video is left.

        Raises:
            AnnotationError: a fault that is not mended.
        """
        self._check_video(raw)
        self.log.videos[0] += 1
        self.log.queries[0] += len(raw.queries)
        texts, ids, spans = [], [], []
        for query in raw.queries:
            if not isinstance(query.text, str):
                self.fail(query.where, f'the sentence is {query.text!r}', 'give a text')
            text = ' '.join(query.text.split())
            if not is_unicode(text):
                self.fail(query.where, f'the sentence is {text!r}', 'give valid Unicode')
            if not text:
                self._fault('empty sentences dropped', query.where, 'the sentence has no words')
                continue
            kept = self._clean_spans(query, raw.duration)
            if len(kept) == 0 and (query.spans or not self.keep_unlabelled):
                if not query.spans:
                    self.log.add('queries without a moment left out of training', query.where)
                continue
            if query.query_id in self._query_ids:
                self.fail(
                    query.where, f'query id {query.query_id!r} occurs twice', 'make it unique'
                )
            self._query_ids.add(query.query_id)
            texts.append(text)
            ids.append(query.query_id)
            spans.append(kept)
        if not texts and raw.queries:
            self.log.add('videos without a usable query dropped', raw.video_id)
            return None
        if not texts and not self.keep_unlabelled:
            self.log.add('videos without a query left out of training', raw.video_id)
            return None
        self.log.videos[1] += 1
        self.log.queries[1] += len(texts)
        return {
            'video_id': raw.video_id,
            'duration': float(raw.duration),
            'queries': texts,
            'query_ids': ids,
            'gt_spans': spans,
            'file': raw.file,
            'meta': raw.meta,
        }

    def fail(self, where: str, given: str, remedy: str) -> None:
        """Raise an ``AnnotationError`` in the common form."""
        raise AnnotationError(f'{self.file}: {where}: {given}; {remedy}')

    def _check_video(self, raw: RawVideo) -> None:
        if raw.video_id in self._video_ids:
            self.fail(raw.where, f'video {raw.video_id!r} occurs twice', 'put its queries together')
        self._video_ids.add(raw.video_id)
        if not is_length(raw.duration):
            self.fail(
                raw.where,
                f'video {raw.video_id!r} has duration {raw.duration!r}',
                f'give its length in seconds, more than 0 and no more than {SECONDS[1]:g}',
            )

    def _clean_spans(self, query: RawQuery, duration: float) -> np.ndarray:
        kept = []
        for span in query.spans:
            if len(span) != 2 or not all(_is_number(v) for v in span):
                self.fail(
                    query.where, f'span {span!r}', 'give [start, end], two numbers in seconds'
                )
            start, end = float(span[0]), float(span[1])
            shown = f'[{start:g}, {end:g}] of {duration:g} s'
            if end <= start:
                self._fault('spans dropped whose end is not after their start', query.where, shown)
                continue
            low, high = max(start, 0.0), min(end, duration)
            if end > duration + ROUNDING or start < -ROUNDING:
                self._fault('spans clipped to the video', query.where, shown)
            if high <= low:
                self._fault('spans dropped that lie outside the video', query.where, shown)
                continue
            kept.append((low, high))
        return np.asarray(kept, dtype=np.float64).reshape(-1, 2)

    def _fault(self, reason: str, where: str, shown: str) -> None:
        if self.strict:
            self.fail(
                where,
                f'{shown} (would be: {reason})',
                'spans must satisfy 0 <= start < end <= duration and sentences must have words; '
                'correct the file, or read it with strict=False to clip and drop such rows',
            )
        self.log.add(reason, f'{where}: {shown}')


def _is_number(value: object) -> bool:
    if not isinstance(value, int | float) or isinstance(value, bool):
        return False
    return abs(value) <= sys.float_info.max  # also false for NaN
