"""What a generator is trained by: non-saturating loss with R1, SSIM of luminance (eq. 2), agreement of the two views."""

import torch
import torch.nn.functional as F
from monai.losses.ssim_loss import SSIMLoss

_LUMINANCE = (0.299, 0.587, 0.114)
_ssim = SSIMLoss(spatial_dims=2, data_range=1.0, win_size=11, kernel_type="gaussian", reduction="none")


def luminance(image: torch.Tensor) -> torch.Tensor:
    """(B, 3, H, W) in [-1, 1] -> float32 (B, 1, H, W) in [0, 1], Rec. 601."""
    weights = torch.tensor(_LUMINANCE).to(image.device, non_blocking=True)[:, None, None]
    return (((image.float() + 1) / 2) * weights).sum(1, keepdim=True)


def ssim(one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    """Mean SSIM of luminance, (B,); 11 px Gaussian window, C1 = .01², C2 = .03². Colour may change, structure may not."""
    return 1 - _ssim(luminance(one), luminance(other)).flatten(1).mean(1)


def generator_loss(logits: torch.Tensor) -> torch.Tensor:
    """Non-saturating (Goodfellow 2014)."""
    return F.softplus(-logits).mean()


def discriminator_loss(real: torch.Tensor, made: torch.Tensor) -> torch.Tensor:
    return F.softplus(-real).mean() + F.softplus(made).mean()


def r1(real: torch.Tensor, logits: torch.Tensor) -> torch.Tensor:
    """½ |gradient of the logits of real patches|² (Mescheder 2018), mean over samples. real must require a gradient."""
    (gradient,) = torch.autograd.grad(logits.mean((1, 2)).sum(), real, create_graph=True)
    return gradient.square().sum((1, 2, 3)).mean() / 2


def sameness(one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    """What two latents' answers to the same patches, (B, 3, H, W), are short of 10 grey levels in mean colour: 1 equal, 0 none.

    Diversity-sensitive (Yang 2019), of colour alone.
    """
    apart = (one.float().mean((2, 3)) - other.float().mean((2, 3))).abs().mean(1)
    return F.relu(1 - apart / (10 / 127.5)).mean()


def disagreement(
    high: torch.Tensor, made_high: torch.Tensor, low: torch.Tensor, made_low: torch.Tensor, ratio: int
) -> torch.Tensor:
    """Mean |difference| of what was added to the high view, at the low view's µm/px, and to the low view's centre.

    All (B, 3, S, S), S a multiple of 2 x ratio; both views are crops about one point of the slide.
    """
    added = F.avg_pool2d((made_high - high).float(), ratio)
    side, edge = added.shape[-1], (low.shape[-1] - added.shape[-1]) // 2
    return (added - (made_low - low).float()[..., edge : edge + side, edge : edge + side]).abs().mean()
