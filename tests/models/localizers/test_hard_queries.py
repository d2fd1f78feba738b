"""False variants of queries reach the loss."""

import torch

from tests.models.tiny import losses_of, tiny_data, tiny_model


def test_a_false_variant_makes_the_contrast_harder_and_leaves_the_rest() -> None:
    model = tiny_model()
    data = tiny_data()
    plain = losses_of(model, data)
    for sample in data['data_samples']:
        sample.hard_queries = [''] * len(sample.queries)
    same = losses_of(model, data)
    data['data_samples'][0].hard_queries = ['a blue disc enters from the left', '']
    harder = losses_of(model, data)
    for name, value in plain.items():
        torch.testing.assert_close(same[name], value)
        if name == 'loss_query':
            assert harder[name] > value + 1e-3
        else:
            torch.testing.assert_close(harder[name], value)


def test_a_false_variant_teaches_the_language_side() -> None:
    model = tiny_model().train()
    data = tiny_data((8,), (1,))
    data['data_samples'][0].hard_queries = ['the square leaves']
    losses = losses_of(model, data)
    losses['loss_query'].backward()
    assert model.language.project[1].weight.grad.abs().max() > 0
