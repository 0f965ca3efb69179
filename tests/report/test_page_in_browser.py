"""The page about a coadd in a browser: Debian's Chromium, headless."""

import shutil

import pytest
from choices import among_all
from reports import HOSTILE, SHAPE, SOURCE, map_frame, write_maps
from spt3g import core

from g3reduce.pipeline.entries import LeftOut
from g3reduce.report.page import write_report

pytest.importorskip("jinja2", reason="pages are made with jinja2")
pytest.importorskip("selenium", reason="selenium drives the browser")
CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
if not (CHROMIUM and DRIVER):
    pytest.skip("there are no chromium and chromedriver here", allow_module_level=True)

STILL = "force-prefers-reduced-motion"  # nothing moves where a click is to go


@pytest.fixture(scope="module")
def browser():
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for flag in ("headless=new", "no-sandbox", "disable-gpu", "disable-dev-shm-usage", STILL):
        options.add_argument(f"--{flag}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(DRIVER))
    yield driver
    driver.quit()


@pytest.fixture(scope="module")
def frames():
    left_out = [LeftOut(HOSTILE, -1, "cut off")]
    return [map_frame(3000, left_out, 1234), map_frame(2, map_id="95GHz")]


@pytest.fixture(scope="module")
def page(tmp_path_factory, frames):
    folder = tmp_path_factory.mktemp("page")
    return write_report(write_maps(folder / "coadd.g3", *frames))


@pytest.fixture
def opened(browser, page):
    """The page, opened anew, at the size of a laptop; no error may come to its console."""
    browser.set_window_size(1366, 900)
    browser.get(f"file://{page}")
    wait(browser, lambda: find(browser, "#viewer").get_attribute("data-ready") == "150GHz")
    yield browser
    assert browser.get_log("browser") == []
    assert "broken" not in browser.title


def find(browser, selector):
    return browser.find_element("css selector", selector)


def find_all(browser, selector):
    return browser.find_elements("css selector", selector)


def wait(browser, condition):
    from selenium.webdriver.support.ui import WebDriverWait

    WebDriverWait(browser, 10, poll_frequency=0.05).until(lambda _: condition())


def point_at(browser, canvas, x, y):
    """Move the mouse to the middle of a pixel of a picture that is not zoomed."""
    from selenium.webdriver import ActionChains

    browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", canvas)
    size = canvas.rect
    dx = ((x + 0.5) / SHAPE[1] - 0.5) * size["width"]
    dy = (0.5 - (y + 0.5) / SHAPE[0]) * size["height"]
    ActionChains(browser).move_to_element_with_offset(canvas, round(dx), round(dy)).perform()


def picture_of(browser, canvas):
    return browser.execute_script("return arguments[0].toDataURL()", canvas)


def column(browser, number):
    cells = find_all(browser, f"#ledger-table tbody td:nth-child({number})")
    return [cell.text for cell in cells]


def test_values_and_directions_under_the_pointer(opened, frames):
    canvas = find(opened, ".panel canvas")
    point_at(opened, canvas, *SOURCE)
    wait(opened, lambda: find(opened, ".panel .value").text == "5,000")
    longitude, latitude = frames[0]["T"].xy_to_angle(*map(float, SOURCE))
    text = find(opened, ".where").text.replace("−", "-")
    found = [float(part.split()[1].rstrip("°")) for part in text.split(",")]
    assert found[0] == pytest.approx(longitude / core.G3Units.deg, abs=0.002)
    assert found[1] == pytest.approx(latitude / core.G3Units.deg, abs=0.002)


@among_all
def test_pictures_zoom_by_buttons_wheel_and_keys(opened):
    from selenium.webdriver import ActionChains, Keys
    from selenium.webdriver.common.actions.wheel_input import ScrollOrigin

    canvas, other = find_all(opened, ".panel canvas")
    whole, other_whole = picture_of(opened, canvas), picture_of(opened, other)
    opened.execute_script("arguments[0].scrollIntoView({block: 'center'})", canvas)
    find(opened, "[data-zoom='1.5']").click()
    wait(opened, lambda: picture_of(opened, canvas) != whole)
    assert picture_of(opened, other) != other_whole  # they zoom together
    find(opened, "[data-zoom='0']").click()
    wait(opened, lambda: picture_of(opened, canvas) == whole)
    canvas.click()
    origin = ScrollOrigin.from_element(canvas)
    ActionChains(opened).scroll_from_origin(origin, 0, -400).perform()
    canvas.send_keys(Keys.ARROW_LEFT)
    spoken = find(opened, ".spoken")
    assert "zoom 2.2" in spoken.get_attribute("textContent")
    canvas.send_keys("+")
    assert "zoom 3.3" in spoken.get_attribute("textContent")
    canvas.send_keys("0")
    assert "zoom 1.0" in spoken.get_attribute("textContent")


@among_all
def test_pictures_are_pinched_and_moved_by_fingers(opened):
    def touch(kind, *points):
        points = [{"x": x, "y": y, "id": number} for number, (x, y) in enumerate(points)]
        event = {"type": kind, "touchPoints": points}
        opened.execute_cdp_cmd("Input.dispatchTouchEvent", event)

    opened.execute_cdp_cmd("Emulation.setTouchEmulationEnabled", {"enabled": True})
    canvas = find(opened, ".panel canvas")
    opened.execute_script("arguments[0].scrollIntoView({block: 'center'})", canvas)
    box = opened.execute_script("return arguments[0].getBoundingClientRect().toJSON()", canvas)
    x, y = box["left"] + box["width"] / 2, box["top"] + box["height"] / 2
    touch("touchStart", (x - 20, y))
    touch("touchStart", (x - 20, y), (x + 20, y))
    for apart in (40, 60, 80):
        touch("touchMove", (x - apart, y), (x + apart, y))
    touch("touchEnd")
    canvas.send_keys("+")  # by 1.5, and says how things are
    assert "zoom 6.0" in find(opened, ".spoken").get_attribute("textContent")


@among_all
def test_another_map_can_be_chosen(opened):
    from selenium.webdriver.support.ui import Select

    Select(find(opened, "#map")).select_by_visible_text("95GHz")
    wait(opened, lambda: find(opened, "#viewer").get_attribute("data-ready") == "95GHz")
    assert len(find_all(opened, ".panel")) == 2


@among_all
def test_values_that_have_not_arrived_are_loading(opened):
    from selenium.webdriver.support.ui import Select

    opened.execute_script(
        "const quick = numbersOf;"
        "const gate = new Promise((open) => { window.arrive = open; });"
        "numbersOf = async (plane) => { await gate; return quick(plane); };"
    )
    Select(find(opened, "#map")).select_by_visible_text("95GHz")
    point_at(opened, find(opened, ".panel canvas"), *SOURCE)
    value = find(opened, ".panel .value")
    wait(opened, lambda: value.text == "loading")
    opened.execute_script("window.arrive()")
    wait(opened, lambda: value.text == "5,000")


@among_all
def test_ledger_sorts_searches_and_turns_pages(opened):
    status = find(opened, "#ledger-table .status")
    wait(opened, lambda: status.text == "1–25 of 3,002")
    heads = find_all(opened, "#ledger-table thead th")
    weight = next(head for head in heads if "Weight" in head.text)
    weight.find_element("tag name", "button").click()
    assert weight.get_attribute("aria-sort") == "ascending"
    assert column(opened, 5)[0] == "field/1234"  # the least weight
    weight.find_element("tag name", "button").click()
    assert weight.get_attribute("aria-sort") == "descending"
    assert column(opened, 5)[0] != "field/1234"
    search = find(opened, "#ledger-table input")
    search.send_keys("obs_01234 150")
    assert column(opened, 5) == ["field/1234"]
    assert status.text == "1–1 of 1 found, 3,002 in all"
    search.clear()
    search.send_keys("nowhere")
    assert status.text == "None of 3,002 is found"
    search.clear()
    search.send_keys("obs")
    find(opened, "#ledger-table [data-to=last]").click()
    assert status.text == "3,001–3,002 of 3,002"


@among_all
def test_outliers_are_marked_and_listed(opened):
    marks = find_all(opened, ".contribution[open] .outlier title")
    texts = [mark.get_attribute("textContent") for mark in marks]
    assert [text.split(":")[0] for text in texts] == ["field/1234"]
    assert find(opened, ".outliers tbody td").text == "field/1234"


def widths(browser, width):
    """How wide a page is that is shown so wide, and how wide the part is that is seen."""
    size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    try:
        root = "document.documentElement"
        return browser.execute_script(f"return [{root}.scrollWidth, {root}.clientWidth]")
    finally:
        browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


@among_all
@pytest.mark.parametrize("width", [360, 768, 1366])
def test_nothing_is_wider_than_the_screen(opened, width):
    wide, shown = widths(opened, width)
    assert wide == shown <= width


@among_all
def test_not_even_names_without_an_end(browser, tmp_path):
    frame = map_frame(outlier=1, left_out=[LeftOut("f" * 400, -1, "r" * 400)], map_id="I" * 400)
    browser.get(f"file://{write_report(write_maps(tmp_path / 'coadd.g3', frame))}")
    wide, shown = widths(browser, 360)
    assert wide == shown <= 360


@among_all
def test_all_controls_have_names(opened):
    """As a screen reader would read them."""
    selector = "button, input, select, canvas, svg[role=img], [role=region]"
    unnamed = [
        one.get_attribute("outerHTML")[:80]
        for one in find_all(opened, selector)
        if one.is_displayed() and not one.accessible_name
    ]
    assert unnamed == []
