"""Pre-training of a small video backbone on the sentences of a moment retrieval data set."""

from demul_mm.pretraining.sentences import Vocabulary
from demul_mm.pretraining.split import SentenceSplit
from demul_mm.pretraining.training import Schedule, Trainer, pretrain

__all__ = ['Schedule', 'SentenceSplit', 'Trainer', 'Vocabulary', 'pretrain']
