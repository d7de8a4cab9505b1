"""The page in a real browser: Playwright drives Debian's Chromium, headless, against the program itself."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from helpers.checkpoints import run_folder

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(CHROMIUM is None, reason="no chromium on the PATH: apt-get install chromium"),
]
ROOT = Path(__file__).parents[2]
WIDE, NARROW = {"width": 1280, "height": 900}, {"width": 360, "height": 740}


@pytest.fixture(scope="module")
def address(images, tmp_path_factory):
    """The address that the program prints."""
    root = tmp_path_factory.mktemp("program")
    run_folder(root / "run")
    place = images / "in"
    said = [
        *("--weights", root / "run", "--gallery", place / "visible", "--gallery-modality", "visible"),
        *("--query", place / "infrared", "--reference", place / "infrared", "--labelled"),
        *("--reference-modality", "infrared", "--allow", place, "--store", root / "store", "--port", 0),
        *("--device", "cpu"),
    ]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "sdcl", "app", *map(str, said)]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as program:
        assert program.stdout is not None
        found = re.search(r"http://127\.0\.0\.1:\d+/\S+", program.stdout.readline())
        assert found, "the program printed no address"
        yield found[0]
        program.terminate()


@pytest.fixture(scope="module")
def browser():
    sync_api = pytest.importorskip("playwright.sync_api")
    with sync_api.sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield started
        started.close()


def opened(browser, address, size=WIDE):
    """A page of its own person; whatever it logs as an error or fetches from elsewhere is kept."""
    page = browser.new_context(viewport=size).new_page()
    page.set_default_timeout(120_000)
    page.faults = []
    page.on("pageerror", lambda error: page.faults.append(str(error)))
    page.on(
        "request",
        lambda r: (
            page.faults.append(r.url)
            if "//127.0.0.1:" not in r.url[:20] and not r.url.startswith("data:")
            else None
        ),
    )
    page.goto(address)
    page.locator("#galleries .state", has_text="12 images").first.wait_for()
    return page


@pytest.fixture
def page(browser, address):
    made = opened(browser, address)
    yield made
    assert made.faults == []
    made.context.close()


def pick(page, images, name="02/cam3_20240501.png"):
    page.set_input_files("#file", images / "in" / "infrared" / name)
    page.locator("#results figure").first.wait_for()
    page.get_by_text("ranked in").wait_for()


def test_search_threshold_and_reranking(page, images):
    pick(page, images)
    assert page.locator("#results figure").count() == 12
    first = page.locator("#results img").first
    assert re.match(r"1: \d\d/cam1_\d+\.png, visible, camera 1, 2024-05-0", first.get_attribute("alt"))
    assert first.evaluate("image => image.decode().then(() => image.naturalHeight)") > 0
    slider = page.get_by_label("Threshold", exact=False).and_(page.locator("input"))
    slider.focus()
    page.keyboard.press("Home")  # the smallest threshold: everybody is there
    page.locator("#verdict.in").wait_for()
    assert "at most 100 %" in page.locator("#costs").inner_text()
    page.keyboard.press("End")
    page.locator("#verdict.out").wait_for()
    assert "0 above" in page.locator("#results .cut").inner_text()
    assert page.locator("#results li.below").count() == 12
    page.get_by_label("Re-rank").check()
    page.get_by_text("By k-reciprocal re-ranking").wait_for()
    assert page.locator("#verdict.out").count() == 1  # the decision stays the similarity's


def test_attention_and_a_query_of_the_folder(page):
    page.get_by_text("Choose one of the query folder").click()
    page.locator("#query-images button").nth(4).click()
    page.get_by_text("ranked in").wait_for()
    page.get_by_role("button", name="Attention of result 2").click()
    page.get_by_role("heading", name="Attention: result 2").wait_for()
    assert page.locator("#maps img").count() == 3
    page.get_by_role("button", name="Close").click()
    assert page.locator("#maps").is_hidden()


def test_a_second_gallery_and_none(page, images):
    pick(page, images)
    page.get_by_text("Add a gallery").click()
    page.get_by_label("Folder of images").fill(str(images / "in" / "infrared"))
    page.get_by_label("Its modality").select_option("infrared")
    page.get_by_role("button", name="Add", exact=True).click()
    page.get_by_text("24 images ranked").wait_for()
    page.get_by_role("checkbox", name="in/visible").uncheck()
    page.get_by_text("12 images ranked").wait_for()
    assert ", infrared," in page.locator("#results img").first.get_attribute("alt")
    page.get_by_role("checkbox", name="in/infrared").uncheck()
    page.get_by_role("alert").get_by_text("no gallery is ready").wait_for()
    page.get_by_role("button", name="Remove in/infrared").click()
    page.get_by_role("checkbox", name="in/infrared").wait_for(state="detached")
    page.get_by_role("checkbox", name="in/visible").check()


def test_costs_that_cannot_be_measured_leave_the_results(page, images):
    """With --labelled, and a gallery whose paths name nobody."""
    pick(page, images)
    page.locator("#costs", has_text="12 reference images").wait_for()
    page.get_by_text("Add a gallery").click()
    page.get_by_label("Folder of images").fill(str(images / "in" / "visible" / "03"))
    page.get_by_role("button", name="Add", exact=True).click()
    page.get_by_text("14 images ranked").wait_for()
    page.locator("#costs", has_text="lies in no folder that names its person").wait_for()
    assert page.locator("#results figure").count() == 14 and page.get_by_role("alert").is_hidden()
    page.get_by_role("button", name="Remove visible/03").click()
    page.get_by_text("12 images ranked").wait_for()
    page.locator("#costs", has_text="12 reference images").wait_for()


def test_an_empty_gallery_and_one_outside(page, images):
    page.get_by_text("Add a gallery").click()
    field = page.get_by_label("Folder of images")
    field.fill(str(images / "outside"))
    field.press("Enter")
    page.get_by_role("alert").get_by_text("outside the folders").wait_for()
    field.fill(str(images / "in" / "empty"))
    field.press("Enter")
    page.locator("#galleries .failed", has_text="no image below").wait_for()
    page.get_by_role("button", name="Remove in/empty").click()
    page.locator("#galleries .failed").wait_for(state="detached")


def test_a_bad_file_says_so_and_the_next_works(page, images):
    bad = {"name": "<b>bad<b>.png", "mimeType": "image/png", "buffer": b"no image at all"}
    page.set_input_files("#file", bad)
    page.get_by_role("alert").get_by_text("no image of a format").wait_for()
    assert page.locator("#chosen b, #alert b").count() == 0  # a name is text, never HTML
    pick(page, images)
    assert page.get_by_role("alert").is_hidden()


def test_two_people_at_once(browser, address, images):
    pages = [opened(browser, address) for _ in range(2)]
    names = ("02/cam3_20240501.png", "05/cam3_20240502.png")
    for page, name in zip(pages, names):  # both ask before either is answered
        page.set_input_files("#file", images / "in" / "infrared" / name)
    shown = []
    for page, name in zip(pages, names):
        page.get_by_text("ranked in").wait_for()
        assert Path(name).name in page.locator("#query-caption").inner_text()
        shown.append([i.get_attribute("alt") for i in page.locator("#results img").all()])
        assert page.faults == []
        page.context.close()
    assert shown[0] != shown[1] and len(shown[0]) == len(shown[1]) == 12


def test_by_keyboard_alone(page, images):
    """Every control is reached by Tab, has a name, and shows its focus."""
    pick(page, images)
    page.keyboard.press("Control+Home")
    page.locator("body").press("Tab")
    reached, steps = [], 0
    while steps < 80:
        about = page.evaluate_handle("document.activeElement")
        shown = about.evaluate(
            "e => ({tag: e.tagName, id: e.id, name: e.ariaLabel"
            " || (e.labels && [...e.labels].map(l => l.textContent).join(' '))"
            " || e.textContent || e.title, outline: getComputedStyle(e).outlineStyle})"
        )
        if shown["tag"] == "BODY":
            break
        assert shown["name"].strip(), shown
        assert shown["outline"] != "none" or shown["id"] == "file", shown
        reached.append(shown["id"])
        page.keyboard.press("Tab")
        steps += 1
    for wanted in (
        "file",
        "use-1",
        "rerank",
        "top",
        "go",
        "query-attention",
        "threshold",
        "renew-1",
        "remove-1",
    ):
        assert wanted in reached, (wanted, reached)


def test_screen_reader_names(page, images):
    pick(page, images)
    for role, name in (
        ("heading", "Search"),
        ("form", "Query and options"),
        ("radiogroup", "Modality of the query"),
        ("radio", "infrared"),
        ("checkbox", "Re-rank (k-reciprocal)"),
        ("slider", "Threshold"),
        ("combobox", "Results"),
        ("img", "Query cam3_20240501.png, infrared"),
        ("main", None),
        ("contentinfo", None),
    ):
        found = page.get_by_role(role, name=name) if name else page.get_by_role(role)
        assert found.count() >= 1, (role, name)
    assert page.locator("img:not([alt])").count() == 0
    assert "consent" in page.get_by_role("contentinfo").inner_text()


@pytest.mark.parametrize("size", [WIDE, NARROW], ids=["wide", "narrow"])
def test_nothing_is_cut_off(browser, address, images, size):
    page = opened(browser, address, size)
    pick(page, images)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    page.context.close()


def test_run_tab(page):
    page.get_by_role("link", name="Run", exact=True).click()
    page.get_by_role("heading", name="Epochs").wait_for()
    page.get_by_text("hold no labels").wait_for()
    page.get_by_role("link", name="Search", exact=True).click()
    page.get_by_role("button", name="Search", exact=True).wait_for()
