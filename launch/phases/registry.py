"""The registry of kinds of phases: from a phase to its kind, and to the resources of its work."""

from launch.config import CampaignConfig
from launch.graph import KindName, Phase
from launch.phases.cut import Shards, Slides
from launch.phases.judge import Evaluate, Report
from launch.phases.kind import MapKind, WholeKind
from launch.phases.learn import Generators, Label, Style, Train
from launch.resources.blocks import Block, JobConfig

KINDS: dict[KindName, MapKind | WholeKind] = {
    "slides": Slides(),
    "shards": Shards(),
    "generators": Generators(),
    "style": Style(),
    "label": Label(),
    "train": Train(),
    "evaluate": Evaluate(),
    "report": Report(),
}


def kind_of(phase: Phase) -> MapKind | WholeKind:
    return KINDS[phase.kind]


def block_of(config: CampaignConfig, phase: Phase) -> Block:
    """The block of resources of the phase's work."""
    return kind_of(phase).block_in(config.cluster)


def job_of(config: CampaignConfig, phase: Phase) -> JobConfig:
    """The resources of the phase's work."""
    return config.cluster.job(block_of(config, phase))
