"""The base U-Net and the two-resolution m-UNet (figure 10) from the same parts, and the networks they are compared with.

grid: where cells lie. blocks, encoder, decoder, merge: the parts. unet, munet, hooknet, deeplab: the networks.
"""

from mlseg_dist.model.build import Network, answering_view, build_model, channels_last, fold_norms, output_head, view_of

__all__ = ["Network", "answering_view", "build_model", "channels_last", "fold_norms", "output_head", "view_of"]
