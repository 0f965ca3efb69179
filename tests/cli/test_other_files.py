"""Outputs that are no maps, as a job, a manifest or a table, never replace what a command reads."""

import hashlib

import pytest
import skies

from g3reduce import cli

COMMANDS = {
    "plan": ["--write"],
    "check": ["--write-manifest"],
    "ledger": ["-o"],
    "coadd": ["-o", "sum.g3", "--log-json"],
}


@pytest.fixture
def files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    skies.write_files(tmp_path, 3, "flat sparse", "polarized", map_ids=("90GHz",))
    (tmp_path / "all.txt").write_text("\n".join(sorted(map(str, tmp_path.glob("*.g3")))))
    return [f"obs_{number:03d}.g3" for number in range(3)]


def contents(folder):
    return {file: hashlib.sha256(file.read_bytes()).digest() for file in folder.iterdir()}


@pytest.mark.parametrize("command", COMMANDS)
def test_an_option_without_its_name_does_not_take_the_first_map_for_it(
    command, files, tmp_path, capsys
):
    before = contents(tmp_path)
    assert cli.main([command, *COMMANDS[command], *files]) == 2
    assert f"'{files[0]}', a name of maps; expected one such as" in capsys.readouterr().err
    assert contents(tmp_path) == before


@pytest.mark.parametrize("command", sorted(COMMANDS.keys() - {"ledger"}))
def test_a_list_of_files_is_not_replaced(command, files, tmp_path, capsys):
    before = contents(tmp_path)
    assert cli.main([command, *COMMANDS[command], "all.txt", "@all.txt"]) == 2
    assert "'all.txt', which this command reads or writes" in capsys.readouterr().err
    assert contents(tmp_path) == before


@pytest.mark.parametrize("command", ["plan", "check"])
def test_a_folder_that_is_missing_is_told_before_the_work(
    command, files, tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr("g3reduce.jobs.planning.plan_coadd", None)
    monkeypatch.setattr("g3reduce.jobs.checking.check_files", None)
    assert cli.main([command, *files, *COMMANDS[command], "no/file"]) == 1
    assert "no/file: there is no folder" in capsys.readouterr().err
