"""Other systems made of the same parts; a config imports its own: ``projects.moment_detr``."""
