"""Files that try to make whoever reads them run code, and a process that watches whether they do.

    python tests/support/hostile.py FOLDER [all]

The process coadds, stitches and lists files of each kind that are not hostile, so that all modules
are imported. From then on it notes each event of Python's that means that code came from data, and
does the same with hostile files. It prints how many it read, and what it noted. In these files one
key holds what spt3g may evaluate: one of those that coadds have, or with "all" any text in the
source that may be a key. Without "all", only some of the files and checkpoints are tried.
"""

from __future__ import annotations

import ast
import contextlib
import io
import itertools
import logging
import os
import pickle
import re
import shutil
import signal
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import faults
import google_crc32c
import scans
import skies
from spt3g import core

import g3reduce
from g3reduce import MPIMapCoadder, cli, coadd_files
from g3reduce.jobs.checkpointset import Manifest, sealed, unsealed

# What Python tells of before it runs, loads or looks up code. A coadd needs none of these.
EVENTS = {
    *("exec", "compile", "import", "marshal.loads", "marshal.load", "code.__new__"),
    *("pickle.find_class", "cpython.run_string", "ctypes.dlopen", "ctypes.dlsym"),
    *("os.system", "os.exec", "os.posix_spawn", "os.spawn", "os.fork", "subprocess.Popen"),
}


class Evil:
    """Its text is a program, and so is its pickle."""

    def __init__(self, ran: str):
        self.ran = ran

    def __repr__(self) -> str:
        return f"open({self.ran!r}, 'a').write('ran')"

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return eval, (repr(self),)


def evil_values(ran: str) -> list[core.G3FrameObject]:
    """Objects that spt3g evaluates when it is asked for what is in them."""
    config = core.G3ModuleConfig()
    config.instancename, config.modname = "evil", "g3reduce.MPIMapCoadder"
    for name in ("0", "file", "frame", "T", "a", "input", "reason"):
        config[name] = Evil(ran)
    info, inside = core.G3PipelineInfo(), core.G3MapFrameObject()
    info.modules.append(config)
    inside["T"] = inside["file"] = inside["a"] = config
    return [config, info, inside]


def evil_bytes(ran: str) -> dict[str, bytes]:
    """Whole files, by the name of what they are."""
    evil = Evil(ran)
    array = io.BytesIO()
    array.write(b"\x93NUMPY\x01\x00v\x00{'descr': '|O', 'fortran_order': False, 'shape': (1,)}")
    array.write(b" " * (128 - len(array.getvalue()) - 1) + b"\n" + pickle.dumps([evil]))
    return {
        "pickle": pickle.dumps(evil),
        "array": array.getvalue(),
        "script": f"#!/usr/bin/env python\n{evil!r}\n".encode(),
        "yaml": f"!!python/object/apply:eval [{repr(evil)!r}]\n".encode(),
        "json": f'{{"py/reduce": [{{"py/function": "builtins.eval"}}, [{repr(evil)!r}]]}}'.encode(),
    }


KEYS = (
    *("Id", "T", "Wunpol", "H", "SourceName", "ObservationID", "InputMapIds", "InputFiles"),
    *("Ledger", "LedgerNumbers", "LeftOut", "ExactLimbs", "SkippedPixels"),
)


