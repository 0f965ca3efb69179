"""What Tab completes, in real shells."""

import os
import shutil
import subprocess

import pytest
from patience import HANGS_S

from g3reduce import cli
from g3reduce.choices import ReadyStrategy, choices_of

pytestmark = pytest.mark.skipif("G3REDUCE_TEST_NOTES" in os.environ, reason="is about one process")


@pytest.fixture(scope="module")
def scripts(tmp_path_factory):
    """The script of each shell, by the name of the shell."""
    from g3reduce.cli.completion import script_for

    folder = tmp_path_factory.mktemp("completion")
    found = {}
    for shell in ("bash", "zsh", "tcsh"):
        found[shell] = folder / f"script.{shell}"
        found[shell].write_text(script_for(shell))
    return found


# The words of a command line, of which the last is completed, and what comes of it.
CASES = [
    ([""], set(cli.COMMANDS)),
    (["co"], {"coadd", "convert", "completion"}),
    (["coadd", "--strategy", ""], set(choices_of(ReadyStrategy))),
    (["coadd", "--strategy", "t"], {"tree"}),
    (["coadd", "a.fits", "-c", "--subt"], {"--subtract"}),
    (["coadd", ""], {"a.fits", "b.g3.gz", "season"}),
    (["coadd", "season/"], {"season/obs.g3"}),
    (["coadd", "a.fits", "season/o"], {"season/obs.g3"}),
    (["coadd", "--checkpoint", ""], {"season"}),
    (["coadd", "--table", ""], {"a.fits", "b.g3.gz", "notes.txt", "season", "two words"}),
    (["coadd", "-o", "a"], {"a.fits"}),
    (["diff", "a.fits", "b"], {"b.g3.gz"}),
    (["digest", "--outcome"], set()),
    (["completion", ""], {"bash", "zsh", "tcsh"}),
]


@pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash")
def test_bash_completes(scripts, tmp_path):
    """As bash calls what `complete -F` names: the words in COMP_WORDS, the answer in COMPREPLY."""
    (tmp_path / "season").mkdir()
    for name in ("a.fits", "b.g3.gz", "notes.txt", "two words", "season/obs.g3", "season/log"):
        (tmp_path / name).touch()
    script = f"source {scripts['bash']}\n"
    for words, _ in CASES:
        quoted = " ".join(f"'{word}'" for word in ["g3reduce", *words])
        script += f"COMP_WORDS=({quoted}); COMP_CWORD={len(words)}; _shtab_g3reduce 2>/dev/null\n"
        script += 'printf "%s\\t" "${COMPREPLY[@]}"; echo\n'
    script += "complete -p g3reduce\n"
    done = subprocess.run(
        ["bash", "--norc", "-c", script],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=HANGS_S,
    )
    assert not done.stderr
    *answers, how = done.stdout.splitlines()
    found = [set(filter(None, answer.split("\t"))) for answer in answers]
    assert found == [expected for _, expected in CASES]
    assert "-o default" in how


@pytest.mark.parametrize("shell", ["zsh", "tcsh"])
def test_other_shells_understand_their_scripts(shell, scripts, tmp_path):
    if shutil.which(shell) is None:
        pytest.skip(f"there is no {shell}")
    if shell == "zsh":
        (tmp_path / "_g3reduce").write_text(scripts[shell].read_text())
        script = f"fpath=({tmp_path} $fpath); autoload -U compinit; compinit -u -D; "
        script += "autoload +X _g3reduce && print $_comps[g3reduce]"
    else:
        script = f"source {scripts[shell]}; complete | head -1"
    done = subprocess.run(
        [shell, "-f", "-c", script], capture_output=True, text=True, timeout=HANGS_S, cwd=tmp_path
    )
    assert done.returncode == 0
    assert not done.stderr
    assert "g3reduce" in done.stdout


def test_hidden_options_are_not_completed(scripts):
    for script in scripts.values():
        text = script.read_text()
        assert "--signflips" in text
        assert "outcome" not in text
