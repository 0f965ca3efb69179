"""Work that was stopped goes on from its checkpoints, or says why it cannot."""

import contextlib
import fcntl
import json
import os
import re
import shutil
import signal

import google_crc32c
import pytest
import skies
from choices import ALL, some_of
from spt3g import core
from spt3gcoadds import by_spt3g

from g3reduce import InputError, OutputError, Stopped, UsageError, coadd_files
from g3reduce.g3files.outputfile import OutputFile
from g3reduce.jobs import checkpointcommit, checkpoints
from g3reduce.jobs.mapopener import MapOpener

OPTIONS = {"collate": True}


@pytest.fixture(autouse=True)
def no_pause(monkeypatch):
    """Let checkpoints follow each other as fast as they can."""
    monkeypatch.setattr(checkpoints, "_COST", 0)
    monkeypatch.setattr(checkpointcommit, "_LOOK_S", 0)


@pytest.fixture
def place(tmp_path, monkeypatch):
    """The current folder, with files of maps."""
    monkeypatch.chdir(tmp_path)
    skies.write_files(".", 6, "flat sparse", "polarized")
    return tmp_path


def files_of(place):
    return sorted(str(path.relative_to(place)) for path in place.glob("obs_*.g3"))


def coadd(place, *, files=None, output="out.g3", **options):
    options = {**OPTIONS, "checkpoint": "ck", **options}
    return coadd_files(files or files_of(place), output, **options)


@contextlib.contextmanager
def when_opened(file, act):
    """Do something when this process opens a file."""
    original = MapOpener.frames

    def frames(self, name, piece):
        if os.path.basename(name) == file:
            act()
        return original(self, name, piece)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(MapOpener, "frames", frames)
        yield


def signal_at(file, number=signal.SIGUSR1):
    """Send a signal to this process when it opens a file."""
    return when_opened(file, lambda: os.kill(os.getpid(), number))


def stop(place, *, at="obs_003.g3", number=signal.SIGUSR1, **options):
    """Leave checkpoints of a part of the files: two sets, the later one with more in it."""
    options = {"checkpoint_every": 1e-9, **options}
    with signal_at(at, number), pytest.raises(Stopped, match=r"^stopped at \d of 6 files; go on"):
        coadd(place, **options)
    assert len(sets(place)) == 2
    assert not (place / "out.g3").exists()


def sets(place):
    return sorted((place / "ck").glob("set-*.json"))


def file_of(manifest, place):
    (member,) = json.loads(manifest.read_text())["files"]
    return place / "ck" / member["name"]


def assert_right(place):
    """The output is that of spt3g, and nothing but the marker is left of the checkpoints."""
    assert_output_right(place)
    assert sorted(os.listdir("ck")) == ["complete.json", "lock"]


def assert_output_right(place):
    by, _ = by_spt3g(files_of(place), collate=True, output_map_id="Coadd")
    frames = [f for f in core.G3File("out.g3") if f.type == core.G3FrameType.Map]
    for mine, theirs in zip(frames, by.coadd_frames.values(), strict=True):
        assert list(mine["InputFiles"]) == files_of(place)
        assert list(mine["InputMapIds"]) == list(theirs["InputMapIds"])
        for name, skymap in skies.maps_by_plane(theirs).items():
            skies.assert_same_map(skies.maps_by_plane(mine)[name], skymap, name)


@pytest.mark.parametrize(
    "number",
    some_of([signal.SIGUSR1, signal.SIGTERM, signal.SIGINT], fewer=[signal.SIGUSR1]),
)
def test_stopped_by_a_signal_and_resumed(place, number, caplog):
    handlers = [signal.getsignal(n) for n in (signal.SIGUSR1, signal.SIGTERM, signal.SIGINT)]
    stop(place, number=number)
    assert handlers == [
        signal.getsignal(n) for n in (signal.SIGUSR1, signal.SIGTERM, signal.SIGINT)
    ]
    opened = []
    original = MapOpener.frames
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(MapOpener, "frames", lambda s, f, p: [opened.append(f), original(s, f, p)][1])
        coadds = coadd(place, resume=True)
    assert opened == files_of(place)[3:]
    assert "going on from set" in caplog.text
    assert "(3 of 6 files, 6 frames)" in caplog.text
    assert len(coadds.ledger.entries) == 12
    assert_right(place)


