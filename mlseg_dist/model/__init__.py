"""The base U-Net and the two-resolution m-UNet (SPEC §2), from the same parts."""

from mlseg_dist.model.build import build_model, channels_last, output_head, view_of
from mlseg_dist.model.munet import MUNet
from mlseg_dist.model.unet import UNet

__all__ = ["MUNet", "UNet", "build_model", "channels_last", "output_head", "view_of"]
