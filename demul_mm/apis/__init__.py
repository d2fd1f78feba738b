"""Using a trained model: in given videos, and in a corpus."""

from demul_mm.apis.corpus_inferencer import CorpusInferencer
from demul_mm.apis.extractor import FeatureExtractor
from demul_mm.apis.loading import LoadedModel, load_model, model_fingerprint
from demul_mm.apis.model_zoo import list_models
from demul_mm.apis.moment_inferencer import MomentInferencer

__all__ = [
    'CorpusInferencer',
    'FeatureExtractor',
    'LoadedModel',
    'MomentInferencer',
    'list_models',
    'load_model',
    'model_fingerprint',
]
