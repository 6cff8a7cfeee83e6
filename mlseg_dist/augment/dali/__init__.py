"""The GPU executor: NVIDIA DALI decodes and augments, fed in our order with what each draw comes to (inputs.py).

One graph serves a policy (graph.py): ops that the policy never draws are left out, the others run for every sample, with
parameters that do nothing where the op was not drawn. A sample's high and low view are two images of one batch.

| op                                             | operators                                        | without a GPU           |
|---|---|---|
| decoding                                       | decoders.image (nvJPEG)                          | the same (libjpeg)      |
| reflected border; 255 beyond labels            | slice, out_of_bounds_policy                      | the same                |
| rotate … xy_jitter, in a policy without fields | warp_affine, one per view                        | the same                |
| elastic, grid, optical distortion, glass       | resize (field), experimental.remap, one per view | OpenCV's remap, called  |
|                                                |                                                  | by python_function      |
| targeted_hsv                                   | arithmetic                                       | the same                |
| pca, brightness, contrast, both jitters        | coord_transform, one matrix                      | the same                |
| gamma                                          | arithmetic                                       | the same                |
| clahe                                          | clahe at set limits, arithmetic for CIELAB       | the same                |
| gaussian_blur, glass's smoothing               | gaussian_blur                                    | the same                |
| motion_blur, emboss                            | filter, one kernel                               | the same                |
| both noises                                    | arithmetic on windows of a bank on the device    | the same                |

The CPU pipeline is there to test the graph; it is slower than mlseg_dist.augment.cpu.
"""

from mlseg_dist.augment.dali.inputs import Encoded, Prepared

__all__ = ["Encoded", "Prepared"]
