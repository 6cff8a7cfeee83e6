"""The graph of a policy. In: inputs.sources(). Out: images uint8 (2B, P, P, 3) and labels uint8 (2B, P, P, 1).

Order as in mlseg_dist.augment.cpu.
"""

from nvidia.dali import Pipeline, fn, pipeline_def
from nvidia.dali.data_node import DataNode
from nvidia.dali.types import DALIDataType, DALIImageType

from mlseg_dist.augment.dali import pixels, warp
from mlseg_dist.augment.dali.inputs import ExternalSource, sources
from mlseg_dist.augment.dali.recipe import Recipe

_TYPES = {
    "bool": DALIDataType.BOOL,
    "uint8": DALIDataType.UINT8,
    "int32": DALIDataType.INT32,
    "float32": DALIDataType.FLOAT,
}


def build(recipe: Recipe, views: int, device_id: int | None, threads: int, ahead: int) -> Pipeline:
    """views: most in a batch, two a sample. ahead: batches that may be under way."""
    pipeline = define(recipe, views, device_id, threads, ahead)
    pipeline.build()
    return pipeline


def define(recipe: Recipe, views: int, device_id: int | None, threads: int, ahead: int) -> Pipeline:
    """As build(), but not built yet: a graph that can be looked at where there is no GPU."""
    made: Pipeline = _graph(
        recipe,
        device_id is not None,
        batch_size=views,
        num_threads=threads,
        device_id=device_id,
        prefetch_queue_depth=ahead,
        exec_dynamic=True,  # gives memory back as soon as an image has been used
    )
    return made


@pipeline_def(enable_conditionals=True)
def _graph(recipe: Recipe, gpu: bool) -> tuple[DataNode, DataNode]:
    fed = {name: _source(name, source, gpu) for name, source in sources(recipe).items()}
    image = fn.decoders.image(fed["jpeg"], device="mixed" if gpu else "cpu", output_type=DALIImageType.RGB)
    image, label = _warped(image, fed, recipe, gpu)
    return _finished(_recoloured(image, fed, recipe), fed, recipe), label


def _source(name: str, source: ExternalSource, gpu: bool) -> DataNode:
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
    if recipe.stains:
        matrices = [fed[f"stains_{number}"] for number, _ in enumerate(recipe.stain_groups)]
        image = pixels.shift_stains(image, matrices, recipe.stain_groups, recipe.patch_px)
    if "colour" in fed:
        image = pixels.recolour(image, fed["colour"])
    if "gamma" in fed:
        image = pixels.gamma(image, fed["gamma"], fed["gamma_scale"])
    if recipe.clahes:
        image = pixels.clahe(image, fed["clahe_drawn"], fed["clahe"], fed.get("clahe_low"), recipe.clahes)
    return image


def _finished(image: DataNode, fed: dict[str, DataNode], recipe: Recipe) -> DataNode:
    if recipe.has_gaussian:
        image = fn.gaussian_blur(image, sigma=fed["sigma"], window_size=fed["window"])
    if "kernel" in fed:
        image = fn.filter(image, fed["kernel"])
    if "gaussian_noise" in fed:
        image = pixels.add_noise(image, fed["gaussian_noise"], fed["gaussian_noise_matrix"])
    if "random_noise" in fed:
        image = pixels.add_shot_noise(image, fed["random_noise"], fed["random_noise_matrix"], recipe.patch_px)
    return image
