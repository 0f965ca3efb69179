"""Draw the pictures of the pages of recipes, by their own examples: ``python docs/recipes.py``."""

import argparse
import io
import os
import re
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path

import healpy
import numpy as np
from astropy.io import fits
from astropy.wcs import WCS
from matplotlib.figure import Figure
from PIL import Image

import g3reduce
from g3reduce.mpi.launch import mpirun_command, mpirun_environment
from g3reduce.report.graticule import draw_graticule
from g3reduce.report.views import FlatView

HERE = Path(__file__).parent
PAGES = ("recipes", "recipes_others")
FENCE = re.compile(r"^```(python|console)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
SCRIPT = re.compile(r"# mpirun -n (\d+) python (\w+\.py)\n")

UNIT = "μK"
DIVERGING, SEQUENTIAL = "RdBu_r", "viridis"  # both can be told apart by the colour-blind
BLUE, ORANGE, GREEN = "#0072B2", "#E69F00", "#009E73"  # Okabe and Ito


def run_examples():
    """Run all examples of the pages in the current folder; return the names that they leave."""
    names = {"__name__": "__main__"}
    text = "".join((HERE / f"{page}.md").read_text() for page in PAGES)
    for language, code in FENCE.findall(text):
        script = SCRIPT.match(code)
        if script:
            Path(script[2]).write_text(code)
            command = mpirun_command(int(script[1]), [sys.executable, script[2]])
            subprocess.run(command, check=True, env=mpirun_environment())
        elif language == "python":
            exec(code, names)
        else:
            for line in re.findall(r"^\$ g3reduce (.*)$", code, re.MULTILINE):
                subprocess.run([sys.executable, "-m", "g3reduce", *shlex.split(line)], check=True)
    return names


def frames(file):
    """The maps of a file in uK, by their Ids."""
    return {
        frame["Id"]: g3reduce.map_arrays(frame, "uK")
        for frame in g3reduce.formats.map_frames_in(file)
    }


def panels(rows, columns, width=9.0, height=2.4):
    """A figure and its axes."""
    figure = Figure(figsize=(width, height * rows), layout="constrained")
    return figure, figure.subplots(rows, columns, squeeze=False).ravel()


def draw_sky(ax, values, geometry, title, limit, unit=UNIT):
    """One flat-sky map, with its coordinates."""
    ax.set_facecolor("0.88")
    image = ax.imshow(values, origin="lower", cmap=DIVERGING, vmin=-limit, vmax=limit)
    ax.set_title(title, fontsize=10)
    draw_graticule(ax, FlatView(geometry))
    ax.tick_params(labelsize=8)
    bar = ax.figure.colorbar(image, ax=ax, shrink=0.85, pad=0.02, extend="both")
    bar.set_label(unit, fontsize=8)
    bar.ax.tick_params(labelsize=8)


def draw_healpix(ax, values, title, limit):
    """The field of a HEALPix map, as healpy projects it."""
    field = {"rot": (0, -50), "xsize": 200, "ysize": 110, "reso": 5}
    sky = healpy.gnomview(values, **field, return_projected_map=True, no_plot=True)
    draw_plain(ax, sky, title, limit)
    ax.set_xlabel("16.7° by 9.2° at RA 0°, Dec −50°", fontsize=8)


def draw_plain(ax, values, title, limit):
    """An image without coordinates."""
    ax.set_facecolor("0.88")
    image = ax.imshow(values, origin="lower", cmap=DIVERGING, vmin=-limit, vmax=limit)
    ax.set(xticks=[], yticks=[])
    ax.set_title(title, fontsize=10)
    how = {"orientation": "horizontal", "shrink": 0.8, "pad": 0.04, "extend": "both"}
    bar = ax.figure.colorbar(image, ax=ax, **how)
    bar.set_label(UNIT, fontsize=8)
    bar.ax.tick_params(labelsize=8)


def halves(_):
    """T of both halves, their difference on the same scale, and on one of its own."""
    both, (null,) = frames("halves.g3"), [frames("null.g3")["150GHz"]]
    figure, axes = panels(2, 2)
    for ax, title, one, limit in zip(
        axes,
        ("odd", "even", "half their difference", "half their difference, on a finer scale"),
        (both["150GHz_odd"], both["150GHz_even"], null, null),
        (150, 150, 150, 3),
        strict=True,
    ):
        draw_sky(ax, one.T, one.geometry, title, limit)
    return figure


def bundles(_):
    """Q of each bundle."""
    found = sorted(frames("bundles.g3").items())
    figure, axes = panels(2, 2)
    for ax, (name, one) in zip(axes, found, strict=True):
        draw_sky(ax, one.Q, one.geometry, f"{name}: Q", 6)
    return figure


def noise(names):
    """A sign flip on the sky, and the spectra of all of them."""
    flip = frames("flips.g3")["150GHz_signflip000"]
    measured = names["measured"]
    figure, (left, right) = panels(1, 2, height=3.0)
    draw_sky(left, flip.T, flip.geometry, "150GHz_signflip000: T", 2)
    spectra = measured.spectra
    for name, colour in (("TT", BLUE), ("EE", ORANGE), ("BB", GREEN)):
        mean, scatter = spectra.mean[name], spectra.scatter[name]
        right.plot(spectra.ell, mean, color=colour, label=name)
        right.fill_between(spectra.ell, mean - scatter, mean + scatter, color=colour, alpha=0.25)
    right.set(yscale="log", xlabel="multipole $\\ell$")
    right.set_title("mean and scatter of 20 sign flips", fontsize=10)
    right.set_ylabel(f"$C_\\ell$ / {UNIT}$^2$")
    right.legend(fontsize=8)
    return figure


def to_healpy(names):
    """T, Q and U as healpy projects them."""
    figure, axes = panels(1, 3, height=2.7)
    for ax, name, limit in zip(axes, "tqu", (150, 5, 5), strict=True):
        draw_healpix(ax, names[name], name.upper(), limit)
    return figure


def ds9(_):
    """The image of T on the axes of its WCS, as any reader of FITS has it."""
    (image,) = [one for one in fits.open("flat.fits") if one.name == "T"]
    figure = Figure(figsize=(7, 3.6), layout="constrained")
    ax = figure.add_subplot(projection=WCS(image.header))
    ax.set_facecolor("0.88")
    values = np.where(image.data == 0, np.nan, image.data)
    shown = ax.imshow(values, origin="lower", cmap=DIVERGING, vmin=-0.15, vmax=0.15)
    ax.coords.grid(color="0.3", alpha=0.4)
    ax.set(title=f"flat.fits[{image.name}]", xlabel="RA", ylabel="Dec")
    bar = figure.colorbar(shown, ax=ax, shrink=0.8, extend="both")
    bar.set_label(image.header.get("BUNIT", ""))
    return figure


def to_pixell(names):
    """T, E and B."""
    teb = names["teb"]
    height, width = np.degrees(teb.extent())
    figure, axes = panels(1, 3, height=2.7)
    for ax, name, values, limit in zip(axes, "TEB", teb, (150, 8, 8), strict=True):
        draw_plain(ax, values, name, limit)
        ax.set_xlabel(f"{width:.0f}° by {height:.0f}°, East to the left", fontsize=8)
    return figure


def to_toast(_):
    """A scan of a detector, and what it would see in the coadd."""
    found = np.load("rescan.npz")
    part = slice(0, len(found["seconds"]) // 4)
    figure, (ax,) = panels(1, 1, height=2.6)
    for key, colour, label in (
        ("signal", "0.65", "timestream"),
        ("sky", BLUE, "its scan of the coadd"),
    ):
        values = np.where(found["good"][part], found[key][part] * 1e6, np.nan)
        ax.plot(found["seconds"][part], values, color=colour, label=label, linewidth=1.2)
    ax.set(xlabel="time / s", ylabel=f"signal / {UNIT}")
    ax.legend(fontsize=8, loc="upper right")
    return figure


def from_numpy(names):
    """T of the coadd, and of the frame that was made of it."""
    figure, axes = panels(1, 2, height=2.8)
    for ax, name in zip(axes, ("coadd", "frame"), strict=True):
        draw_healpix(ax, g3reduce.map_arrays(names[name], "uK").T, f"{name}: T", 150)
    return figure


def save(figure, path):
    """Write a small file: a picture needs few colours."""
    picture = io.BytesIO()
    figure.savefig(picture, dpi=100)
    Image.open(picture).convert("RGB").quantize(255).save(path, optimize=True)


PICTURES = {
    "halves": halves,
    "bundles": bundles,
    "noise": noise,
    "healpy": to_healpy,
    "ds9": ds9,
    "pixell": to_pixell,
    "toast": to_toast,
    "numpy": from_numpy,
}


def main():
    """Run the examples, and draw."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", nargs="?", default=HERE, type=Path, help="where pictures go")
    folder = parser.parse_args().folder.absolute()
    with tempfile.TemporaryDirectory() as work:
        os.chdir(work)
        names = run_examples()
        for name, draw in PICTURES.items():
            save(draw(names), folder / f"recipes_{name}.png")
        os.chdir(folder)


if __name__ == "__main__":
    main()
