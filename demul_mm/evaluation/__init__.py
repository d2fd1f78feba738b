from demul_mm.evaluation import metrics
from demul_mm.evaluation.predictions import load_predictions, save_predictions

__all__ = ['load_predictions', 'metrics', 'save_predictions']
