"""What jobs ask of a cluster: one block for each kind of work, each of which takes from `default` what it does not set itself.

In: the campaign's `cluster` section (docs/resources.md). Out: ClusterConfig.job(block), the resources with everything settled.
A config keeps what was set apart from what was not, and is written down so: `cluster.default.partition=x` works on a recorded
run as well.
"""

import math
from pathlib import Path, PurePath
from typing import Annotated, Any, Literal, Self, get_args

from pydantic import Field, PlainValidator, SerializerFunctionWrapHandler, model_serializer, model_validator

from launch.alerts.config import AlertsConfig
from launch.resources.earlier_names import translate_cluster
from launch.resources.quantities import gpus_of_parameter, gpus_of_types, megabytes, minutes
from mlseg_core.config import Strict
from mlseg_core.errors import UserError

Block = Literal["cut", "style", "train", "label", "evaluate", "predict", "small"]
BLOCKS: tuple[Block, ...] = get_args(Block)
OF_CAMPAIGN: tuple[Block, ...] = tuple(name for name in BLOCKS if name != "predict")
"""The blocks that phases of a campaign use."""
WITHOUT_GPUS: tuple[Block, ...] = ("cut", "small")
"""Work for CPUs: these blocks get GPUs only where they ask for some themselves."""

_LEAST_MIN = 30
_BINDING = {"apptainer": "--bind", "singularity": "--bind"}
"""Container programs whose option for a bind is known."""
_VERBS = ("exec", "run", "shell")


def _gpus(value: Any) -> int | str:
    if isinstance(value, str):
        counts = gpus_of_types(value)
        return counts[""] if list(counts) == [""] else value
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise ValueError("GPUs are a number, or a type and a number: 8, h100:8")
    return value


def _memory(value: Any) -> str | None:
    if value is None:
        return None
    if not isinstance(value, str):
        raise ValueError("memory is a whole number and a unit, as SLURM writes it: 512M, 64G, 1T")
    if megabytes(value) < 1:
        raise ValueError("no job can work in less than 1M")
    return value


def _time(value: Any) -> int | str:
    given = value if not isinstance(value, int) or isinstance(value, bool) else str(value)
    if not isinstance(given, str) or minutes(given) == float("inf"):
        raise ValueError("a time is what SLURM writes, 24:00:00 or 1-00:00:00, or minutes as a number")
    if minutes(given) < _LEAST_MIN:
        raise ValueError(
            f"at least {_LEAST_MIN} minutes: submitit counts a preemption of a shorter job as a time-out"
            + ("; 24:00 is 24 minutes, 24:00:00 a day" if given.count(":") == 1 and "-" not in given else "")
        )
    return value  # as it was written: it is recorded so


Count = Annotated[int, Field(ge=1)]
Gpus = Annotated[int | str, PlainValidator(_gpus)]
Memory = Annotated[str | None, PlainValidator(_memory)]
Time = Annotated[int | str, PlainValidator(_time)]


