from demul_mm.visualization.moment_visualizer import MomentVisualizer

__all__ = ['MomentVisualizer']
