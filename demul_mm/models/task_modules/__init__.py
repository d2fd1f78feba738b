"""Further parts: geometry of the pyramid, assignment, calibration, memories, tokenizers."""

from demul_mm.models.task_modules.assigner import ScaleAssigner
from demul_mm.models.task_modules.calibrator import ScoreCalibrator
from demul_mm.models.task_modules.length_memory import LengthMemory
from demul_mm.models.task_modules.moment_prior import MomentPrior
from demul_mm.models.task_modules.points import PointGenerator, PyramidPoints
from demul_mm.models.task_modules.semantic_memory import SemanticMemory
from demul_mm.models.task_modules.tokenizer import TransformersTokenizer
from demul_mm.models.task_modules.word_tokenizer import WordTokenizer
from demul_mm.structures.expected_recall import ExpectedRecall
from demul_mm.structures.nms import MomentNMS, SoftNMS

__all__ = [
    'ExpectedRecall',
    'LengthMemory',
    'MomentNMS',
    'MomentPrior',
    'PointGenerator',
    'PyramidPoints',
    'ScaleAssigner',
    'ScoreCalibrator',
    'SemanticMemory',
    'SoftNMS',
    'TransformersTokenizer',
    'WordTokenizer',
]
