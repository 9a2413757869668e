"""The page of models: what is on disk, downloads that are paused and resumed, loading with an estimate, unloading."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Locator, Page, expect

import studiolo as lm
from tests.support.browser import IS_THERE, NARROW, Site, overflow
from tests.support.homes import DEFAULT_MODEL, ENDLESS
from tests.support.model_files import write_gguf
from tests.support.web import Web

pytestmark = pytest.mark.slow

Opener = Callable[..., Page]
Faults = Callable[..., list[str]]


def on_disk(page: Page, name: str) -> Locator:
    """The row of a model on disk; one that other tests have loaded has a row of the same name."""
    return page.get_by_role("group", name=name, exact=True).filter(has=page.get_by_role("button", name="Details"))


@pytest.mark.screenshots
def test_models_on_disk_are_listed_with_what_is_known_of_them(
    open_page: Opener, faults_of: Faults, take_screenshots: Callable[[str, Page], None]
) -> None:
    page = open_page("/models", size=NARROW)
    model = on_disk(page, DEFAULT_MODEL)
    expect(model).to_contain_text("from studiolo")
    expect(on_disk(page, "tiny-vision")).to_contain_text("vision")
    take_screenshots("models", page)
    page.get_by_label("Filter").fill("SMOLLM llama")
    expect(on_disk(page, "tiny-vision")).to_have_count(0)
    assert overflow(page) == 0
    page.emulate_media(color_scheme="dark", reduced_motion="reduce")
    assert faults_of(page) == []
    model.get_by_role("button", name="Details").click()
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("tokens")
    dialog.get_by_text("Header of the file").click()
    expect(dialog.get_by_role("cell", name="general.architecture")).to_be_visible()
    assert faults_of(page, "[role=dialog]") == []
    page.keyboard.press("Escape")
    expect(dialog).to_have_count(0)


def test_a_model_is_loaded_with_settings_that_the_estimate_follows(
    site: Site, open_page: Opener, faults_of: Faults
) -> None:
    page = open_page("/models")
    page.get_by_role("group", name=DEFAULT_MODEL).get_by_role("button", name="Load…").click()
    verdict = page.get_by_text("It fits:")
    expect(verdict).to_contain_text("with 2,048 tokens")  # what config.toml says
    context = page.get_by_label("Context length", exact=True)
    settings = site.home.settings.read_text()
    site.home.settings.write_text(f"{settings}\n[loading]\nguardrail = 1000000\n")
    context.fill("1024")
    expect(page.get_by_text("It does not fit:")).to_contain_text("No context is short enough.")
    site.home.settings.write_text(settings)
    context.fill("1000000")
    expect(page.get_by_text("was made for at most")).to_be_visible()
    expect(page.get_by_text("Wrong value")).to_be_visible()
    expect(context).to_have_attribute("aria-invalid", "true")
    context.fill("512")
    expect(verdict).to_contain_text("with 512 tokens")
    page.get_by_text("All other settings").click()
    seed = page.get_by_label("Seed", exact=True)
    seed.fill("7")
    page.get_by_label("Identifier").fill("mine")
    page.emulate_media(reduced_motion="reduce")
    assert faults_of(page) == []
    page.get_by_role("button", name="Load", exact=True).click()
    page.wait_for_url(f"{site.url}/models")
    loaded = page.get_by_role("group", name="mine", exact=True)
    expect(loaded).to_contain_text("4 slots of 512 tokens")
    loaded.get_by_role("button", name="Settings").click()
    dialog = page.get_by_role("dialog")
    expect(dialog.get_by_role("row", name="context_length")).to_contain_text("this load")
    expect(dialog.get_by_role("row", name="seed")).to_contain_text("7")
    expect(dialog.get_by_role("row", name="auto_fit", exact=False).first).to_contain_text("default")
    dialog.get_by_role("button", name="Close").click()
    unload = loaded.get_by_role("button", name="Unload").element_handle()
    with (
        lm.Client(site.server.address) as client,
        client.llm.model("mine").complete_stream("1 2", config=ENDLESS | {"max_tokens": False}) as running,
    ):
        tokens = iter(running)
        next(tokens)
        expect(loaded).to_contain_text("1 running")
        assert unload.evaluate(IS_THERE)
        loaded.get_by_role("button", name="Unload").click()
        expect(loaded).to_have_count(0)


def test_variants_of_a_model_are_named(site: Site, open_page: Opener) -> None:
    folder = site.home.models / "tests" / "pair-GGUF"
    for name in ("Q4_K_M", "Q8_0"):
        write_gguf(folder / f"pair-{name}.gguf")
    page = open_page("/models")
    page.get_by_label("Filter").fill("pair")
    expect(page.get_by_role("group", name="pair@q4_k_m")).to_contain_text("the default variant")
    expect(page.get_by_role("group", name="pair@q8_0")).to_contain_text("a variant")
    shutil.rmtree(folder)


def test_a_model_that_is_not_there_is_not_loaded(open_page: Opener) -> None:
    page = open_page("/models/load?model=none")
    expect(page.get_by_role("heading", name="No such model")).to_be_visible()


def test_a_download_of_a_stub_of_the_hub_is_paused_and_resumed(
    site: Site, hub: Web, open_page: Opener, faults_of: Faults, tmp_path: Path
) -> None:
    content = write_gguf(tmp_path / "made.gguf", weights=1_000_000).read_bytes()
    for name in ("Q4_K_M", "Q8_0"):
        hub.add_file("me/tiny-GGUF", f"tiny-{name}.gguf", content)
    page = open_page("/models", size=NARROW)
    page.get_by_label("Search").fill("tiny-GGUF")
    page.keyboard.press("Enter")
    page.get_by_role("group", name="me/tiny-GGUF", exact=True).get_by_role("button", name="Choose…").click()
    hub.held.clear()
    hub.go_on.clear()
    page.get_by_role("group", name="me/tiny-GGUF@q8_0").get_by_role("button", name="Download").click()
    hub.wait_until_held()
    page.reload()  # the download is not the page's
    download = page.get_by_role("group", name="me/tiny-GGUF@q8_0")
    expect(download).to_contain_text(" of 4 MB")
    page.emulate_media(reduced_motion="reduce")
    assert faults_of(page) == []
    assert overflow(page) == 0
    download.get_by_role("button", name="Pause").click()
    expect(download).to_contain_text("paused")
    hub.go_on.set()
    download.get_by_role("button", name="Resume").click()
    expect(download).to_contain_text("is in the library as")
    expect(page.get_by_role("group", name="tiny", exact=True)).to_contain_text("4 MB")
    first, second = hub.transfers("tiny-Q8_0.gguf")[-2:]
    assert (first.status, second.status) == (200, 206)
    download.get_by_role("button", name="Remove from the list").click()
    expect(download).to_have_count(0)
    next(site.home.models.rglob("tiny-Q8_0.gguf")).unlink()


def test_a_download_that_a_stub_of_the_hub_refuses_says_why(hub: Web, open_page: Opener) -> None:
    hub.add_file("me/closed-GGUF", "closed-Q4_0.gguf", b"no model")
    page = open_page("/models")
    page.get_by_label("Search").fill("closed-GGUF")
    page.get_by_role("button", name="Search").click()
    page.get_by_role("group", name="me/closed-GGUF", exact=True).get_by_role("button", name="Choose…").click()
    page.get_by_role("group", name="me/closed-GGUF@q4_0").get_by_role("button", name="Download").click()
    download = page.get_by_role("group", name="me/closed-GGUF@q4_0").first
    expect(download).to_contain_text("what it sends is not the file")
    download.get_by_role("button", name="Remove from the list").click()
