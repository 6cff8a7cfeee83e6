"""The graph of a policy. In: inputs.sources(). Out: images uint8 (2B, P, P, 3) and labels uint8 (2B, P, P, 1).

Order as in mlseg_dist.augment.cpu.
"""

from nvidia.dali import Pipeline, fn
from nvidia.dali.data_node import DataNode
from nvidia.dali.types import DALIDataType, DALIImageType

from mlseg_dist.augment.dali import pixels, warp
from mlseg_dist.augment.dali.inputs import Source, sources
from mlseg_dist.augment.dali.recipe import Recipe

_TYPES = {"uint8": DALIDataType.UINT8, "int32": DALIDataType.INT32, "float32": DALIDataType.FLOAT}


def build(recipe: Recipe, views: int, device_id: int | None, threads: int, ahead: int) -> Pipeline:
    """views: most in a batch, two a sample. ahead: batches that may be under way."""
    pipeline = Pipeline(
        batch_size=views,
        num_threads=threads,
        device_id=device_id,
        prefetch_queue_depth=ahead,
        exec_dynamic=True,  # gives memory back as soon as an image has been used
    )
    gpu = device_id is not None
    with pipeline:
        fed = {name: _source(name, source, gpu) for name, source in sources(recipe).items()}
        image = fn.decoders.image(fed["jpeg"], device="mixed" if gpu else "cpu", output_type=DALIImageType.RGB)
        image, label = _warped(image, fed, recipe, gpu)
        pipeline.set_outputs(_finished(_recoloured(image, fed, recipe), fed, recipe), label)
    pipeline.build()
    return pipeline


def _source(name: str, source: Source, gpu: bool) -> DataNode:
    on_device = gpu and source.place in ("normals", "uniforms")
    node = fn.external_source(
        name=name,
        dtype=_TYPES[source.dtype],
        ndim=source.ndim,
        layout=source.layout,
        device="gpu" if on_device else "cpu",
    )
    return node.gpu() if gpu and source.place == "device" else node


def _warped(image: DataNode, fed: dict[str, DataNode], recipe: Recipe, gpu: bool) -> tuple[DataNode, DataNode]:
    shape, size = fed["box_shape"], recipe.patch_px
    image, label = warp.box(image, fed["label"], fed["box_start"], shape)
    if not recipe.has_field:
        return warp.affine(image, label, fed["affine"], size)
    places = warp.places(fed["field"], size)
    behind_glass = places + fed["glass"] * fed["glass_px"] if "glass" in fed else places
    return (
        warp.remap(image, behind_glass, shape, size, nearest=False, gpu=gpu),
        warp.remap(label, places, shape, size, nearest=True, gpu=gpu),
    )


def _recoloured(image: DataNode, fed: dict[str, DataNode], recipe: Recipe) -> DataNode:
    if "stains" in fed:
        image = pixels.shift_stains(image, fed["stains"], recipe.stains)
    if "colour" in fed:
        image = pixels.recolour(image, fed["colour"])
    if "gamma" in fed:
        image = pixels.gamma(image, fed["gamma"])
    if "clahe" in fed:
        image = pixels.clahe(image, fed["clahe"], recipe.clahes)
    return image


def _finished(image: DataNode, fed: dict[str, DataNode], recipe: Recipe) -> DataNode:
    if recipe.has_gaussian:
        image = fn.gaussian_blur(image, sigma=fed["sigma"], window_size=fed["window"])
    if "kernel" in fed:
        image = fn.filter(image, fed["kernel"])
    if "gaussian_noise" in fed:
        image = pixels.add_noise(image, fed["gaussian_noise"], fed["gaussian_noise_scale"])
    if "random_noise" in fed:
        image = pixels.add_shot_noise(image, fed["random_noise"], fed["random_noise_scale"])
    return image
