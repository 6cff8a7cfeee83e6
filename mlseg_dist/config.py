"""What is trained, on what, and how: typed models of a campaign's steps (Table 8) and of what surrounds them."""

from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from mlseg_core.config import StableDump, Strict
from mlseg_dist.augment.albumentations_ops import cpu_only
from mlseg_dist.augment.policy import DEFAULT_POLICY, PolicyConfig, named
from mlseg_dist.ladder import ControlName, Teach, round_of, step_before, with_controls
from mlseg_dist.style.config import StyleConfig

Positive = Annotated[float, Field(gt=0)]
Fraction = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=1)]

CLASSES = ("background", "tumour", "others")
"""Training classes 0, 1, 2."""
IGNORED = 255
HELD_OUT = ("test", "dev-unseen", "final-unseen")
"""Splits that choose nothing, in the order in which they are shown."""
FACTORS = ("stain", "scanner", "source")
"""Columns of the slide table by which figures are grouped into domains."""


class EncoderConfig(Strict):
    """An EfficientNet without its classifier."""

    name: Literal["b0", "b1", "b2", "b3", "b4", "b5", "b6", "b7", "custom"] = "b4"
    """Published width and depth, or `custom`: those below."""
    width: Positive = 1.0
    """Width coefficient of a custom encoder (B0 = 1)."""
    depth: Positive = 1.0
    """Depth coefficient of a custom encoder (B0 = 1)."""
    drop_connect: Fraction = 0.2


class DecoderConfig(Strict):
    """From an encoder's deepest map back to the view's grid. The defaults are ours: see docs/network.md."""

    kind: Literal["plain", "separable", "light"] = "light"
    """plain: two 3x3 convolutions a stage (U-Net). separable: depthwise + 1x1 in their place. light: see model/decoder.py."""
    channels: tuple[Count, Count, Count, Count, Count] = (1024, 384, 128, 48, 16)
    """Channels of the stages at strides 16, 8, 4, 2, 1, where they exist. A high branch starts at stride 16 and skips the first."""
    stride: Literal[1, 2, 4] = 4
    """Stride of the last stage; above 1 the logits are upsampled from there."""


class HookNetConfig(Strict):
    """HookNet (van Rijthoven et al. 2021): two U-Nets of plain convolutions, one hook."""

    filters: Count = 64
    """Channels of the first level; doubled at each level."""
    depth: Annotated[int, Field(ge=2, le=5)] = 4
    """Poolings of a branch."""
    padding: Literal["valid", "same"] = "same"
    """valid, as published: logits cover the centre of the views only. same: all of them."""


class ModelConfig(Strict):
    """A network of two views, or of one (docs/network.md)."""

    kind: Literal["unet", "munet", "hooknet", "deeplab"] = "munet"
    view: Literal["high", "low"] = "high"
    """The view that a `unet` or `deeplab` sees."""
    encoder: EncoderConfig = EncoderConfig()
    decoder: DecoderConfig = DecoderConfig()
    merge: Literal["compress", "crop", "both"] = "both"
    merge_channels: Count = 256
    """Channels of what the low branch hands over at a hook."""
    hooks: Annotated[tuple[Literal[16, 8, 4], ...], Field(min_length=1)] = (16,)
    """Strides of the high branch at which the low decoder's maps come in; 16 is its bottleneck."""
    hooknet: HookNetConfig = HookNetConfig()


class HeadWeights(Strict):
    """Static weights W^s of the outputs (eq. 7)."""

    answer: Annotated[float, Field(ge=0)] = 1.0
    """Weight of the head that answers: `merged` of an m-UNet, `high` of HookNet, a base's only one."""
    high: Annotated[float, Field(ge=0)] = 0.5
    """Where another head answers."""
    low: Annotated[float, Field(ge=0)] = 0.5
    """Where another head answers."""


LossGroup = Literal["micro-batch", "step"]


