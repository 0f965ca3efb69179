"""The site in a real browser, at the widths of a phone, a tablet, and three screens."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from choices import among_all

DOCS = Path(__file__).parent.parent / "docs"
GROUPS = ["Start", "How-to", "Concepts", "Reference", "Performance", "Contribute"]
NARROW, WIDE = (360, 768), (1024, 1366, 1920)
PAGES = ("index", "howto", "coming_from", "benchmarks", "api_analysis", "cli")
THEME_MODE = "Got invalid theme mode"  # the theme says so on the first visit

pytestmark = among_all


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    pytest.importorskip("sphinx", reason="the site is built with the extra docs")
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "sphinx", "-q", "-W", "-b", "html", str(DOCS), str(folder)]
    subprocess.run(command, check=True)
    return folder


@pytest.fixture(scope="module")
def browser():
    webdriver = pytest.importorskip("selenium.webdriver", reason="selenium drives the browser")
    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if not chromium or not driver:
        pytest.skip("There is no Chromium with its driver here.")
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    service = webdriver.ChromeService(executable_path=driver)
    driven = webdriver.Chrome(options=options, service=service)
    yield driven
    driven.quit()


def open_page(browser, site, page, width):
    size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    browser.get((site / f"{page}.html").as_uri())


def visible(browser, selector):
    found = browser.find_elements("css selector", selector)
    return [element for element in found if element.is_displayed()]


@pytest.mark.parametrize("width", [*NARROW, *WIDE])
@pytest.mark.parametrize("page", PAGES)
def test_no_page_is_wider_than_the_screen(browser, site, page, width):
    open_page(browser, site, page, width)
    shown = browser.execute_script("return document.documentElement.scrollWidth")
    assert shown <= width
    errors = [line["message"] for line in browser.get_log("browser") if line["level"] == "SEVERE"]
    assert not [message for message in errors if THEME_MODE not in message]


@pytest.mark.parametrize("width", WIDE)
def test_all_groups_are_in_the_bar(browser, site, width):
    open_page(browser, site, "howto", width)
    links = visible(browser, ".bd-header .navbar-nav a.nav-link")
    assert [link.text for link in links] == GROUPS
    assert all(link.rect["x"] + link.rect["width"] < width for link in links)
    (current,) = visible(browser, ".bd-header .navbar-nav .current a.nav-link")
    assert current.text == "How-to"


@pytest.mark.parametrize("width", WIDE)
def test_the_pages_of_the_group_are_at_the_side(browser, site, width):
    open_page(browser, site, "coming_from", width)
    texts = [link.text for link in visible(browser, ".bd-sidebar-primary .bd-docs-nav a")]
    assert "Coadd a season" in texts
    assert "Clusters" in texts
    assert "Ledger" not in "".join(texts)  # of another group
    captions = [text.text for text in visible(browser, ".bd-sidebar-primary .caption")]
    assert captions == ["Maps", "Map-making and timestreams", "Jobs", "Your own code"]


@pytest.mark.parametrize("width", NARROW)
def test_a_narrow_screen_has_all_that_in_a_menu(browser, site, width):
    from selenium.webdriver.support.ui import WebDriverWait

    open_page(browser, site, "coming_from", width)
    assert not visible(browser, ".bd-header .navbar-nav a.nav-link")
    (button,) = visible(browser, ".primary-toggle")
    button.click()
    menu = "#pst-primary-sidebar-modal, .bd-sidebar-primary"
    WebDriverWait(browser, 10).until(lambda _: visible(browser, menu))
    text = " ".join(element.text for element in visible(browser, menu))
    assert all(group in text for group in [*GROUPS, "Coadd a season"])


def test_one_page_leads_to_the_next(browser, site):
    pages = re.findall(r"^(.+) <(\S+)>$", (DOCS / "howto.md").read_text(), re.MULTILINE)
    (title, page), (next_title, next_page) = pages[:2]
    open_page(browser, site, page, 1024)
    assert next_title in browser.find_element("css selector", "a.right-next").text
    open_page(browser, site, next_page, 1024)
    assert title in browser.find_element("css selector", "a.left-prev").text
