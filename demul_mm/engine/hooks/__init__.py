"""Hooks of the Runner."""

from demul_mm.engine.hooks.atomic_checkpoint import AtomicCheckpointHook
from demul_mm.engine.hooks.calibration import CalibrationHook
from demul_mm.engine.hooks.deferred_info import DeferredInfoHook
from demul_mm.engine.hooks.epoch_seed import EpochSeedHook
from demul_mm.engine.hooks.hard_video_mining import HardVideoMiningHook
from demul_mm.engine.hooks.length_memory import LengthMemoryHook
from demul_mm.engine.hooks.main_logger import MainLoggerHook
from demul_mm.engine.hooks.moment_prior import MomentPriorHook
from demul_mm.engine.hooks.planned_schedule import PlannedScheduleHook
from demul_mm.engine.hooks.process_cost import ProcessCostHook
from demul_mm.engine.hooks.refit import RefitHook
from demul_mm.engine.hooks.sentences import (
    ReadAheadHook,
    SentenceEncoderHook,
    SentenceLengthHook,
)
from demul_mm.engine.hooks.shared_means import SharedMeansHook
from demul_mm.engine.hooks.two_stage import TwoStageHook
from demul_mm.engine.hooks.video_weight import VideoWeightHook

__all__ = [
    'AtomicCheckpointHook',
    'CalibrationHook',
    'DeferredInfoHook',
    'EpochSeedHook',
    'HardVideoMiningHook',
    'LengthMemoryHook',
    'MainLoggerHook',
    'MomentPriorHook',
    'PlannedScheduleHook',
    'ProcessCostHook',
    'ReadAheadHook',
    'RefitHook',
    'SentenceEncoderHook',
    'SentenceLengthHook',
    'SharedMeansHook',
    'TwoStageHook',
    'VideoWeightHook',
]