class LossConfig(Strict):
    """Total = sum over heads of weight x (WCE + WDL) (eq. 7)."""

    heads: HeadWeights = HeadWeights()
    floor: Fraction = 0.05
    """Least dynamic class weight before normalisation."""
    static_weights: tuple[Positive, Positive, Positive] = (0.8, 1.3, 0.9)
    """Class weights of steps with `weights: static`: tumour-biased; the values are ours."""
    group: LossGroup = "micro-batch"
    """Over which samples class counts (equation 1) and Dice sums run. step: over all samples of a step, on all ranks; each rank
    then has one micro-batch, its share of the step's quads (sharing.py)."""
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Share of each target that is spread evenly over the classes, in the cross entropy."""
    pixel: Literal["ce", "symmetric", "generalised"] = "ce"
    """ce: eq. 3. symmetric: + reverse cross entropy (Wang 2019). generalised: (1 - p^q) / q (Zhang 2018). For noisy labels."""
    symmetric_weight: Positive = 1.0
    """Weight of the reverse cross entropy."""
    generalised_q: Annotated[float, Field(gt=0, le=1)] = 0.7


class LabelConfig(StableDump):
    """How a step's model labels the corpus as teacher."""

    added_later: ClassVar = (
        "choose",
        "precision",
        "measured_pairs",
        "min_precision",
        "max_share_grown",
        "on_harm",
        "adapt",
        "align",
    )

    threshold: Annotated[float, Field(ge=0, lt=1)]
    """Least probability of an accepted pixel; a multiple of .05 (Table 8)."""
    stride: Literal[1, 2, 4] = 2
    """Labels are stored at 1/stride of the views' resolution."""
    batch: Count = 16
    """Pairs per forward; batches never span shards."""
    decode_on: Literal["cpu", "gpu"] = "cpu"
    """gpu: NVIDIA DALI decodes the views there. Its JPEG decoder rounds otherwise, so labels differ in some pixels."""
    tta: Literal["none", "flips", "d4"] = "none"
    """Test-time augmentation: the mean answer to both views flipped (4 forwards), or flipped and turned (8)."""
    min_miou: Fraction = 0.0
    """A teacher with less validation mIoU does not label: the campaign stops."""
    min_share_kept: Fraction = 0.1
    """The campaign stops when a class keeps less than so much of its share: labelling/gate.py says of what, against what."""
    sheet: Annotated[int, Field(ge=0)] = 12
    """Pairs on the round's contact sheet."""
    choose: Literal["fixed", "precision"] = "fixed"
    """fixed: one threshold for all classes and views. precision: the least for each class and view, from `threshold` on, at which
    accepted pixels are expected to be right as often as `precision` says (docs/labelling.md)."""
    precision: Fraction = 0.9
    measured_pairs: Annotated[int, Field(ge=0)] = 128
    """Pairs of the validation split, and as many of unannotated tissue, on which the teacher's labels are measured."""
    min_precision: Fraction = 0.0
    """A class that is expected to be right less often, in either view, does harm."""
    max_share_grown: Annotated[float, Field(gt=1)] | None = None
    """A class that makes up so many times the share that it is estimated to have in the tissue does harm; None: not asked."""
    on_harm: Literal["tell", "leave-out", "stop"] = "tell"
    """tell: an event, and a word in the report. leave-out: the class is not accepted in that view. stop: the campaign stops."""

    adapt: Fraction = 0.0
    """How far BatchNorm's statistics are moved from those of training to those of the tissue of each lab and scanner that is
    labelled (labelling/adapting.py); 0: not at all."""
    align: Literal["none", "tissue"] = "none"
    """tissue: probabilities are weighted so that on each lab and scanner classes are no more common than they are estimated to be
    in tissue (docs/labelling.md)."""

    @property
    def adapts(self) -> bool:
        return self.adapt > 0 or self.align != "none"

    def decides(self) -> dict[str, Any]:
        """What the labels' bytes depend on: gates and pictures can be changed without labelling again."""
        gates = {"min_miou", "min_share_kept", "sheet"}
        if self.on_harm != "leave-out":
            gates |= {"min_precision", "max_share_grown", "on_harm"}
        if self.choose == "fixed" and self.on_harm != "leave-out":
            gates |= {"precision"} if self.adapts else {"precision", "measured_pairs"}
        return self.model_dump(mode="json", exclude=gates)

    @model_validator(mode="after")
    def _has_tissue_to_measure(self) -> Self:
        if self.adapts and not self.measured_pairs:
            raise ValueError("adapt and align measure the teacher: measured_pairs must be above 0")
        return self

    @model_validator(mode="after")
    def _on_the_grid(self) -> Self:
        if abs(self.threshold * 20 - round(self.threshold * 20)) > 1e-9:
            raise ValueError("threshold must be a multiple of 0.05: labels are stored in such steps")
        return self