@pytest.mark.parametrize(
    ("kind", "weighting"),
    [("flat dense", "hits"), ("healpix ring", "polarized")][: 2 if ALL else 1],
)
def test_a_reproducible_coadd_has_the_bytes_of_an_undisturbed_one(place, kind, weighting):
    skies.write_files(".", 6, kind, weighting)
    coadd_files(files_of(place), "undisturbed.g3", reproducible=True, **OPTIONS)
    for file in ("obs_001.g3", "obs_002.g3", "obs_005.g3"):
        with signal_at(file), pytest.raises(Stopped):
            coadd(place, reproducible=True, resume=True, checkpoint_every=1e-9)
    coadd(place, reproducible=True, resume=True)
    assert (place / "out.g3").read_bytes() == (place / "undisturbed.g3").read_bytes()


def test_stopped_by_time(place):
    with pytest.raises(Stopped):
        coadd(place, stop_after=1e-9)
    coadd(place, resume=True, stop_after=1000)
    assert_right(place)


def test_ids_that_only_earlier_runs_met_are_known(place):
    (place / "obs_000.g3").unlink()
    skies.write_files(".", 1, "flat sparse", "polarized", map_ids=("220GHz",))
    options = {"collate": False, "map_ids": ["220GHz", "90GHz"]}
    stop(place, at="obs_002.g3", **options)
    assert len(coadd(place, resume=True, **options).ledger.entries) == 6


def test_what_is_done_is_not_done_again(place):
    coadd(place)
    before = (place / "out.g3").stat().st_ino
    again = coadd(place, resume=True)
    assert again.from_earlier
    assert list(again) == ["Coadd90GHz", "Coadd150GHz"]
    files = [entry.unit.file for entry in again.ledger.entries]
    assert sorted(files) == sorted(2 * files_of(place))
    skies.assert_same_map(again["Coadd90GHz"]["T"], core.G3File("out.g3").next()["T"])
    outlines = coadd(place, resume=True, keep_maps=False)
    assert outlines["Coadd90GHz"]["T"].npix_allocated == 0
    assert outlines["Coadd90GHz"]["Wpol"].TT.npix_allocated == 0
    assert (place / "out.g3").stat().st_ino == before
    assert_right(place)


@pytest.mark.parametrize(
    "change",
    some_of(
        ["gone", "renamed", "replaced", "an input", "options", "corrupted"],
        fewer=["gone", "renamed", "replaced"],
    ),
)
def test_what_was_done_is_done_anew_if_anything_is_not_as_it_was(place, caplog, change):
    coadd(place)
    options, reason = {}, ""
    if change == "gone":
        (place / "out.g3").unlink()
        reason = "out.g3 is gone"
    elif change == "renamed":
        options = {"output": "other.g3"}
        reason = r"its output was /.*/out\.g3, and is to be other\.g3 now"
    elif change == "replaced":
        shutil.copy("obs_000.g3", "out.g3")
        reason = "out.g3 is not the file that was written then"
    elif change == "an input":
        os.utime("obs_002.g3", (1, 1))
        reason = "obs_002.g3 was changed since"
    elif change == "options":
        options = {"reproducible": True}
        reason = "reproducible was False, now True"
    else:
        content = (place / "ck" / "complete.json").read_bytes()
        (place / "ck" / "complete.json").write_bytes(content[:-20])
        reason = "half-written"
    again = coadd(place, resume=True, **options)
    assert not again.from_earlier
    assert re.search(f"this was complete, but the work begins anew: .*{reason}", caplog.text)
    assert sorted(os.listdir("ck")) == ["complete.json", "lock"]


def test_a_folder_with_checkpoints_is_not_overwritten(place):
    stop(place)
    before = sorted(os.listdir("ck"))
    with pytest.raises(UsageError, match=r"'ck', which holds set \d+ .*Say resume=True"):
        coadd(place)
    assert sorted(os.listdir("ck")) == before


