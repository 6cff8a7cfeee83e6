"""The five stages: their parts, in the order of their worth, and how many seconds each stage and part may take on a GPU."""

from dataclasses import dataclass

from benchmarks.gpu.first import beside, campaign, engines, feed, machine, networks, operators, repeats
from benchmarks.gpu.first.parts import Part


@dataclass(frozen=True)
class Stage:
    """decides: what its figures answer."""

    number: int
    title: str
    limit_s: float
    decides: str
    parts: tuple[Part, ...]


STAGES = (
    Stage(
        1,
        "The machine and the networks on it",
        260,
        "engine, compile and batch defaults; whether 70 % of the roofline is in reach",
        (
            Part("machine", "What is installed", 20, machine.look, "what is missing"),
            Part("roofs", "The device's roofs", 25, networks.measure_roofs, "what the networks are measured by"),
            Part(
                "eager", "The m-UNet, two EfficientNet-B4 at 512 px, bf16", 90, networks.eager, "batch, cudnn.benchmark"
            ),
            Part("engines", "One rank, the same step by each loop", 45, engines.engines, "DeepSpeed or DDP"),
            Part("copies", "A micro-batch of 16 pairs to the device", 10, engines.copies, "pinned buffers"),
            Part("profile", "Five steps under torch.profiler", 30, engines.profiled, "what to make faster next"),
            Part("compiled", "The m-UNet under torch.compile", 90, networks.compiled, "train.compile"),
        ),
    ),
    Stage(
        2,
        "A campaign through `mlseg`",
        130,
        "whether the product trains, saves, resumes and labels on a GPU",
        (
            Part("campaign", "Training, SIGTERM, resuming, labelling", 110, campaign.through_mlseg, "does it work"),
            Part("repeats", "The same four steps in two processes", 60, repeats.same_bits, "train.deterministic"),
        ),
    ),
    Stage(
        3,
        "Beside training",
        60,
        "generators, moving average, validation, advice",
        (
            Part("style", "Steps of a generator and its critic", 20, beside.style),
            Part("average", "The moving average of the parameters", 20, beside.average),
            Part("memory", "Micro-batches that do not fit", 20, beside.out_of_memory),
            Part("validation", "Validation as training does it", 25, beside.validation),
        ),
    ),
    Stage(
        4,
        "DALI's operators",
        150,
        "which operators work; which tolerances were guesses",
        (
            Part("nvjpeg", "nvJPEG against libjpeg", 20, operators.nvjpeg, "label.decode_on"),
            Part("operators", "Every DALI operator that we use, alone", 30, operators.dali_alone, "which to replace"),
            Part("operations", "Every operation of Table 8 alone", 70, operators.one_by_one, "which to correct"),
            Part("parity", "The parity tests", 120, operators.parity_tests, "which tolerances to set"),
        ),
    ),
    Stage(
        5,
        "What feeds the network",
        90,
        "DALI or CPU by default",
        (Part("feed", "Pairs/s made and trained; `waits` is the share of a step", 88, feed.rates, "train.augment_on"),),
    ),
)