def keys_of_package() -> list[str]:
    """Whatever in the source may be the key of a frame."""
    found = set()
    for path in Path(g3reduce.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.update(re.findall(r"^[A-Z][A-Za-z]*$", node.value))
    return sorted(found)


def good_files(folder: Path) -> dict[str, str]:
    """A file of each kind that can be read."""
    first, second = skies.write_files(folder, 2, "flat sparse", "hits")
    rng = scans.np.random.default_rng(1)
    frames = scans.an_observation(rng, (7, 5), detectors="ab")
    (scan,) = scans.write_files(folder, frames, 1, "scans")
    coadd = str(folder / "coadd.g3")
    coadd_files([first], coadd, collate=True, **_KEEP)
    return {"maps": second, "scans": scan, "coadd": coadd}


# A coadd that has all that one can have in its frames.
_KEEP: dict[str, object] = {"reproducible": True, "record_obs_id": True, "nonfinite": "skip"}


def hostile_files(good: dict[str, str], keys: Sequence[str], ran: str) -> list[str]:
    """Copies of good files, in each of which one key holds an object that is evaluated."""
    made = []
    for name, file in good.items():
        frames = list(core.G3File(file))
        for number, evil in enumerate(evil_values(ran)):
            for key in keys if number == 0 else ("Id", "Ledger"):
                made.append(f"{file.removesuffix('.g3')}_{name}_{key}_{number}.g3")
                with core.G3Writer(made[-1]) as writer:
                    for frame in frames:
                        writer(_with(frame, key, evil))
    return made


def checkpoint_of(good: dict[str, str], folder: Path) -> list[str]:
    """A command that goes on from checkpoints in a folder, after it was stopped there."""
    output = str(folder / "resumed.g3")
    kept = folder / "checkpoints"
    shutil.rmtree(kept, ignore_errors=True)
    command = ["coadd", good["coadd"], good["maps"], "-o", output, "--collate"]
    command += ["--checkpoint", str(kept), "--resume"]
    take = MPIMapCoadder.take

    def stop(coadder: MPIMapCoadder, frame: core.G3Frame) -> object:
        """Stop behind the first map."""
        os.kill(os.getpid(), signal.SIGTERM)
        return take(coadder, frame)

    MPIMapCoadder.take = stop
    code = watched(command)
    MPIMapCoadder.take = take
    assert code == 75, code
    return command


def hostile_checkpoints(kept: Path, keys: Sequence[str], ran: str) -> Iterator[str]:
    """Change what is in a folder of checkpoints; yield what it is each time."""
    (manifest,) = kept.glob("set-*.json")
    files = {path: path.read_bytes() for path in kept.iterdir()}
    found = Manifest.from_bytes(files[manifest])
    (member,) = found.members

    def restore() -> None:
        for path in kept.iterdir():
            path.unlink()
        for path, content in files.items():
            path.write_bytes(content)

    for name, content in evil_bytes(ran).items():
        restore()
        manifest.write_bytes(content)
        yield f"{name} as a manifest"
    odd = (None, 5, "x", [], [[]], {}, [{}], {"a": 1}, True, -1, 1e300, [5], ["x"])
    for name in ("set", "files", "written", "options", "inputs", "package"):
        for value in odd:
            restore()
            body = unsealed(files[manifest]) | {name: value}
            body.pop("crc32c", None)
            manifest.write_bytes(sealed(body))
            yield f"{name} of a manifest is {value!r}"
    for name in member._fields:
        for value in odd:
            restore()
            changed = replace(found, members=(member._replace(**{name: value}),))
            manifest.write_bytes(changed.to_bytes())
            yield f"{name} of a rank is {value!r}"
    state = kept / member.name
    for key in ("SumEntries", *keys):
        for evil in (*evil_values(ran), core.G3String("{"), core.G3String("[[1]]")):
            restore()
            with core.G3Writer(str(state)) as writer:
                for frame in core.G3File(_copy_of(files[state], kept.parent)):
                    writer(_with(frame, key, evil))
            data = state.read_bytes()
            about = {"size": len(data), "crc32c": google_crc32c.value(data)}
            changed = replace(found, members=(member._replace(**about),))
            manifest.write_bytes(changed.to_bytes())
            yield f"{key} of a state is a {type(evil).__name__}"


def _copy_of(content: bytes, folder: Path) -> str:
    file = folder / "state.g3"
    file.write_bytes(content)
    return str(file)


def _with(frame: core.G3Frame, key: str, value: core.G3FrameObject) -> core.G3Frame:
    changed = core.G3Frame(frame.type)
    for name in frame.keys():  # noqa: SIM118 (no dictionary)
        if name != key:
            changed[name] = frame[name]
    changed[key] = value
    return changed


def watched(arguments: list[str]) -> int:
    """The exit code of a command of ours."""
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        try:
            return cli.main(arguments)
        except SystemExit as end:
            return end.code


def read_in_all_ways(file: str, good: dict[str, str], folder: Path) -> int:
    """Give a file to all that reads files; return how many of these `N_WAYS` have refused it."""
    other, out = good["maps"], str(folder / "out.g3")
    refused = 0
    for arguments in (
        ["coadd", other, file, "--collate", "-o", out, "--record-obs-id"],
        ["coadd", other, file, "--collate", "-o", out, "--reproducible"],
        ["digest", file],
        ["stitch", file, "-o", out],
    ):
        refused += watched(arguments) != 0
    try:
        pipe = core.G3Pipeline()
        pipe.Add(g3reduce.MPIFileReader, mpicomm=None, files=[file, [other]])
        pipe.Add(g3reduce.MPIMapCoadder(None, collate=True))
        pipe.Add(g3reduce.MPIAccumulator(None, extractfunc=lambda frame: None))
        pipe.Run()
    except Exception:  # also that of the user's own module
        refused += 1
    return refused


N_WAYS = 5


def main(folder: Path, keys: Sequence[str]) -> None:
    """Read good files, then hostile ones."""
    logging.disable(logging.CRITICAL)
    core.set_log_level(core.G3LogLevel.LOG_FATAL)
    ran = str(folder / "ran")
    good = good_files(folder)
    cut = f"{good['maps']}.cut.g3"
    shutil.copy(good["maps"], cut)
    faults.cut_in_pixels(cut, scans.np.random.default_rng(1))
    hostile = hostile_files(good, keys, ran)
    for name, content in evil_bytes(ran).items():
        for ending in (".g3", ".g3.gz", ".txt"):
            hostile.append(str(folder / f"{name}{ending}"))
            Path(hostile[-1]).write_bytes(content)
    thorough = keys is not KEYS
    hostile = hostile if thorough else hostile[::2]
    for file in (*good.values(), cut, hostile[-1]):  # what they import, is imported
        read_in_all_ways(file, good, folder)

    noted: list[str] = []
    armed = False

    def note(event: str, arguments: tuple[object, ...]) -> None:
        if armed and event in EVENTS and not _is_ours(event, arguments):
            noted.append(f"{event} {arguments!r}"[:300])

    sys.addaudithook(note)
    watched(checkpoint_of(good, folder))  # what this imports, is imported
    command = checkpoint_of(good, folder)
    refused = taken = 0
    checkpoints = hostile_checkpoints(folder / "checkpoints", keys, ran)
    for what in itertools.islice(checkpoints, None, None, 1 if thorough else 7):
        armed = True
        try:
            taken += watched(command) == 0
        except Exception as error:
            print(f"{what}: {error!r}")
        armed = False
        for line in noted:
            print(f"{what}: {line}")
        noted.clear()
    for file in hostile:
        armed = True
        found = read_in_all_ways(file, good, folder)
        armed = False
        refused += found
        for line in noted:
            print(f"{os.path.basename(file)}: {line}")
        noted.clear()
    print(f"went on from {taken} checkpoints")
    print(f"ran {os.path.exists(ran)} in {len(hostile)} files")
    print(f"read {N_WAYS * len(hostile)} times, refused {refused} times")
    armed = True
    evil_values(ran)[0]["a"]
    pickle.loads(evil_bytes(ran)["pickle"])
    armed = False
    print(f"control: {sorted({line.split()[0] for line in noted})}, ran {os.path.exists(ran)}")


def _is_ours(event: str, arguments: tuple[object, ...]) -> bool:
    """Whether code runs that is in a file of Python or of a package, as modules do."""
    return event == "exec" and os.path.isfile(getattr(arguments[0], "co_filename", ""))


if __name__ == "__main__":
    main(Path(sys.argv[1]), keys_of_package() if sys.argv[2:] == ["all"] else KEYS)
