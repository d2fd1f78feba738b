"""A config is formatted once, and as mmengine does."""

from mmengine.config import Config
from yapf.yapflib import yapf_api

from demul_mm.adapters import mmengine


def test_a_config_is_formatted_once(monkeypatch):
    asked = []

    def count(text, **options):
        asked.append(text)
        return yapf_api.FormatCode(text, **options)

    monkeypatch.setattr(mmengine, 'FormatCode', count)
    mmengine._formatted.cache_clear()
    config = Config(dict(model=dict(type='A', sizes=[1, 2]), other={'a b': 'x' * 90}))
    first = config.pretty_text
    assert first == config.pretty_text == Config(config.to_dict()).pretty_text
    assert len(asked) == 1
    config.model.sizes = [1, 3]
    assert config.pretty_text == first.replace('2', '3')
    assert len(asked) == 2
    mmengine._formatted.cache_clear()