def test_a_folder_of_a_job_that_is_at_work_is_refused(place, limits):
    limits(folder_lock_s=0.0)
    stop(place)
    with open("ck/lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(UsageError, match="another job is at work"):
            coadd(place, resume=True)
    coadd(place, resume=True)
    assert_right(place)


def test_nothing_to_go_on_from_is_a_beginning(place, caplog):
    coadd(place, resume=True)
    assert "there is no checkpoint yet, so the work begins from nothing" in caplog.text
    assert_right(place)


OTHER_JOBS = [
    ("longer", {}, r"obs_001.g3 had \d+ bytes, and has \d+ now"),
    ("touched", {}, "obs_001.g3 was changed since"),
    ("gone", {}, "obs_001.g3 is not among them any more"),
    ("more", {}, "more.g3 was not among them"),
    ("order", {}, "they come in another order"),
    ("", {"collate": False}, "collate was True, now False"),
    ("", {"assign": lambda frame: {"x": 1}, "collate": False}, "collate was True"),
    ("", {"reproducible": True}, "reproducible was False, now True"),
    ("", {"map_ids": ["90GHz"]}, "map_ids was None, now "),
]


@pytest.mark.parametrize(("change", "options", "reason"), OTHER_JOBS if ALL else OTHER_JOBS[::4])
def test_a_set_of_another_job_is_refused(place, change, options, reason):
    stop(place)
    files = files_of(place)
    if change == "longer":
        (place / files[1]).write_bytes((place / files[1]).read_bytes() + b"x")
    elif change == "touched":
        os.utime(files[1], (1, 1))
    elif change == "gone":
        del files[1]
    elif change == "more":
        shutil.copy(files[0], "more.g3")
        files.append("more.g3")
    elif change == "order":
        files.reverse()
    before = sorted(os.listdir("ck"))
    with pytest.raises(InputError, match=f"there is no checkpoint from which to go on: .*{reason}"):
        coadd(place, files=files, resume=True, **options)
    assert sorted(os.listdir("ck")) == before
    assert not (place / "out.g3").exists()


def test_how_sums_are_joined_may_change(place):
    stop(place, strategy="gather")
    coadd(place, resume=True, strategy="owner", result="all")
    assert_right(place)


def spoil(place, how, manifest):
    content = manifest.read_bytes()
    if how == "half-written":
        manifest.write_bytes(content[: len(content) // 2])
    elif how == "another format":
        manifest.write_bytes(content.replace(b'"format": 1', b'"format": 2'))
    elif how == "corrupted manifest":
        manifest.write_bytes(content.replace(b'"frames": ', b'"frames": 1', 1))
    elif how == "a foreign file":
        forged = content.replace(file_of(manifest, place).name.encode(), b"../obs_000.g3")
        body, _, _ = forged.rpartition(b',\n"crc32c')
        seal = b',\n"crc32c": "%08x"\n}\n' % google_crc32c.value(body)
        manifest.write_bytes(body + seal)
    elif how == "missing file":
        file_of(manifest, place).unlink()
    elif how == "short file":
        os.truncate(file_of(manifest, place), 100)
    else:
        file = file_of(manifest, place)
        data = bytearray(file.read_bytes())
        data[len(data) // 2] ^= 1
        file.write_bytes(data)


HOW = {
    "half-written": "half-written or corrupted",
    "another format": r"written in format 2 \(by g3reduce .*\); this version reads format 1",
    "corrupted manifest": "manifest is corrupted: the checksum is wrong",
    "a foreign file": "names '../obs_000.g3', which no rank has written",
    "missing file": r"its file rank-\w+-0-\d+.g3 is missing",
    "short file": r"its file rank-\w+-0-\d+.g3 is half-written or corrupted: it has 100 bytes",
    "corrupted file": r"its file rank-\w+-0-\d+.g3 is corrupted: the checksum is wrong",
}


@pytest.mark.parametrize("how", some_of(list(HOW), fewer=["half-written", "corrupted file"]))
def test_the_older_set_is_taken_if_the_newer_one_is_bad(place, how, caplog):
    stop(place)
    newer = sets(place)[1]
    spoil(place, how, newer)
    number = int(newer.name[4:-5])
    coadd(place, resume=True)
    assert re.search(f"set {number} cannot be used: .*{HOW[how]}", caplog.text)
    assert f"going on from set {number - 1}" in caplog.text
    assert_right(place)


@pytest.mark.parametrize("how", some_of(list(HOW), fewer=["another format", "missing file"]))
def test_there_is_no_good_set(place, how):
    stop(place)
    for manifest in sets(place):
        spoil(place, how, manifest)
    before = sorted(os.listdir("ck"))
    with pytest.raises(InputError, match=f"no checkpoint from which to go on: .*{HOW[how]}"):
        coadd(place, resume=True)
    assert sorted(os.listdir("ck")) == before
    assert not (place / "out.g3").exists()


def test_each_byte_that_flips_is_noticed(tmp_path, monkeypatch):
    """The older set is taken, for each byte of a manifest and of a file, or the coadd is right."""
    monkeypatch.chdir(tmp_path)
    frame = skies.map_frame("flat sparse", "no weights", 1)
    skies.write_frames(".", [frame, skies.map_frame("flat sparse", "no weights", 2)])
    files = ["obs0.g3", "obs1.g3"]
    with signal_at("obs1.g3"), pytest.raises(Stopped):
        coadd(tmp_path, files=files, ignore_missing_weights=True)
    (manifest,) = sets(tmp_path)
    shutil.copytree("ck", "good")
    tried = 0
    for name in (manifest.name, file_of(manifest, tmp_path).name):
        content = (tmp_path / "good" / name).read_bytes()
        step = max(1, len(content) // (500 if ALL else 60))
        for position in range(0, len(content), step):
            spoiled = bytearray(content)
            spoiled[position] ^= 1 << position % 8
            (tmp_path / "ck" / name).write_bytes(spoiled)
            with pytest.raises(InputError, match="set 1 cannot be used"):
                coadd(tmp_path, files=files, ignore_missing_weights=True, resume=True)
            tried += 1
        (tmp_path / "ck" / name).write_bytes(content)
    assert tried > 100
    assert not (tmp_path / "out.g3").exists()
    coadd(tmp_path, files=files, ignore_missing_weights=True, resume=True)
    assert len(core.G3File("out.g3").next()["InputFiles"]) == 2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"checkpoint": None, "resume": True}, "resume=True needs checkpoint=FOLDER"),
        ({"checkpoint": None, "stop_after": 3}, "stop_after needs checkpoint=FOLDER"),
        ({"checkpoint": 3}, "checkpoint is 3; expected the name of a folder"),
        ({"checkpoint": ""}, "checkpoint is ''; expected the name of a folder"),
        ({"checkpoint_every": 0}, "checkpoint_every is 0; expected a number of seconds above 0"),
        ({"checkpoint_every": float("nan")}, "checkpoint_every is nan"),
        ({"stop_after": True}, "stop_after is True"),
        ({"resume": "yes"}, "resume is 'yes'"),
    ],
)
def test_arguments(place, options, message):
    with pytest.raises(UsageError, match=re.escape(message)):
        coadd(place, **options)
    assert not (place / "ck").exists()


def test_a_set_without_any_frame_is_not_committed_before_there_is_one(place):
    with signal_at("obs_001.g3"), pytest.raises(Stopped):
        coadd(place, checkpoint_every=1e-9)
    assert all(json.loads(one.read_text())["files"][0]["frames"] for one in sets(place))


def test_a_coadd_that_grows_in_its_place_is_stopped_and_resumed(place):
    files = files_of(place)
    first = {"collate": True, "reproducible": True, "keep_exact": True, "output_map_id": ""}
    coadd_files(files[:3], "out.g3", **first)
    grow = {"files": files[3:], "add_to": "out.g3", "subtract": [files[1]], "output_map_id": ""}
    coadd_files(grow.pop("files"), "grown.g3", collate=True, **grow)
    with signal_at(files[5]), pytest.raises(Stopped):
        coadd(place, files=files[3:], **grow)
    coadd(place, files=files[3:], resume=True, **grow)
    assert (place / "out.g3").read_bytes() == (place / "grown.g3").read_bytes()
    assert coadd(place, files=files[3:], resume=True, **grow).from_earlier


def test_files_that_are_left_out_stay_so(place):
    """They are neither lost from the list nor come back as good, and a bad one is no obstacle."""
    files = files_of(place)
    with open(files[1], "r+b") as file:
        file.seek(-2000, os.SEEK_END)
        file.write(bytes(64))
    options = {"reproducible": True, "resume": True, "checkpoint_every": 1e-9}
    with pytest.raises(InputError, match="obs_001"):  # after a set with obs_000
        coadd(place, **options)
    options |= {"on_error": "skip"}
    undisturbed = coadd_files(files, "other.g3", collate=True, reproducible=True, on_error="skip")
    with signal_at("obs_003.g3"), pytest.raises(Stopped):
        coadd(place, **options)
    coadds = coadd(place, **options)
    again = coadd(place, **options)
    assert again.from_earlier
    for one in (undisturbed, coadds, again):
        assert [out.file for out in one.left_out] == ["obs_001.g3"]
        assert one.n_given == 6
        assert len(one.ledger.entries) == 10
    assert again.left_out == undisturbed.left_out
    assert (place / "out.g3").read_bytes() == (place / "other.g3").read_bytes()


def test_observations_that_last_are_known_after_a_stop(place):
    """Those of files that are not read again count for later files that name none."""
    files = files_of(place)
    for number in (1, 2, 4):
        frames = [one for one in core.G3File(files[number]) if one.type == core.G3FrameType.Map]
        with core.G3Writer(files[number]) as writer:
            for frame in frames:
                writer(frame)
    options = {"record_obs_id": True, "metadata_lasts": True}
    with signal_at(files[2]), pytest.raises(Stopped):
        coadd(place, **options)
    (coadded, _) = coadd(place, resume=True, **options).values()
    numbers = [1000, 1000, 1000, 1003, 1003, 1005]
    assert list(coadded["InputMapIds"]) == list(
        dict.fromkeys(f"field/{number}/90GHz" for number in numbers)
    )
    assert list(coadded["InputFiles"]) == files


def test_a_signal_while_the_output_is_written_lets_it_be_finished(place, monkeypatch):
    complete = OutputFile.complete

    def asked(self):
        os.kill(os.getpid(), signal.SIGTERM)
        complete(self)

    monkeypatch.setattr(OutputFile, "complete", asked)
    coadd(place)
    assert_right(place)


def test_what_a_run_that_was_killed_at_its_end_left_is_removed(place):
    stop(place)
    shutil.copytree("ck", "kept")
    coadd(place, resume=True)
    for file in os.listdir("kept"):
        shutil.copy(place / "kept" / file, "ck")
    assert coadd(place, resume=True).from_earlier
    assert_right(place)


def test_a_folder_that_is_gone_stops_no_job(place, caplog):
    with when_opened("obs_003.g3", lambda: shutil.rmtree("ck")):
        coadd(place, checkpoint_every=1e-9)
    assert "ck: a checkpoint could not be written (No such file or directory)" in caplog.text
    assert not os.path.exists("ck")
    assert_output_right(place)


def test_a_marker_that_cannot_be_removed_is_told_before_the_work(place):
    os.makedirs("ck/complete.json/a")
    with pytest.raises(OutputError, match=r"ck: complete.json, .* cannot be removed \(Is a dir"):
        coadd(place)
    assert not os.path.exists("out.g3")


def test_without_memory_for_a_checkpoint_the_work_goes_on(place, monkeypatch, caplog):
    def write_member(*arguments):
        raise MemoryError

    monkeypatch.setattr(checkpoints, "write_member", write_member)
    coadds = coadd(place, checkpoint_every=1e-9)
    assert "a checkpoint could not be written (not enough memory)" in caplog.text
    assert len(coadds.ledger.entries) == 12
