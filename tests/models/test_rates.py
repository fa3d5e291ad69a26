"""How fast each parameter learns, worked by hand for two layers."""

import dataclasses

import flax.linen as nn
import jax
import pytest

from xling_jax.models.build import Model, build_config, head_spec, init_params
from xling_jax.models.rates import relative_rates
from xling_jax.optim import Lora, Optim
from xling_jax.tables.models import MODELS
from xling_jax.tables.tasks import TASKS

HEAD = head_spec(TASKS["world_nli"])


def rates(norm: str = "post", **optim) -> dict[str, tuple[float, ...]]:
    declared = Optim(**optim)
    config = dataclasses.replace(build_config(MODELS["tiny"], 40), norm=norm, lora=declared.lora)
    shapes = jax.eval_shape(lambda: nn.meta.unbox(init_params(Model(config, (HEAD,)), jax.random.key(0))))
    return relative_rates(shapes, config, declared)


def test_without_options_all_is_trained_at_one_rate():
    found = rates()
    assert {path: set(each) for path, each in found.items()} == {path: {1.0} for path in found}
    assert len(found["body/layers/query/kernel"]) == 2 and len(found["body/word/embedding"]) == 1


@pytest.mark.parametrize(
    ("norm", "of_norm", "optim", "word", "layers"),
    [
        ("post", 1.0, {"freeze_embeddings": True}, 0.0, (1.0, 1.0)),
        ("post", 0.0, {"freeze_layers": 1}, 0.0, (0.0, 1.0)),
        ("pre", 1.0, {"freeze_layers": 1}, 0.0, (0.0, 1.0)),
        ("post", 0.0, {"freeze_layers": 2}, 0.0, (0.0, 0.0)),
        ("pre", 1.0, {"freeze_layers": 2}, 0.0, (0.0, 0.0)),
        ("post", 0.125, {"layer_decay": 0.5}, 0.125, (0.25, 0.5)),
        ("pre", 1.0, {"layer_decay": 0.5}, 0.125, (0.25, 0.5)),
        ("post", 0.0, {"layer_decay": 0.5, "freeze_layers": 1}, 0.0, (0.0, 0.5)),
        ("post", 0.0, {"lora": Lora(2)}, 0.0, (0.0, 0.0)),
    ],
)
def test_by_hand(norm, of_norm, optim, word, layers):
    found = rates(norm, **optim)
    assert found["body/norm/scale"] == found["body/norm/bias"] == (of_norm,)
    assert found["body/word/embedding"] == found["body/position/embedding"] == (word,)
    for name in ("query/kernel", "mlp_out/bias", "attention_norm/scale"):
        assert found[f"body/layers/{name}"] == layers, name
    assert found["head_world_nli/output/kernel"] == (1.0,)


def test_adapters_are_trained_where_their_layer_is():
    found = rates(lora=Lora(2, targets=("query",)), freeze_layers=1, layer_decay=0.5)
    assert found["body/layers/query/lora_a"] == found["body/layers/query/lora_b"] == (0.0, 0.5)
    assert found["body/layers/query/lora_scale"] == found["body/layers/query/kernel"] == (0.0, 0.0)
    assert "body/layers/key/lora_a" not in found
