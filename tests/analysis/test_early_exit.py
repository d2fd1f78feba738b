"""The curve's ends are known, and measuring changes nothing."""

import pytest

from demul_mm.analysis.early_exit import counted_stages, exit_curve
from demul_mm.evaluation.metrics import MomentRecall
from demul_mm.models.localizers import DeMUL
from demul_mm.visualization.charts import figure_image
from demul_mm.visualization.curves import draw_exit_curve
from tests.analysis.splits import split
from tests.models.tiny import predictions_of, tiny_model


def test_the_ends_of_the_curve(trained: DeMUL):
    points = exit_curve(trained, split(), thresholds=(0.0, 0.5, 1.1), repeats=1)
    assert [point.threshold for point in points] == [0.0, 0.5, 1.1, None]
    first, middle, above, never = points
    assert first.stages == 1  # every probability is at least 0
    assert above.stages == never.stages == 3  # and none is above 1
    assert 1 <= middle.stages <= 3
    assert above.recall == never.recall
    assert never.time == 1
    assert all(point.seconds > 0 for point in points)
    assert trained.neck.early_exit is None


def test_recall_is_that_of_the_models_own_predictions(trained: DeMUL):
    (point,) = exit_curve(trained, split(), thresholds=(), repeats=1)
    metric = MomentRecall(topk=(1,), ious=(0.5, 0.7), floors=False)
    for batch in split():
        metric.process(None, [s.to_dict() for s in predictions_of(trained, batch)])
    expected = metric.compute_metrics(
        [dict(result, sample_idx=i) for i, result in enumerate(metric.results)]
    )
    assert point.recall == pytest.approx(expected)


def test_stages_are_counted_by_pair(trained: DeMUL):
    with counted_stages(trained.neck) as counts:
        for batch in split():
            predictions_of(trained, batch)
    assert counts == [5, 5, 5]
    for batch in split():
        predictions_of(trained, batch)
    assert counts == [5, 5, 5]  # no longer


@pytest.mark.parametrize('neck', [None, dict(stages=('words',))])
def test_a_model_of_one_stage_has_no_early_exit(neck: dict | None):
    with pytest.raises(ValueError, match='two stages or more'):
        exit_curve(tiny_model(neck=neck), split())


def test_the_picture_is_drawn(trained: DeMUL):
    points = exit_curve(trained, split(), thresholds=(0.0, 0.5), repeats=1)
    image = figure_image(draw_exit_curve(points, 'x'))
    assert (image != 255).any()
