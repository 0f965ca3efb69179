"""Draw the pictures of the page of pictures, by its own commands: ``python docs/pictures.py``."""

import argparse
import os
import re
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image

HERE = Path(__file__).parent
PAGE = HERE / "pictures.md"
WIDTH = 1000  # pixels


def run_commands():
    """Run all commands of the page in the current folder."""
    for line in re.findall(r"^\$ g3reduce (.*)$", PAGE.read_text(), re.MULTILINE):
        subprocess.run([sys.executable, "-m", "g3reduce", *shlex.split(line)], check=True)


def save(picture, path):
    """Write a small file: a picture needs few colours."""
    found = Image.open(picture).convert("RGB")
    size = (WIDTH, round(found.height * WIDTH / found.width))
    found.resize(size, Image.Resampling.LANCZOS).quantize(255).save(path, optimize=True)


def main():
    """Run the commands, and keep what they draw."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", nargs="?", default=HERE, type=Path, help="where pictures go")
    folder = parser.parse_args().folder.absolute()
    with tempfile.TemporaryDirectory() as work:
        os.chdir(work)
        run_commands()
        for name in re.findall(r"\(pictures_(\w+)\.png\)", PAGE.read_text()):
            save(f"{name}.png", folder / f"pictures_{name}.png")
        os.chdir(folder)


if __name__ == "__main__":
    main()
