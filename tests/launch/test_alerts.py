"""Alerts reach a real web server and a real mail server, once each, hold no names, and never keep a job waiting."""

import json
import os
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import yaml

from launch import alerts
from launch.alerts import delivery
from launch.alerts.delivery import Sender, unsent
from launch.alerts.notices import Notice, of_alert, of_end, of_phase
from launch.alerts.watch import Watch
from launch.cli import main
from launch.completion import Completion, recipe_hash
from launch.config import CampaignConfig, load_campaign
from launch.graph import Phase, build_graph
from launch.preflight.alerts import alerts as preflight
from launch.preflight.site import Site
from launch.run_folder import RunFolder
from launch.slurm.job_plans import JobPlan, publish_plan
from launch.slurm.replan import _alert
from mlseg_core.config import dump_config
from mlseg_core.errors import UserError
from mlseg_core.files import read_json
from tests.launch.servers import Hook, Post, mail_server, web_server

Made = Callable[..., tuple[RunFolder, CampaignConfig]]


@pytest.fixture
def hook() -> Iterator[Hook]:
    with web_server() as found:
        yield found


@pytest.fixture
def post() -> Iterator[Post]:
    with mail_server() as found:
        yield found


@pytest.fixture
def made(config_path: Path, hook: Hook, monkeypatch: pytest.MonkeyPatch) -> Made:
    """A run folder whose alerts go to the web server, and to whoever else is named; tries follow each other at once."""
    monkeypatch.setattr(delivery, "_PAUSE_S", 0.0)
    monkeypatch.setenv("SITE_HOOK", hook.url)

    def make(**asked: str) -> tuple[RunFolder, CampaignConfig]:
        words = [f"cluster.alerts.{key}={value}" for key, value in {"webhook_env": "SITE_HOOK", **asked}.items()]
        config = load_campaign(config_path, words)
        run = RunFolder.of(config)
        run.logs(phase_of(config, "base")).mkdir(parents=True)
        dump_config(config, run.config_path)
        return run, config

    return make


def phase_of(config: CampaignConfig, name: str) -> Phase:
    return next(phase for phase in build_graph(config) if phase.name == name)


def records(run: RunFolder) -> dict[str, dict]:
    return {path.name: read_json(path) for path in sorted((run.path / "alerts").glob("*.json"))}


def test_an_alert_goes_out_by_both_ways_once_whoever_sends(made: Made, hook: Hook, post: Post) -> None:
    run, config = made(mail="[a@example.org, b@example.org]", smtp=post.place)
    notice = Notice("02-base-stuck-1", "tiny/02-base: a rank\n is stuck", "rank 3 <n7> & co; see <http://x|here>")
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: Sender(run, config).send([notice]), range(4)))
    (text,) = hook.texts
    assert text.startswith("*tiny/02-base: a rank\n is stuck*\nrank 3 &lt;n7&gt; &amp; co; see &lt;http")
    (mail,) = post.got
    assert mail["Subject"] == "[mlseg] tiny/02-base: a rank is stuck" and mail["To"] == "a@example.org, b@example.org"
    assert "rank 3 <n7> & co" in mail.get_content()
    assert set(records(run)) == {"02-base-stuck-1.mail.1.json", "02-base-stuck-1.webhook.1.json"}
    assert all("sent" in record for record in records(run).values()) and not unsent(run)


def test_what_could_not_be_sent_is_retried_once_then_by_another_machine(
    made: Made, hook: Hook, monkeypatch, capfd
) -> None:
    run, config = made()
    hook.answer, notice = 500, Notice("alert-1", "tiny: a person is needed", "base failed")
    Sender(run, config).send([notice, Notice("alert-2", "a second", "")])
    assert hook.asked == 2, "one retry, and no try of the second: the channel is down"
    Sender(run, config).send([notice])
    assert hook.asked == 2, "this machine has just tried"
    assert unsent(run) == {"tiny: a person is needed (webhook)": "the server answered 500"}
    capfd.readouterr()
    assert main(["status", str(run.path)]) == 0
    assert "not sent: tiny: a person is needed (webhook): the server answered 500" in " ".join(
        capfd.readouterr().out.split()
    )
    hook.answer = 200
    monkeypatch.setenv("SLURMD_NODENAME", "login1")
    Sender(run, config).send([notice])
    assert len(hook.got) == 1 and not unsent(run)
    monkeypatch.setenv("SLURMD_NODENAME", "login2")
    Sender(run, config).send([notice])
    assert len(hook.got) == 1


