"""What all steps of training share."""

from pathlib import Path
from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from mlseg_core.config import StableDump, Strict
from mlseg_dist.config.base import Count, Fraction, Positive


class HealthConfig(Strict):
    """When a rank that stands still is named, and when the job ends because of it. Watched from the end of the first step."""

    enabled: bool = True
    beat_s: Positive = 5.0
    """Seconds between the ranks' heartbeats."""
    name_after_s: Positive = 40.0
    """A rank without heartbeat or without progress for so long is named in events.jsonl and in an alert."""
    end_after_s: Positive = 120.0
    """After so long the living ranks write their stacks and end the job, which is then planned again."""
    straggler: Annotated[float, Field(gt=1)] = 1.5
    """A rank whose own work takes so many times the median of all ranks is named."""

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.name_after_s < 4 * self.beat_s or self.end_after_s <= self.name_after_s:
            raise ValueError("name_after_s must be at least 4 x beat_s, and end_after_s more than name_after_s")
        return self


class ProfileConfig(Strict):
    """A window of steps recorded with torch.profiler into the phase's folder `profile/`, by rank 0."""

    first: Count = 10
    """Step that it starts with, counted from this start of the job."""
    steps: Count = 5


class TrainConfig(StableDump):
    """What all steps share."""

    dumped_if_set: ClassVar = ("workers",)

    patch_px: Count = 512
    """Side of the views that the network sees, px; it must fit the networks' strides."""
    quads_per_micro_batch: Count = 4
    """Samples of a micro-batch / 4: each quad is 2 tumour, 1 normal, 1 others."""
    micro_batches_per_step: Count = 1
    """Micro-batches of an optimizer step, over all ranks. The number of ranks divides it; with `loss.group: step` it divides the
    step's quads, and ranks take more or less than one of these micro-batches at once."""
    epoch_draws: Count | None = None
    """Draws in an epoch; default: the number of base pairs of the train split."""
    engine: Literal["deepspeed", "ddp"] = "deepspeed"
    """What averages gradients over ranks: DeepSpeed at stage 0, or torch's DistributedDataParallel. Same results."""
    zero: Literal[0, 1, 2] = 0
    """ZeRO stage of DeepSpeed. 1 and 2 share Adam's state out over ranks: at 25 M parameters they save 0.2 GB, cost time and keep
    weights in plain layout."""
    compile: bool = False
    """Compile the network (torch.compile); the first step takes minutes. On a GPU it saves passes over memory."""
    precision: Literal["fp32", "bf16"] = "bf16"
    """bf16: autocast; parameters and BatchNorm statistics stay fp32."""
    warmup_steps: Annotated[int, Field(ge=0)] = 100
    cycles: Count = 4
    """Cycles of the learning rate; each starts at half the amplitude of the one before."""
    clip_norm: Positive = 1.0
    bn_momentum: Annotated[float, Field(gt=0, le=1)] = 0.1
    ema: Annotated[float, Field(gt=0, lt=1)] | None = None
    """Decay of an exponential moving average of the parameters; if set, it is what is validated and becomes the teacher."""
    deterministic: bool = False
    """Only algorithms that repeat bit by bit on a GPU (slower). A CPU's always do."""
    max_skipped: Count = 5
    """Steps in a row that may be skipped because loss or gradient is not finite; then training goes back to a checkpoint."""
    max_rollbacks: Annotated[int, Field(ge=0)] = 1
    """How often it may go back so, leaving out the draws of the skipped steps; then it stops."""
    checkpoint_every: Count = 500
    """Steps between checkpoints; one more at the start and at each validation."""
    keep_checkpoints: Annotated[int, Field(ge=2)] = 2
    """The newest so many are kept, and the best."""
    keep_every: Count | None = None
    """Checkpoints at multiples of so many steps are kept too."""
    log_every: Count = 1
    """Steps that a line of metrics.jsonl covers. A line waits for the device: raise it on GPUs."""
    profile: ProfileConfig | None = None
    health: HealthConfig = HealthConfig()
    peak_tflops: Positive | None = None
    """Peak of a rank's device at the precision used, for MFU; None: known GPUs by name."""
    fit_micro_batch: bool = False
    """Before the first step, try the micro-batch on the device and refuse one that does not fit, naming the largest that does."""
    validations: Count = 5
    """How often the validation split is scored in a step; the best is the teacher."""
    max_validation_samples: Count | None = None
    """Score a fixed, evenly spaced part of the validation split while training; None: all."""
    workers: Annotated[int, Field(ge=0)] | Literal["auto"] = "auto"
    """Threads a rank reads and augments with; auto: one for each CPU that it may use, at most 16."""
    augment_on: Literal["cpu", "gpu"] = "cpu"
    """gpu: NVIDIA DALI decodes and augments on the rank's GPU (extra cuda12 or cuda13); draws are the same, pixels nearly."""
    threads: Annotated[int, Field(ge=0)] = 0
    """CPU threads of torch a rank; 0: torch's own choice."""
    bad_samples: Literal["error", "exclude"] = "error"
    """A pair that cannot be read (damaged, missing): stop with its shard and key, or draw another and count it."""
    max_excluded: Fraction = 0.001
    """Most pairs that may be excluded, as a part of all that can be drawn; more is an error."""
    cache_dir: Path | None = None
    """Node-local folder for copies of shards, shared by the ranks of a node; None: read shards where they lie."""
    cache_gb: Positive = 100.0
    """Most that the folder may hold, 10^9 bytes."""

    @property
    def samples_per_micro_batch(self) -> int:
        return self.quads_per_micro_batch * 4

    @property
    def quads_per_step(self) -> int:
        return self.quads_per_micro_batch * self.micro_batches_per_step

    @property
    def samples_per_step(self) -> int:
        return self.quads_per_step * 4

    def total_steps(self, epochs: float, pairs: int) -> int:
        """Optimizer steps of so many epochs: epochs x draws of an epoch / draws of a step, at least one. pairs: to draw from."""
        return max(1, round(epochs * (self.epoch_draws or pairs) / self.samples_per_step))

    @model_validator(mode="after")
    def _zero_is_deepspeeds(self) -> Self:
        if self.zero and self.engine != "deepspeed":
            raise ValueError(f"zero: {self.zero} needs engine: deepspeed")
        return self