class StepConfig(StableDump):
    """One row of Table 8."""

    added_later: ClassVar = ("teach", "keep_better", "control")

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]*$")]
    model: ModelConfig
    augment: PolicyConfig = DEFAULT_POLICY
    """In a file: the name of a policy, or a list of names and ops."""
    epochs: Annotated[float, Field(gt=0)]
    lr: Positive
    """LR0: learning rate that the schedule starts from."""
    weights: Literal["static", "dynamic"]
    start: Literal["fresh", "teacher"] = "fresh"
    """Random weights, or those of the step before."""
    label: LabelConfig
    """How this step's model labels the corpus for the next one; unused by the last step."""
    teach: Teach = "both"
    """What the step learns from: people's labels, those that the step before made as teacher, or both, people's first. The first
    step has people's alone."""
    keep_better: bool = False
    """Also validate the teacher that the step starts from (`start: teacher`), and publish it again where no later weights score
    better: a round of labels that does harm is then not handed on."""
    control: str = ""
    """The control that the step belongs to; `controls` writes such steps."""

    @property
    def seed_name(self) -> str:
        """Its randomness is drawn by this: a control's steps have the first weights and draws of those they are compared with."""
        return self.name.removeprefix(f"{self.control}-")

    @model_validator(mode="after")
    def _has_one_to_keep(self) -> Self:
        if self.keep_better and self.start != "teacher":
            raise ValueError("keep_better needs start: teacher; a fresh network has no teacher to keep")
        return self


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


class EvaluateConfig(StableDump):
    """Final evaluation of the steps' teachers: annotated pixels of whole slides, each once."""

    added_later: ClassVar = ("threshold", "steps", "view_px", "overlap", "boundary_um")

    splits: tuple[Literal["val", "test", "dev-unseen", "final-unseen"], ...] = ("val", "test", "dev-unseen")
    """`final-unseen` is to be opened once, at the very end: it is not in the default."""
    batch: Count = 16
    threshold: Fraction | None = None
    """A pixel takes the strongest class at or above it, else background. None: what each teacher chose on the validation
    split; 0.45 for teachers of earlier versions, which chose none."""
    pictures: Annotated[int, Field(ge=0)] = 12
    """Example pictures a split in the report."""
    steps: tuple[str, ...] | None = None
    """Names of the steps to evaluate; None: all."""
    view_px: Count | None = None
    """Side of the views that the network sees, px; None: as large as those that teachers label, if all networks can take them."""
    overlap: Annotated[float, Field(ge=0, le=0.75)] = 0.25
    """How much neighbouring views overlap, as a share of their side."""
    boundary_um: Positive = 10.0
    """Tolerance of surface Dice, µm."""


