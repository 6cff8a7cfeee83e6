import pytest

from launch.config import CampaignConfig, load_campaign
from launch.graph import build_graph
from launch.phases import KINDS
from mlseg_core.config import dump_config
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


def test_a_control_is_a_ladder_beside_the_campaigns_own(config_path) -> None:
    config = load_campaign(config_path, ["controls=[human-only]"])
    graph = {phase.name: phase for phase in build_graph(config)}
    assert list(graph)[2:] == ["base", "label-1", "master-1", "human-only-master-1", "evaluate", "report"]
    assert graph["human-only-master-1"].inputs == ("shards",), "neither labels nor a teacher's weights"
    assert "human-only-master-1" in graph["evaluate"].inputs
    from_teacher = load_campaign(config_path, ["controls=[human-only]", "steps.master-1.start=teacher", SAME_MODEL])
    graph = {phase.name: phase for phase in build_graph(from_teacher)}
    assert graph["human-only-master-1"].inputs == ("shards", "base")


SAME_MODEL = "steps.base.model={encoder: {name: custom, width: 0.25, depth: 0.25}, decoder: {channels: [16, 16, 8, 8, 8]}, merge_channels: 16}"  # noqa: E501


def test_a_step_that_learns_from_people_needs_no_round(config_path) -> None:
    names = [phase.name for phase in build_graph(load_campaign(config_path, ["steps.master-1.teach=human"]))]
    assert "label-1" not in names
    names = [phase.name for phase in build_graph(load_campaign(config_path, ["steps.master-1.teach=pseudo"]))]
    assert "label-1" in names


def test_a_recorded_config_gives_the_same_steps_again(config_path, tmp_path) -> None:
    config = load_campaign(config_path, ["controls=[human-only]"])
    path = tmp_path / "recorded.yaml"
    dump_config(config, path)
    assert load_campaign(path) == config
    changed = load_campaign(path, ["steps.master-1.lr=0.5"])
    assert [step.lr for step in changed.steps[1:]] == [0.5, 0.5], "a control follows the step that it is compared with"
    assert len(load_campaign(path, ["controls=[]"]).steps) == 2
    plain = tmp_path / "plain.yaml"
    dump_config(load_campaign(config_path), plain)
    assert not {"controls", "teach", "control"} & set(plain.read_text().replace(":", " ").split())


def test_a_control_needs_equal_steps(config_path) -> None:
    with pytest.raises(UserError, match=r"controls need train\.epoch_draws"):
        load_campaign(config_path, ["controls=[human-only]", "train.epoch_draws=null"])
