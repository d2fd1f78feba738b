"""What all steps of a pipeline have in common."""

import inspect

from mmcv.transforms import BaseTransform


class Step(BaseTransform):
    """A step whose repr shows the options that it keeps under their own names."""

    def __repr__(self) -> str:
        known = inspect.signature(type(self)).parameters
        options = ', '.join(f'{key}={value!r}' for key, value in vars(self).items() if key in known)
        return f'{type(self).__name__}({options})'
