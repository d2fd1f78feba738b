"""The visualizer: predicted and true moments of one video on a time line."""

from pathlib import Path

from mmengine.dist import master_only
from mmengine.visualization import Visualizer

from demul_mm.models.heads.joint_score import TERMS
from demul_mm.registry import VISUALIZERS
from demul_mm.structures import MomentDataSample
from demul_mm.video.frames import even_times, read_key_frames
from demul_mm.visualization.charts import TimelineRow, draw_timeline, figure_image, save_figure
from demul_mm.visualization.phrases import PhraseRows


@VISUALIZERS.register_module()
class MomentVisualizer(Visualizer):
    """Draws data samples: a row for each query, with key frames where the video is at hand.

    Where the sample says which words speak for which clips (``pred_phrases``), that is drawn under
    the query's row.

    Args:
        name: what the instance is called.
        vis_backends: configs of the backends that keep the pictures.
        save_dir: where the backends write.
        num_frames: key frames over the time line.
        max_predictions: predictions drawn for each query.
        max_queries: queries drawn for each video.
    """

    def __init__(
        self,
        name: str = 'visualizer',
        vis_backends: list[dict] | None = None,
        save_dir: str | None = None,
        num_frames: int = 10,
        max_predictions: int = 3,
        max_queries: int = 8,
    ) -> None:
        super().__init__(name=name, vis_backends=vis_backends, save_dir=save_dir)
        self.num_frames = num_frames
        self.max_predictions = max_predictions
        self.max_queries = max_queries

    @master_only
    def add_datasample(
        self,
        name: str,
        data_sample: MomentDataSample,
        video_path: str | Path | None = None,
        draw_gt: bool = True,
        draw_pred: bool = True,
        show: bool = False,
        wait_time: float = 0,
        out_file: str | Path | None = None,
        step: int = 0,
    ) -> None:
        """Draw one video with its queries.

        Args:
            data_sample: with ``gt_spans``, ``pred_moments`` or both.
            video_path: video file for key frames; None: none are drawn.
            show: open a window.
            wait_time: seconds that it stays open; 0: until a key is pressed.
            out_file: write the picture (PNG) here instead of handing it to the backends.
        """
        num_queries = min(len(data_sample.queries), self.max_queries)
        rows = [_row(data_sample, q, draw_gt, draw_pred) for q in range(num_queries)]
        duration = data_sample.duration
        frames = (
            read_key_frames(video_path, even_times(duration, self.num_frames))
            if video_path is not None
            else []
        )
        title = f'{data_sample.video_id}   {duration:.1f} s'
        figure = draw_timeline(title, duration, rows, frames, TERMS, self.max_predictions)
        if out_file is not None:
            save_figure(figure, out_file)
            return
        image = figure_image(figure)
        self.set_image(image)
        if show:
            self.show(image, win_name=name, wait_time=wait_time)
        self.add_image(name, image, step)


def _row(sample: MomentDataSample, query: int, draw_gt: bool, draw_pred: bool) -> TimelineRow:
    truth = sample.gt_spans[query].tolist() if draw_gt and 'gt_spans' in sample else []
    if not draw_pred or 'pred_moments' not in sample:
        return TimelineRow(sample.queries[query], truth, None)
    moments = sample.pred_moments[query]
    order = moments.scores.argsort(descending=True, stable=True).tolist()
    spans, scores = moments.spans.tolist(), moments.scores.tolist()
    predicted = [[*spans[i], scores[i]] for i in order]
    terms = moments.terms[order[0]].tolist() if 'terms' in moments and order else []
    phrases = None
    found = sample.pred_phrases[query] if 'pred_phrases' in sample else None
    if found is not None and found.texts:
        extent = sample.metainfo.get('extent', sample.duration)
        best = moments.spans[order[:1]] / extent
        weights = found.within(best).flatten().tolist()
        phrases = PhraseRows(found.texts, found.clips.numpy(), weights, extent).strongest()
    return TimelineRow(sample.queries[query], truth, predicted, terms, phrases)
