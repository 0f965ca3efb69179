"""Modes, owners, links and names of output, and of what is in its way."""

from __future__ import annotations

import os
import socket
import stat
import subprocess
import sys
import tempfile

import pytest
from skies import map_frame

from g3reduce import OutputError
from g3reduce.g3files.outputfile import OutputFolder
from g3reduce.pipeline.output import check_output, write_frames


@pytest.fixture
def umask():
    def change(mask):
        before.append(os.umask(mask))

    before = []
    yield change
    os.umask(before[0])


def mode(path):
    return stat.S_IMODE(os.stat(path).st_mode)


@pytest.mark.parametrize("mask", [0o022, 0o027, 0o002, 0o077])
def test_a_new_file_has_the_mode_that_umask_leaves(tmp_path, umask, mask):
    umask(mask)
    write_frames(str(tmp_path / "out.g3"), [map_frame("flat sparse", "hits", 1)])
    assert mode(tmp_path / "out.g3") == 0o666 & ~mask
    folder = OutputFolder(str(tmp_path / "toast"))
    folder.complete()
    folder.publish()
    assert mode(tmp_path / "toast") == 0o777 & ~mask


@pytest.mark.parametrize("old", [0o600, 0o644, 0o664, 0o640, 0o444])
def test_a_file_that_is_replaced_keeps_its_mode(tmp_path, umask, old):
    umask(0o022)
    output = tmp_path / "out.g3"
    output.touch()
    output.chmod(old)

    def frames():
        (there,) = tmp_path.glob(".g3reduce-*")
        assert mode(there) == 0o600, "others may read what is written"
        yield map_frame("flat sparse", "hits", 1)

    write_frames(str(output), frames())
    assert output.stat().st_size > 0
    assert mode(output) == old


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may give files away")
def test_owner_and_group_stay_and_a_setgid_folder_gives_its_group(tmp_path):
    frames = [map_frame("flat sparse", "hits", 1)]
    output = tmp_path / "out.g3"
    output.touch()
    os.chown(output, 1234, 4321)
    write_frames(str(output), frames)
    assert (output.stat().st_uid, output.stat().st_gid) == (1234, 4321)
    team = tmp_path / "team"
    team.mkdir()
    os.chown(team, -1, 4321)
    team.chmod(0o2775)
    write_frames(str(team / "out.g3"), frames)
    assert (team / "out.g3").stat().st_gid == 4321
    folder = OutputFolder(str(team / "toast"))
    folder.complete()
    folder.publish()
    assert (team / "toast").stat().st_gid == 4321
    assert mode(team / "toast") & stat.S_ISGID


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_rights_of_a_group_are_not_given_to_another_one():
    code = (
        "import os, sys; from g3reduce.temporary import TemporaryFile\n"
        "os.setgroups([]); os.setgid(99); os.setuid(99)\n"
        "file = TemporaryFile(sys.argv[1]); file.write(b'new'); file.complete(); file.publish()\n"
    )
    with tempfile.TemporaryDirectory() as folder:  # not in one that others cannot enter
        os.chmod(folder, 0o777)
        output = os.path.join(folder, "out.g3")
        with open(output, "wb") as file:
            os.fchmod(file.fileno(), 0o664)
            os.fchown(file.fileno(), -1, 4321)
        subprocess.run([sys.executable, "-c", code, output], check=True)
        with open(output, "rb") as file:
            assert file.read() == b"new"
        assert os.stat(output).st_gid == 99
        assert mode(output) == 0o644


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_another_users_file_in_a_sticky_folder_is_told_before_the_work():
    code = (
        "import os, sys; from g3reduce.pipeline.output import check_output\n"
        "os.setgid(99); os.setuid(99)\n"
        "check_output(sys.argv[1])\n"
    )
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o1777)
        output = os.path.join(folder, "out.g3")
        with open(output, "wb"):
            pass
        for user, code_expected in ((0, 1), (99, 0)):
            os.chown(output, user, -1)
            done = subprocess.run(
                [sys.executable, "-c", code, output], capture_output=True, text=True
            )
            assert done.returncode == code_expected, done.stderr
            assert ("this file is another user's, who alone" in done.stderr) == (user == 0)


def test_of_a_link_the_target_is_replaced_from_the_folder_of_the_target(tmp_path):
    (tmp_path / "links").mkdir()
    (tmp_path / "real").mkdir()
    link = tmp_path / "links" / "out.g3"
    link.symlink_to("../real/coadd.g3")
    check_output(str(link))  # where the target does not exist yet

    def frames():
        (there,) = (tmp_path / "real").iterdir()
        assert there.name.startswith(".g3reduce-")
        yield map_frame("flat sparse", "hits", 1)

    for _ in range(2):
        (tmp_path / "real" / "coadd.g3").unlink(missing_ok=True)
        write_frames(str(link), frames())
    assert link.is_symlink()
    assert os.listdir(tmp_path / "links") == ["out.g3"]
    assert os.listdir(tmp_path / "real") == ["coadd.g3"]


def refused(file):
    with pytest.raises(OutputError) as caught:
        check_output(str(file))
    return str(caught.value)


def test_a_link_to_nowhere_is_told_before_the_work(tmp_path):
    (tmp_path / "out.g3").symlink_to("gone/coadd.g3")
    assert f"there is no folder {tmp_path / 'gone'}" in refused(tmp_path / "out.g3")
    (tmp_path / "round.g3").symlink_to("round.g3")
    assert "this is a link that leads to itself" in refused(tmp_path / "round.g3")


def test_what_is_no_file_is_not_replaced(tmp_path):
    os.mkfifo(tmp_path / "pipe.g3")
    (tmp_path / "null.g3").symlink_to("/dev/null")
    with socket.socket(socket.AF_UNIX) as one:
        one.bind(str(tmp_path / "socket.g3"))
    kinds = {"pipe.g3": "a pipe", "null.g3": "a device", "socket.g3": "a socket"}
    for name, kind in kinds.items():
        assert f"{name}: this is {kind}; expected the name of a file" in refused(tmp_path / name)
    assert set(os.listdir(tmp_path)) == set(kinds)


def test_standard_output_is_refused_with_a_clear_word(tmp_path):
    code = "from g3reduce.pipeline.output import check_output; check_output('/dev/stdout')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 1
    assert "OutputError: /dev/stdout: this is a pipe; expected the name of a file" in done.stderr


def test_a_working_folder_that_was_removed(tmp_path, monkeypatch):
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    assert "out.g3: the working folder cannot be found" in refused("out.g3")
