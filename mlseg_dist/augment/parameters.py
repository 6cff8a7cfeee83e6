"""What was drawn for one sample: one field an op, None where the op was not drawn. Plain numbers, so that any executor,
on a CPU or a GPU, in this process or another, does the same. All lengths are in µm: both views get the same draw.
"""

from dataclasses import dataclass, fields

XY = tuple[float, float]
Triple = tuple[float, float, float]


@dataclass(frozen=True)
class Elastic:
    """Cubic B-spline over control points `cell_um` apart, each moved at random; `sigma_um`: rms displacement per axis, µm."""

    cell_um: float
    sigma_um: float
    seed: int


@dataclass(frozen=True)
class GridDistortion:
    """Lines of a grid `cell_um` apart, each moved by up to `reach_um` along its axis; linear in between."""

    cell_um: float
    reach_um: float
    seed: int


@dataclass(frozen=True)
class OpticalDistortion:
    """Radial: a point at distance r (µm) from the centre is taken from r (1 + k (r / radius_um)²)."""

    k: float
    radius_um: float


@dataclass(frozen=True)
class GlassBlur:
    """Every pixel is taken from up to `radius_um` beside it, then smoothed with a Gaussian of `sigma_um`."""

    radius_um: float
    sigma_um: float
    seed: int


@dataclass(frozen=True)
class MotionBlur:
    """Mean over a line of `length_um` at `angle` radians."""

    length_um: float
    angle: float


@dataclass(frozen=True)
class Emboss:
    """Adds strength x (the pixel `step_um` ahead − the pixel `step_um` behind), along `angle` radians."""

    strength: float
    step_um: float
    angle: float


@dataclass(frozen=True)
class Noise:
    """sigma: standard deviation in grey levels of 255 (of random noise: at white)."""

    sigma: float
    seed: int


@dataclass(frozen=True)
class Clahe:
    """Clip limit, and side of the tiles in µm."""

    clip: float
    tile_um: float


@dataclass(frozen=True)
class Contrast:
    """v -> pivot + factor (v − pivot), grey levels."""

    factor: float
    pivot: float


@dataclass(frozen=True)
class Jitter:
    """brightness, contrast, saturation: factors; hue: turn of the chroma plane as a part of the circle; gain: of R, G, B."""

    brightness: float
    contrast: Contrast
    saturation: float
    hue: float
    gain: Triple = (1.0, 1.0, 1.0)


@dataclass(frozen=True)
class StainShift:
    """One hue window, degrees [from, to] (from > to: across 0), and what is added there to S and V of 0 to 255.

    full: S from which a pixel counts as stained; none: S up to which it counts as unstained; linear in between.
    soft: degrees over which the window's edge falls off, outside of it.
    dark: V up to which a pixel counts as stained, and from which as unstained; linear in between. None: V does not matter.
    """

    hue: XY
    soft: float
    none: float
    full: float
    saturation: float
    value: float
    dark: XY | None = None


@dataclass(frozen=True)
class Albumentation:
    """A transform of albumentations, by class name. params: what its class is given, JSON. seed: of all that it draws."""

    transform: str
    params: str
    seed: int


@dataclass(frozen=True)
class Parameters:
    """flip: along x, y. crop: share of the stored margin, x, y. rotate: radians. rescale: > 1 magnifies. shear: tangents
    of x by y and y by x. shift: µm along the patch's axes. xy_jitter: µm along the slide's axes. gaussian_blur: sigma, µm.
    pca: added to R, G, B, grey levels. gan_style: in [0, 1), says which of a shard's styled views are read.
    albumentations: in the policy's order.
    """

    rotate: float | None = None
    flip: tuple[bool, bool] | None = None
    crop: XY | None = None
    rescale: float | None = None
    shift: XY | None = None
    shear: XY | None = None
    xy_jitter: XY | None = None
    elastic: Elastic | None = None
    grid_distortion: GridDistortion | None = None
    optical_distortion: OpticalDistortion | None = None
    gaussian_blur: float | None = None
    glass_blur: GlassBlur | None = None
    motion_blur: MotionBlur | None = None
    emboss: Emboss | None = None
    gaussian_noise: Noise | None = None
    random_noise: Noise | None = None
    brightness: float | None = None
    contrast: Contrast | None = None
    gamma: float | None = None
    clahe: Clahe | None = None
    pca: Triple | None = None
    colour_jitter: Jitter | None = None
    heavy_colour: Jitter | None = None
    targeted_hsv: tuple[StainShift, ...] | None = None
    gan_style: float | None = None
    albumentations: tuple[Albumentation, ...] | None = None


OPS = tuple(field.name for field in fields(Parameters) if field.name not in ("gan_style", "albumentations"))
"""Names of our own ops, which every executor does. gan_style is done when the sample is read, albumentations on a CPU only."""