@pytest.mark.parametrize(
    "trouble", ["500", "redirect", "refused", "no server", "not an address", "no variable", "no file"]
)
def test_a_failing_way_is_logged_without_the_secret_address(
    made: Made, hook: Hook, post: Post, trouble, monkeypatch, capfd
) -> None:
    """The other way works all the same."""
    asked = {"mail": "a@example.org", "smtp": post.place}
    if trouble == "no file":
        asked |= {"webhook_env": "null", "webhook_file": "/nonexistent/hook"}
    run, config = made(**asked)
    hook.answer = {"500": 500, "redirect": 302}.get(trouble, 200)
    addresses = {
        "no server": "http://s3cret.invalid/T0/s3cret",
        "refused": "http://127.0.0.1:1/s3cret",
        "not an address": "file:///s3cret",
    }
    if trouble == "no variable":
        monkeypatch.delenv("SITE_HOOK")
    elif trouble in addresses:
        monkeypatch.setenv("SITE_HOOK", addresses[trouble])
    Sender(run, config).send([Notice("alert-1", "title", "text")])
    said = capfd.readouterr().err
    assert said.startswith("mlseg: warning: an alert could not be sent by webhook: ") and said.count("\n") == 1, said
    written = said + "".join(
        path.read_text() for path in run.path.rglob("*") if path.is_file() and "code" not in path.parts
    )
    assert "s3cret" not in written and len(post.got) == 1 and not hook.got
    assert "failed" in records(run)["alert-1.webhook.1.json"] and "sent" in records(run)["alert-1.mail.1.json"]


def test_a_server_that_never_answers_costs_a_job_a_bounded_time(made: Made, hook: Hook, monkeypatch) -> None:
    run, config = made()
    hook.answer = 0
    monkeypatch.setattr("launch.alerts.watch.FINAL_S", 0.5)
    run.events(phase_of(config, "base")).log("stuck", "rank 3 stands still", "error")
    begun = time.monotonic()
    watch = Watch(run, config, phase_of(config, "base"), every_s=0.01)
    time.sleep(0.2)
    watch.close()
    alerts.ask_for_person(run, config, "base failed", time.time())
    assert time.monotonic() - begun < 3 and hook.asked >= 1
    hook.never.set()
    for thread in threading.enumerate():
        if thread.name.startswith("alerts"):
            thread.join(30)


def test_mail_through_this_machines_sendmail(made: Made, hook: Hook, tmp_path: Path, monkeypatch, capfd) -> None:
    program = tmp_path / "bin" / "sendmail"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\necho "$@" > {tmp_path}/words\ncat > {tmp_path}/mail\ntest ! -e {tmp_path}/broken\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    run, config = made(mail="a@example.org")
    Sender(run, config).send([Notice("alert-1", "title", "schön")])
    assert (tmp_path / "words").read_text().strip() == "-t -i" and "Subject: [mlseg] title" in (
        tmp_path / "mail"
    ).read_text()
    (tmp_path / "broken").touch()
    Sender(run, config).send([Notice("alert-2", "title", "text")])
    assert f"{program} ended with status 1" in capfd.readouterr().err


def test_a_mail_server_that_refuses_is_named(made: Made, post: Post, capfd) -> None:
    run, config = made(mail="a@example.org", smtp=post.place)
    post.refuses = True
    Sender(run, config).send([Notice("alert-1", "title", "text")])
    assert f"by mail: the mail server on {post.place}: " in capfd.readouterr().err


def test_an_alert_goes_out_while_the_job_works_and_the_first_of_each_kind_only(made: Made, hook: Hook) -> None:
    run, config = made()
    base = phase_of(config, "base")
    events = run.events(base)
    events.log("started", "2 ranks", "info")
    watch = Watch(run, config, base, every_s=0.02)
    for step in range(3):
        events.log("non-finite", f"loss is nan at step {step}")
    deadline = time.monotonic() + 10
    while not hook.got and time.monotonic() < deadline:
        time.sleep(0.02)
    assert hook.texts[0].startswith("*tiny/02-base: loss or gradient is not finite*\nloss is nan at step 0"), hook.texts
    events.log("class-collapse", "the network predicts no tumour", "error")
    events.log("finished", "phase base is done", "info")
    watch.close()
    assert len(hook.got) == 2 and "a class has collapsed" in hook.texts[1], hook.texts
    Watch(run, config, base).close()
    assert len(hook.got) == 2


def test_a_failed_job_is_told_while_it_is_tried_again_else_by_the_campaign_alone(made: Made, hook: Hook) -> None:
    run, config = made()
    base = phase_of(config, "base")
    run.events(base).log("failed", "RuntimeError: it broke", "error")
    assert of_phase(run, config, base) == [], "without plans it runs here, and the planner tells"
    run.plans.mkdir()
    publish_plan(run, JobPlan(1, "person", {"base": {"work": "14"}}))
    (told,) = of_phase(run, config, base)
    assert "it broke" in told.text and "tried again, up to 3 times" in told.text
    assert of_phase(run, load_campaign(config.folder / "campaign.yaml", ["cluster.retries=0"]), base) == []
    run.events(base).log("failed", "error: loss.heads: every head has weight 0", "error")
    assert len(of_phase(run, config, base)) == 1


def test_what_happened_days_ago_calls_nobody(made: Made) -> None:
    run, config = made()
    base = phase_of(config, "base")
    old = {"event": "stuck", "level": "error", "text": "rank 3", "time": time.time() - 2 * 86400}
    (run.phase(base) / "events.jsonl").write_text(json.dumps(old) + "\n")
    assert of_phase(run, config, base) == []


