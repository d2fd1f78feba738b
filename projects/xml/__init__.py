"""XML and ReLoCLNet."""

from projects.moment_detr import WordProjection
from projects.xml.loop import ExhaustiveTestLoop
from projects.xml.model import XML

__all__ = ['XML', 'ExhaustiveTestLoop', 'WordProjection']
