"""Draw the picture of the page about reports, by its own commands: ``python docs/report.py``.

It needs Pillow, selenium, and Debian's ``chromium`` and ``chromium-driver``.
"""

import argparse
import io
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image
from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.support.ui import WebDriverWait

HERE = Path(__file__).parent
PAGE = HERE / "report.md"
WIDTH, HEIGHT = 1100, 860  # pixels


def run_commands():
    """Run the commands of the first example in the current folder."""
    example = re.search(r"```console\n(.*?)```", PAGE.read_text(), re.DOTALL)[1]
    for line in re.findall(r"^\$ g3reduce (.*)$", example, re.MULTILINE):
        subprocess.run([sys.executable, "-m", "g3reduce", *shlex.split(line)], check=True)


def picture_of(page):
    """The upper part of a page, as it is opened."""
    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium")
    for flag in ("headless=new", "no-sandbox", "disable-gpu", "hide-scrollbars"):
        options.add_argument(f"--{flag}")
    driver = webdriver.Chrome(options=options, service=Service(shutil.which("chromedriver")))
    try:
        size = {"width": WIDTH, "height": HEIGHT, "deviceScaleFactor": 1, "mobile": False}
        driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        driver.get(Path(page).absolute().as_uri())
        viewer = driver.find_element("css selector", "#viewer")
        WebDriverWait(driver, 20).until(lambda _: viewer.get_attribute("data-ready"))
        return driver.get_screenshot_as_png()
    finally:
        driver.quit()


def main():
    """Run the commands, and keep what the page looks like."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", nargs="?", default=HERE, type=Path, help="where it goes")
    folder = parser.parse_args().folder.absolute()
    with tempfile.TemporaryDirectory() as work:
        os.chdir(work)
        run_commands()
        found = Image.open(io.BytesIO(picture_of("run.html"))).convert("RGB")
        found.quantize(256).save(folder / "report_page.png", optimize=True)
        os.chdir(folder)


if __name__ == "__main__":
    main()
