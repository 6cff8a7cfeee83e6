import pytest

from launch.config import CampaignConfig, load_campaign
from launch.graph import build_graph
from launch.kinds import KINDS
from mlseg_core.errors import UserError


def test_phases_are_numbered_in_the_order_of_the_campaign(config: CampaignConfig) -> None:
    assert [phase.folder for phase in build_graph(config)] == [
        "00-slides",
        "01-shards",
        "02-base",
        "03-label-1",
        "04-master-1",
        "05-evaluate",
        "06-report",
    ]


def test_inputs_come_before_their_readers(config: CampaignConfig) -> None:
    seen: set[str] = set()
    for phase in build_graph(config):
        assert set(phase.inputs) <= seen
        assert phase.kind in KINDS
        seen.add(phase.name)


def test_existing_slides_need_no_slides_phase(make_campaign) -> None:
    config = load_campaign(make_campaign(phantom=None, slides="slides.csv"))
    assert build_graph(config)[0].name == "shards"


def test_a_step_cannot_take_the_name_of_another_phase(config_path) -> None:
    with pytest.raises(UserError, match="'shards' is the name of another phase"):
        build_graph(load_campaign(config_path, ["steps.base.name=shards"]))


def test_gan_style_asks_for_generators_and_styled_shards(make_campaign) -> None:
    graph = {phase.name: phase for phase in build_graph(load_campaign(make_campaign(styled=True)))}
    assert list(graph)[:5] == ["slides", "shards", "generators", "style", "base"]
    assert graph["style"].inputs == ("shards", "generators")
    readers = [phase.name for phase in graph.values() if "style" in phase.inputs]
    assert readers == ["master-1"], "not base, and not the labels: they are made of views as stored"


def test_a_step_whose_gan_style_never_comes_asks_for_nothing(make_campaign) -> None:
    config = load_campaign(make_campaign(styled=True), ["steps.master-1.augment=[{op: gan_style, p: 0}]"])
    assert "style" not in [phase.name for phase in build_graph(config)]


def test_crops_of_generators_lie_in_the_stored_views(make_campaign) -> None:
    path = make_campaign(styled=True)
    assert load_campaign(path, ["style.crop_px=96"]).style.crop_px == 96
    with pytest.raises(UserError, match=r"at most shards\.store_px"):
        load_campaign(path, ["style.crop_px=112"])
    assert load_campaign(make_campaign("plain"), ["style.crop_px=112"]), "nobody reads it"
