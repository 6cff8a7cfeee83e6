"""The GPU executor: NVIDIA DALI decodes and augments, fed in our order with what each draw comes to (inputs.py).

One graph serves a policy (graph.py): ops that the policy never draws are left out, the others run for every view, with
parameters that do nothing where the op was not drawn; only clahe skips the views that did not draw it. A sample's high and low
view are two images of one batch.

The op `albumentations` is refused: it runs on a CPU only.

A node is a pass over the pixels of a micro-batch, so a step is a matrix (coord_transform) or a constant table (lookup_table,
tables.py) where it can be one. `python -m benchmarks.dali_nodes` counts the nodes of each policy.

| op                                             | operators                                        | without a GPU           |
|---|---|---|
| decoding                                       | decoders.image (nvJPEG)                          | the same (libjpeg)      |
| reflected border; 255 beyond labels            | slice, out_of_bounds_policy                      | the same                |
| rotate … xy_jitter, in a policy without fields | warp_affine, one per view                        | the same                |
| elastic, grid, optical distortion, glass       | resize (field), experimental.remap, one per view | OpenCV's remap, called  |
|                                                |                                                  | by python_function      |
| targeted_hsv                                   | tables for hue, S, V, stains and chroma, one     | the same                |
|                                                | matrix for up to four stains                     |                         |
| pca, brightness, contrast, both jitters        | coord_transform, one matrix                      | the same                |
| gamma                                          | a power, brightness_contrast                     | the same                |
| clahe                                          | clahe at set limits, one matrix to blend them;   | the same                |
|                                                | tables and matrices to CIELAB and back           |                         |
| gaussian_blur, glass's smoothing               | gaussian_blur                                    | the same                |
| motion_blur, emboss                            | filter, one kernel                               | the same                |
| both noises                                    | one matrix of the image and a window of a bank;  | the same                |
|                                                | for shot noise the window goes through a table   |                         |

Windows of the noise banks are cut on the device, in one gather a batch and bank (executor.py).
The CPU pipeline is there to test the graph; it is slower than mlseg_dist.augment.cpu.
"""

from mlseg_dist.augment.dali.inputs import Encoded, Prepared

__all__ = ["Encoded", "Prepared"]
