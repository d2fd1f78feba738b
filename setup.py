import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

MIM = ('configs', 'tools', 'model-index.yml')


class BuildWithConfigs(build_py):
    """Puts what OpenMMLab's mim looks for into the wheel, as ``demul_mm/.mim``."""

    def run(self) -> None:
        super().run()
        if self.editable_mode:
            return
        for name in MIM:
            source, target = Path(name), Path(self.build_lib, 'demul_mm', '.mim', name)
            if source.is_dir():
                ignore = shutil.ignore_patterns('__pycache__')
                shutil.copytree(source, target, ignore=ignore, dirs_exist_ok=True)
            else:
                shutil.copyfile(source, target)


setup(cmdclass=dict(build_py=BuildWithConfigs))