class CheckConfig(StableDump):
    """What the campaign must have learned, or the run ends with status 1. Margins are differences of pooled figures."""

    added_later: ClassVar = ("bad_regions_last_over_base", "last_over_control")

    last_over_base: dict[str, float] = {}
    """Split -> least mean IoU of the last step minus the base step's."""
    base_over_majority: dict[str, float] = {}
    """Split -> least mean IoU of the base step minus that of always answering the majority class."""
    last_over_majority: dict[str, float] = {}
    bad_regions_last_over_base: dict[str, float] = {}
    """Split -> least recall of bad regions (fold, bubble, blur, artefact) of the last step minus the base step's."""
    last_over_control: dict[str, float] = {}
    """Split -> least mean IoU of the last step minus that of the control's last step, which learnt from people alone."""


class TrackingConfig(StableDump):
    """Weights & Biases; best effort: it never stops training."""

    added_later: ClassVar = ("images",)

    enabled: bool = True
    project: str = "mlseg"
    mode: Literal["auto", "offline", "online"] = "auto"
    """auto: online where WANDB_API_KEY is set, else offline."""
    media: Annotated[int, Field(ge=0)] = 4
    """Example predictions kept in the phase's folder at each validation."""
    images: bool = False
    """Put these pictures of tissue into W&B's runs, offline ones too, as `wandb sync` sends those later."""


class LearningConfig(StableDump):
    """All that learning needs to know of a campaign; `launch` adds where slides come from and where jobs run."""

    added_later: ClassVar = ("controls",)

    name: Annotated[str, Field(min_length=1, max_length=100, pattern=r"^[^/\x00]+$")]
    """Name of the run folder under `runs`."""
    seed: int = 0
    training_classes: dict[str, Literal[0, 1, 2, 255]]
    """Fine class -> 0 background/normal, 1 tumour, 2 others, 255 ignored."""
    policies: dict[str, PolicyConfig] = {}
    """Augmentation policies by name, for steps and for each other (configs/augment)."""
    steps: Annotated[tuple[StepConfig, ...], Field(min_length=1)]
    train: TrainConfig = TrainConfig()
    loss: LossConfig = LossConfig()
    style: StyleConfig = StyleConfig()
    """Settings of the generators and styled shards that gan_style reads."""
    evaluate: EvaluateConfig = EvaluateConfig()
    checks: CheckConfig = CheckConfig()
    controls: tuple[ControlName, ...] = ()
    """Ladders beside the campaign's own that show what its rounds of labels are worth. human-only: the same steps, tuning and
    validation on people's labels alone."""
    tracking: TrackingConfig = TrackingConfig()

    @model_validator(mode="after")
    def _evaluated_steps_exist(self) -> Self:
        names = [step.name for step in self.steps]
        unknown = [name for name in self.evaluate.steps or () if name not in names]
        if unknown:
            raise ValueError(f"evaluate.steps names {unknown[0]!r}; there are {', '.join(names)}")
        return self

    @classmethod
    def spelled_out(cls, raw: Any, where: Path | str) -> Any:
        return with_controls(named(raw, where))

    @model_validator(mode="after")
    def _gpu_has_every_op(self) -> Self:
        for step in self.steps:
            lacking = cpu_only(step.augment) if self.train.augment_on == "gpu" else []
            if lacking:
                raise ValueError(
                    f"train.augment_on: gpu: DALI cannot do {', '.join(lacking)} of steps.{step.name}; set it to cpu"
                )
        return self

    @model_validator(mode="after")
    def _equal_steps(self) -> Self:
        if self.controls and self.train.epoch_draws is None:
            raise ValueError(
                "controls need train.epoch_draws: else a control, which draws from fewer pairs, gets fewer steps"
            )
        if len(set(self.controls)) < len(self.controls):
            raise ValueError("controls names one of them twice")
        return self

    @property
    def own_steps(self) -> tuple[StepConfig, ...]:
        """The campaign's own ladder, without its controls'."""
        return tuple(step for step in self.steps if not step.control)

    def step_before(self, index: int) -> int | None:
        """Index of the step whose teacher comes before this one; None for the first."""
        return step_before(self.steps, index)

    def round_of(self, index: int) -> int | None:
        """Number of the round of labels that a step learns from, from 1; None for one that learns from people alone."""
        return round_of(self.steps, index)