class RetryConfig(Strict):
    """What the second and later attempts of a phase that failed ask for, instead."""

    mem: Memory = None
    time: Time | None = None

    @model_serializer(mode="wrap")
    def _set_ones(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return {key: value for key, value in dump(self).items() if value is not None}


class JobConfig(Strict):
    """Resources of one kind of work. A key that is null counts as not set."""

    workers: Count = 1
    """Elements of a map's array; each has nodes * tasks_per_node processes, and every process is a worker of the map."""
    nodes: Count = 1
    tasks_per_node: Count = 1
    gpus: Gpus = 0
    """GPUs of each node: a number, or a type and a number, `h100:8`."""
    cpus_per_task: Count = 1
    mem: Memory = None
    """Memory of each node, `64G` or `512M`; null: the partition's default."""
    time: Time = 60
    """Time limit, `24:00:00`, `1-00:00:00`, or minutes as a number; at least 30 minutes."""
    partition: str | None = None
    account: str | None = None
    qos: str | None = None
    setup: tuple[str, ...] = ()
    """Shell lines before the job, for example `module load cuda`."""
    python: str | None = None
    """The jobs' interpreter: that of another environment, or the one inside the container; null: the one that plans."""
    container: tuple[str, ...] = ()
    """Words before the interpreter: apptainer, exec, --nv, image.sif."""
    binds: tuple[str, ...] = ()
    """Folders that an Apptainer or Singularity container sees besides its own, SOURCE[:TARGET[:ro]]."""
    extra: dict[str, str] = {}
    """Further sbatch parameters, name -> value."""
    retry: RetryConfig = RetryConfig()

    @model_serializer(mode="wrap")
    def _set_ones(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Only keys that were set: what `default` or SLURM decides is not written down as if this block had."""
        values: dict[str, Any] = dump(self)
        return {key: value for key, value in values.items() if key in self.model_fields_set}

    @property
    def chosen(self) -> dict[str, Any]:
        """The keys that were set, with their values."""
        return {key: getattr(self, key) for key in self.model_fields_set if getattr(self, key) is not None}

    @property
    def tasks(self) -> int:
        """Processes of one job (of one element of a map's array)."""
        return self.nodes * self.tasks_per_node

    @property
    def map_workers(self) -> int:
        """Workers of a map: each process of each element of the array is one."""
        return self.workers * self.tasks

    @property
    def minutes(self) -> int:
        """The time limit, rounded up."""
        return math.ceil(minutes(str(self.time)))

    @property
    def command(self) -> list[str]:
        """Words before the interpreter: the container with its binds."""
        words = list(self.container)
        for place, word in enumerate(words[1:], 1):
            if self.binds and word in _VERBS:
                option = _BINDING[PurePath(words[0]).name]
                return [
                    *words[: place + 1],
                    *(each for bind in self.binds for each in (option, bind)),
                    *words[place + 1 :],
                ]
        return words

    def again(self) -> "JobConfig":
        """The resources of an attempt after one that failed."""
        more = {key: value for key, value in (("mem", self.retry.mem), ("time", self.retry.time)) if value is not None}
        return self.model_copy(update=more) if more else self

    @model_validator(mode="after")
    def _binds_reach_the_container(self) -> Self:
        _check_binds(self)
        return self


def _check_binds(job: JobConfig) -> None:
    """Raises ValueError where the container is another program's."""
    if job.binds and job.container:
        program = PurePath(job.container[0]).name
        if program not in _BINDING or not any(word in _VERBS for word in job.container[1:]):
            raise ValueError(
                f"binds are for `apptainer exec` and `singularity exec`, and container begins with {job.container[0]!r}:"
                " write that program's own option among the words of `container`"
            )


class ClusterConfig(Strict):
    """Where jobs run. auto: SLURM where `sbatch` is on the PATH, else this machine."""

    executor: Literal["auto", "slurm", "local"] = "auto"
    default: JobConfig = JobConfig()
    """What every other block takes that does not set it itself; `cut` and `small` take no GPUs from it."""
    cut: JobConfig = JobConfig()
    """Drawing and importing slides, cutting shards: CPUs."""
    style: JobConfig = JobConfig()
    """Training the generators of gan_style, and styling shards."""
    train: JobConfig = JobConfig()
    label: JobConfig = JobConfig()
    evaluate: JobConfig = JobConfig()
    predict: JobConfig = JobConfig()
    """`mlseg predict --cluster`: a teacher on slides. No phase of a campaign uses it."""
    small: JobConfig = JobConfig()
    """Merging a map's results, the report, planning again: CPUs."""
    generators: Literal["style", "train"] = "style"
    """The block whose nodes and tasks train the generators."""
    retries: Annotated[int, Field(ge=0, le=10)] = 3
    """How often a failed phase is planned again before a person is asked."""
    replan: Literal["job", "login"] = "job"
    """Who plans again: a job that waits for a failure, or, where jobs may not submit jobs, `mlseg run`, which then stays."""
    alerts: AlertsConfig = AlertsConfig()
    """Who is told, by mail or webhook, when a person is needed and when the campaign ends."""

    @classmethod
    def spelled_out(cls, raw: Any, where: Path | str) -> Any:
        try:
            return translate_cluster(raw)
        except ValueError as error:
            raise UserError(str(error), where, "Correct `cluster`.") from None

    @model_validator(mode="after")
    def _settled(self) -> Self:
        """What only shows once a block is complete: binds from one place, a container from another."""
        for name in BLOCKS:
            job = self.job(name)
            try:
                _check_binds(job)
            except ValueError as error:
                raise ValueError(f"{name}: {error}") from None
            if job.binds and not job.container:
                raise ValueError(f"{name}: binds without a container: set {name}.container, or leave out binds")
        return self

    @model_serializer(mode="wrap")
    def _set_ones(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Without blocks that set nothing."""
        values: dict[str, Any] = dump(self)
        if self.generators == "style":
            values.pop("generators", None)
        return {key: value for key, value in values.items() if value != {}}

    def job(self, block: Block) -> JobConfig:
        """The block with everything settled."""
        own, inherited = getattr(self, block).chosen, self.default.chosen
        if block in WITHOUT_GPUS:
            inherited.pop("gpus", None)
            asking = inherited.get("extra", {})
            inherited["extra"] = {
                key: value for key, value in asking.items() if not gpus_of_parameter(key, value, 1, 1)
            }
        given = {**inherited, **own}
        values = {name: given.get(name, field.default) for name, field in JobConfig.model_fields.items()}
        return JobConfig.model_construct(_fields_set=set(values), **values)

    def settled(self) -> dict[str, Any]:
        """All that a campaign uses as plain values, every block complete: two clusters that are equal so are used alike."""
        rest = {name: getattr(self, name) for name in ("executor", "generators", "retries", "replan")}
        rest["alerts"] = self.alerts.model_dump(mode="json")
        return {**rest, **{name: _in_one_spelling(self.job(name)) for name in OF_CAMPAIGN}}


def _in_one_spelling(job: JobConfig) -> dict[str, Any]:
    """Its plain values, times in minutes, and memory without the B of GB."""
    values = job.model_dump(mode="json")
    for block in (values, values["retry"]):
        if block.get("mem") is not None:
            block["mem"] = block["mem"].upper().removesuffix("B")
        if "time" in block:
            block["time"] = math.ceil(minutes(str(block["time"])))
    return values
