"""Where the cells of a map lie: (stride, origin), computed from layers.

Coordinates are continuous px of a view: pixel p covers p … p + 1, its centre is p + 1/2. Cell i of a map is centred,
by its receptive field, on origin + stride * i.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace

from monai.networks.nets.efficientnet import MBConvBlock
from torch import nn


@dataclass(frozen=True)
class Grid:
    """stride, origin: px of the view. coarsest: the largest stride on the way here, px."""

    stride: float = 1.0
    origin: float = 0.5
    coarsest: float = 1.0

    def convolved(self, kernel: int, stride: int, padding: int, dilation: int = 1) -> "Grid":
        """After a convolution or pooling; padding: on the left and top."""
        shift = (kernel - 1) * dilation / 2 - padding
        finer = replace(self, stride=self.stride * stride, origin=self.origin + self.stride * shift)
        return replace(finer, coarsest=max(self.coarsest, finer.stride))

    def upsampled(self, factor: int) -> "Grid":
        """After `blocks.upsample`: cell i becomes cell factor * i; the others lie between."""
        return replace(self, stride=self.stride / factor)

    def resampled(self, factor: int) -> "Grid":
        """After interpolation with align_corners=False: a cell becomes factor cells, centred where it was."""
        return replace(self, stride=self.stride / factor, origin=self.origin - self.stride * (1 - 1 / factor) / 2)

    def cropped(self, cells: int) -> "Grid":
        """Without the first `cells`."""
        return replace(self, origin=self.origin + self.stride * cells)

    def from_centre(self, side: int, scale: float) -> "Grid":
        """Relative to the centre of a view of `side` px, in units of 1 / scale px: scale = µm/px gives µm."""
        return Grid(self.stride * scale, (self.origin - side / 2) * scale, self.coarsest * scale)


@dataclass(frozen=True)
class Meeting:
    """Where paths are concatenated or added. grids: path -> Grid from the centre of the field, high px."""

    where: str
    grids: dict[str, Grid]

    @property
    def apart(self) -> float:
        """Largest distance between cells of one index, high px."""
        origins = [grid.origin for grid in self.grids.values()]
        return max(origins) - min(origins)

    @property
    def tolerance(self) -> float:
        """Half a cell of the coarsest stride on a path here, high px."""
        return max(grid.coarsest for grid in self.grids.values()) / 2

    @property
    def holds(self) -> bool:
        """One stride, and no more than the tolerance apart."""
        return len({grid.stride for grid in self.grids.values()}) == 1 and self.apart <= self.tolerance


def after(layers: nn.Module | Iterable[nn.Module], grid: Grid) -> Grid:
    """The grid behind convolutions, paddings, poolings and what keeps cells where they are, in their order."""
    if isinstance(layers, nn.Conv2d):
        if isinstance(layers.padding, str):
            raise TypeError("a convolution with named padding has no grid")
        kernel, stride, dilation = layers.kernel_size[0], layers.stride[0], layers.dilation[0]
        return grid.convolved(kernel, stride, layers.padding[0], dilation)
    if isinstance(layers, nn.ConstantPad2d):
        return grid.cropped(-layers.padding[0])
    if isinstance(layers, MBConvBlock):
        names = ("expand_conv_padding", "expand_conv", "depthwise_conv_padding", "depthwise_conv")
        return after([getattr(layers, f"_{name}") for name in names], grid)
    if isinstance(layers, (nn.BatchNorm2d, nn.SiLU, nn.ReLU, nn.Identity)):
        return grid
    if isinstance(layers, nn.Module) and not isinstance(layers, (nn.Sequential, nn.ModuleList)):
        raise TypeError(f"{type(layers).__name__} has no known grid")
    for layer in layers:
        grid = after(layer, grid)
    return grid
