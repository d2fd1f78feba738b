"""Data preprocessors."""

from demul_mm.models.data_preprocessors.moment import MomentDataPreprocessor

__all__ = ['MomentDataPreprocessor']