def test_the_planners_alert_is_sent_when_it_is_raised_and_again_when_it_is_raised_again(made: Made, hook: Hook) -> None:
    run, config = made()
    _alert(run, f"phase base failed 4 times; at last: OSError: {run.path}/data/x")
    assert read_json(run.path / "alert.json")["alert"].startswith("phase base failed 4 times")
    assert "phase base failed 4 times" in hook.texts[0] and str(run.path) not in hook.texts[0], "no paths leave"
    Watch(run, config).close()
    assert len(hook.got) == 1
    run.forget_alert()
    assert of_alert(run, config) == []
    _alert(run, "phase base failed 4 times")
    assert len(hook.got) == 2


def test_the_end_is_told_once_with_the_verdict_of_the_checks(made: Made, hook: Hook) -> None:
    run, config = made()
    graph = build_graph(config)
    ended = time.time()
    done = {"ended": ended, "begun": ended - 3600, "attempts": 1, "seconds": 60.0}
    completions = [Completion(phase, "done", "", done) for phase in graph]
    assert of_end(run, config) == [] and of_end(run, config, [Completion(graph[0], "missing"), *completions[1:]]) == []
    (told,) = of_end(run, config, completions)
    assert (told.title, f"{len(graph)} phases are done" in told.text) == ("tiny: the campaign is done", True)
    run.report.mkdir()
    (run.report / "checks.json").write_text('{"passed": false}')
    assert "its checks did not pass" in of_end(run, config, completions)[0].title
    for _ in range(2):
        Sender(run, config).send([told])
    assert hook.texts == [f"*{told.title}*\n{told.text}".replace(f"{run.path}/", "")]


def test_alerts_are_in_no_fingerprint_and_in_no_file_of_a_run_without_them(config_path: Path, made: Made) -> None:
    without = load_campaign(config_path)
    run, config = made(mail="a@example.org")
    assert [recipe_hash(config, phase) for phase in build_graph(config)] == [
        recipe_hash(without, phase) for phase in build_graph(without)
    ]
    assert "alerts" not in without.model_dump(mode="json")["cluster"]
    recorded = yaml.safe_load(run.config_path.read_text())["cluster"]["alerts"]
    assert recorded == {"mail": "a@example.org", "webhook_env": "SITE_HOOK"}
    assert run.config().cluster == config.cluster


@pytest.mark.parametrize(
    ("word", "told"),
    [
        ("webhook=https://hooks.example.org/s3cret", "unknown key 'cluster.alerts.webhook'"),
        ("webhook_env=https://hooks.example.org/s3cret", "the name of an environment variable that holds the URL"),
        ("webhook_file=hook", "absolute or from ~"),
        ("mail=nobody", "'nobody' is not one mail address"),
        ("mail='a@b, c@d'", "is not one mail address"),
        ("smtp=host:25", "smtp without mail"),
    ],
)  # fmt: skip
def test_what_cannot_be_an_address_is_refused_without_repeating_a_secret(
    config_path: Path, word: str, told: str
) -> None:
    with pytest.raises(UserError) as refused:
        load_campaign(config_path, [f"cluster.alerts.{word}"])
    assert told in str(refused.value) and "s3cret" not in str(refused.value), refused.value


def test_names_of_slides_do_not_leave(made: Made, hook: Hook, tmp_path: Path) -> None:
    """As on W&B. Where names cannot be known, the text stays here."""
    run, config = made()
    slides = run.data / "slides"
    slides.mkdir(parents=True)
    table = "slide,annotation,patient,stain,split\nMUELLER-ANNA-17.tif,,Anna Mueller,HE,train\n"
    (slides / "slides.csv").write_text(table)
    Sender(run, config).send(
        [Notice("alert-1", "title", "MUELLER-ANNA-17.tif of Anna Mueller in /archive/x cannot be read")]
    )
    assert "MUELLER" not in hook.texts[0] and "Mueller" not in hook.texts[0] and "/archive" not in hook.texts[0], (
        hook.texts
    )


def test_preflight_says_which_ways_there_are(made: Made, monkeypatch) -> None:
    def seen() -> dict[str, tuple[str, str]]:
        return {found.name: (found.mark, found.seen) for found in preflight(Site(config))}

    _, config = made(mail="a@example.org", smtp="hub.example.org")
    assert seen()["alerts: mail"] == ("ok", "to a@example.org, from here by the mail server on hub.example.org")
    assert seen()["alerts: webhook"] == ("ok", "its address is in the environment variable SITE_HOOK")
    monkeypatch.setenv("SITE_HOOK", "hooks.example.org/s3cret")
    assert seen()["alerts: webhook"] == ("warning", "the environment variable SITE_HOOK holds no http or https address")


def test_sending_from_a_watch_needs_something_to_send(config: CampaignConfig, capsys) -> None:
    dump_config(config, RunFolder.of(config).config_path)
    assert main(["status", str(config.folder), "--send-alerts"]) == 2 and "Add --watch" in capsys.readouterr().err
    assert main(["status", str(config.folder), "--watch", "--send-alerts"]) == 2
    assert "no alerts are asked for" in capsys.readouterr().err
