"""A model is measured from the page of models: loaded or on disk, with settings side by side, and cancelled."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from playwright.sync_api import Page, expect

import studiolo as lm
from tests.support.browser import NARROW, Site, choose, overflow
from tests.support.homes import DEFAULT_MODEL

pytestmark = pytest.mark.slow

Opener = Callable[..., Page]
Faults = Callable[..., list[str]]


def measure(page: Page, prompt: int | str, answer: int, rounds: int) -> None:
    page.get_by_label("Tokens of each prompt").fill(str(prompt))
    page.get_by_label("Tokens of each answer").fill(str(answer))
    page.get_by_label("Rounds").fill(str(rounds))
    page.get_by_role("button", name="Measure").press("Enter")


def test_a_model_on_disk_is_measured_and_unloaded(site: Site, open_page: Opener, faults_of: Faults) -> None:
    page = open_page("/models", size=NARROW)
    page.get_by_role("group", name=DEFAULT_MODEL).get_by_role("button", name="Benchmark…").click()
    expect(page.get_by_role("heading", name=f"Benchmark of {DEFAULT_MODEL}")).to_be_visible()
    measure(page, "", 4, 2)
    expect(page.get_by_text("Tokens of each prompt: from 1 to 100,000")).to_be_visible()
    page.get_by_role("button", name="Close").click()
    measure(page, 40, 4, 2)
    line = page.get_by_role("region", name="Results").get_by_role("row").nth(1)
    expect(line).to_contain_text(re.compile(rf"{DEFAULT_MODEL}.*\d\.\d \(\d+\.\d\.\.\d+\.\d\)"))
    with lm.Client(site.server.address) as client:
        assert client.llm.list_loaded() == []
    assert overflow(page) == 0
    page.emulate_media(reduced_motion="reduce")
    expect(page.locator(".q-notification")).to_have_count(0)
    back = page.get_by_role("main").get_by_role("link", name="Models")
    back.hover()
    assert faults_of(page) == []
    back.click()
    expect(page.get_by_role("heading", name="On disk")).to_be_visible()


def test_load_settings_are_measured_side_by_side(site: Site, open_page: Opener, faults_of: Faults) -> None:
    page = open_page(f"/models/bench?model={DEFAULT_MODEL}", size=NARROW)
    add = page.get_by_role("button", name="Compare a load setting")
    add.click()
    setting = page.get_by_role("group", name="A load setting to compare")
    choose(page, "Load setting", "Flash attention")
    expect(setting.get_by_label("Values")).to_have_value("true, false")
    choose(page, "Load setting", "Eval batch size")
    expect(setting).to_contain_text("Default: 512")
    measure(page, 40, 4, 1)
    expect(setting.get_by_role("alert")).to_contain_text("has no values")
    setting.get_by_label("Values").fill("32, many")
    measure(page, 40, 4, 1)
    expect(setting.get_by_role("alert")).to_contain_text("got 'str'")
    notices = page.get_by_role("button", name="Close")
    expect(notices).to_have_count(2)  # they come after the alerts
    for left in (1, 0):
        notices.first.click()
        expect(notices).to_have_count(left)
    add.click()
    setting.nth(1).get_by_role("button", name="Remove this setting").click()
    expect(setting).to_have_count(1)
    setting.get_by_label("Values").fill("32, 64")
    assert overflow(page) == 0
    page.emulate_media(reduced_motion="reduce")
    expect(page.locator(".q-notification")).to_have_count(0)
    assert faults_of(page) == []
    measure(page, 40, 4, 1)
    lines = page.get_by_role("region", name="Results").get_by_role("row")
    first, second = (lines.filter(has_text=f"eval_batch_size={size}") for size in (32, 64))
    expect(first.get_by_role("cell").last).to_have_text("1.00")
    expect(second.get_by_role("cell").last).to_have_text(re.compile(r"^\d+\.\d\d$"))
    with lm.Client(site.server.address) as client:
        assert client.llm.list_loaded() == []


def test_a_loaded_model_is_measured_as_it_is_and_a_cancelled_measurement_ends(site: Site, open_page: Opener) -> None:
    with lm.Client(site.server.address) as client:
        client.llm.load_new_instance(DEFAULT_MODEL, "measured", config={"context_length": 2048})
        page = open_page("/models")
        page.get_by_role("group", name="measured", exact=True).get_by_role("button", name="Benchmark…").click()
        measure(page, 4000, 4, 1)
        line = page.get_by_role("group", name="Benchmark of measured")
        expect(line).to_contain_text("measured has a context of 2048 tokens")
        measure(page, 400, 1500, 100)
        running = line.filter(has=page.get_by_role("progressbar"))
        expect(running).to_contain_text("of 100")
        other = open_page(f"/models/bench?model={DEFAULT_MODEL}")
        measure(other, 40, 4, 1)
        expect(other.get_by_text("measured is being measured")).to_be_visible()
        running.get_by_role("button", name="Cancel").press("Enter")
        expect(line.first).to_contain_text("cancelled")
        expect(running).to_have_count(0)
        measure(page, 40, 4, 1)
        expect(page.get_by_role("region", name="Results").get_by_role("row", name="measured")).to_contain_text(
            "as it is loaded"
        )
        assert [each.identifier for each in client.llm.list_loaded()] == ["measured"]
