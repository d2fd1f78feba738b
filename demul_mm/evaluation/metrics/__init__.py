from demul_mm.evaluation.metrics.base import EntryMetric
from demul_mm.evaluation.metrics.corpus import CorpusMomentMetric
from demul_mm.evaluation.metrics.didemo import DiDeMoMetric
from demul_mm.evaluation.metrics.dump_predictions import DumpPredictions
from demul_mm.evaluation.metrics.moment_recall import MomentRecall
from demul_mm.evaluation.metrics.qvhighlights import QVHighlightsMetric

__all__ = [
    'CorpusMomentMetric',
    'DiDeMoMetric',
    'DumpPredictions',
    'EntryMetric',
    'MomentRecall',
    'QVHighlightsMetric',
]
