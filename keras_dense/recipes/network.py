"""The network of a recipe: heads, builder, optimizer. Plain compositions of public parts."""

from typing import Any

import keras

import keras_dense.decoders as decoders
import keras_dense.losses as losses
import keras_dense.models as models
import keras_dense.training as training
import keras_dense.weights as published
from keras_dense.backbones import backbone as make_backbone
from keras_dense.heads import Depth, Instances, Normals, Segmentation, objectives
from keras_dense.recipes.recipe import Recipe, tells_apart


def heads_of(recipe: Recipe, depth_range: tuple[float, float] | None = None) -> Any:
    """Return a head, or a dict of heads, of what the data has.

    Args:
        recipe: a recipe.
        depth_range: smallest and largest depth in meters.
    """
    heads: dict[str, Any] = {}
    data = recipe["data"]
    if "masks" in data:
        read = data["read"]
        if tells_apart(recipe):
            heads["instances"] = Instances(loss=loss_of(recipe))
        else:
            heads["segmentation"] = Segmentation(
                len(read["class_names"]),
                class_names=read["class_names"],
                palette=read["palette"],
                loss=loss_of(recipe),
            )
    if "depth" in data:
        low, high = depth_range or (0.1, 10.0)
        heads["depth"] = Depth(
            max_depth=high, min_depth=min(low, high / 100), activation="log_sigmoid"
        )
    if "normals" in data:
        heads["normals"] = Normals()
    return heads if len(heads) > 1 else next(iter(heads.values()))


def loss_of(recipe: Recipe) -> keras.losses.Loss:
    """Return the loss of labels or objects: a weighted sum of losses of `kd.losses` by name."""
    weights = recipe.value("class_weights")
    extra = {} if weights is None else {"class_weight": weights}
    found, shares = [], []
    for name, share in recipe.value("losses"):
        kind = "".join(word.capitalize() for word in name.split("_"))
        if kind not in losses.__all__:
            raise ValueError(
                f"`losses` must be names such as 'cross_entropy' or 'dice'. Received: {name!r}"
            )
        found.append(getattr(losses, kind)(**extra))
        shares.append(float(share))
    return found[0] if shares == [1.0] else losses.Sum(found, shares)


def build(recipe: Recipe, heads: Any) -> keras.Model:
    """Build the network with its starting weights."""
    keras.utils.set_random_seed(recipe.value("seed"))
    weights = recipe.value("weights")
    if recipe.value("network") is None:
        file = recipe["choices"].get("weights_file", {}).get("value")
        model = published.pretrained(weights, file, heads=heads, strict=False)
    else:
        backbone = make_backbone(
            recipe.value("backbone"), weights=weights, **recipe.value("backbone_arguments")
        )
        name = recipe.value("network")
        arguments = {
            key: tuple(value) if isinstance(value, list) else value
            for key, value in recipe.value("network_arguments").items()
        }
        if name in models.__all__:
            model = getattr(models, name)(backbone, heads=heads, weights=None, **arguments)
        else:
            decoder = getattr(decoders, name)(**arguments)
            model = models.assemble(backbone, decoder, heads, name=name)
    momentum = recipe.value("batch_norm")["momentum"]
    if momentum is not None:
        training.batch_norm_momentum(model, momentum)
    return model


def compile_for(recipe: Recipe, model: keras.Model, steps: int) -> None:
    """Compile a network for so many steps."""
    plain = keras.optimizers.AdamW(
        schedule_of(recipe, steps), weight_decay=recipe.value("weight_decay")
    )
    plain.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
    share = recipe.value("backbone_rate")
    slow = {
        id(variable)
        for layer in model.layers
        if layer.name.startswith("backbone")
        for variable in layer.trainable_variables
    }
    optimizer = training.layerwise(model, plain, lambda v: share if id(v) in slow else 1.0)
    model.compile(optimizer, **{**objectives(model), "metrics": None})


def schedule_of(recipe: Recipe, steps: int) -> Any:
    """Return the learning rate over the steps."""
    chosen, rate = recipe.value("schedule"), recipe.value("learning_rate")
    warmup = round(chosen.get("warmup", 0.0) * steps)
    schedules = keras.optimizers.schedules
    if chosen["kind"] == "cosine":
        extra = {"warmup_target": rate, "warmup_steps": warmup} if warmup else {}
        return schedules.CosineDecay(rate / 10 if warmup else rate, steps - warmup, **extra)
    if chosen["kind"] == "polynomial":
        return schedules.PolynomialDecay(rate, steps, 0.0, power=chosen["power"])
    if chosen["kind"] == "constant":
        return rate
    raise ValueError(
        f"`schedule` must be 'polynomial', 'cosine' or 'constant'. Received: {chosen['kind']!r}"
    )
