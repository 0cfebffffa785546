"""The front door: quick, light, and clear about what is wrong."""

from __future__ import annotations

import subprocess
import sys
import time

import pytest

from gated.cli.main import COMMANDS, main

TASKS = ("vision", "speech", "timeseries")


def run(*argv: str, cwd: str | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "gated", *argv], capture_output=True, text=True, cwd=cwd, check=False)


@pytest.mark.parametrize("argv", [["--help"], *([task, "--help"] for task in TASKS)], ids=" ".join)
def test_help_imports_no_torch(argv: list[str]) -> None:
    code = f"import sys; from gated.cli.main import main; main({argv!r}); sys.exit('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "commands:" in done.stdout


def test_help_is_no_slower_than_a_few_bare_interpreters() -> None:
    def best(*command: str) -> float:
        times = []
        for _ in range(5):
            start = time.perf_counter()
            subprocess.run([sys.executable, *command], capture_output=True, check=True)
            times.append(time.perf_counter() - start)
        return min(times)

    # side by side, because this machine may be busy: `import argparse` alone is the yardstick
    assert best("-m", "gated", "--help") < 5 * best("-c", "import argparse, traceback, importlib.metadata")


def test_importing_gated_imports_no_torch() -> None:
    code = "import sys, gated; assert 'torch' not in sys.modules; assert set(gated.__all__) <= set(dir(gated))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_typo_is_one_message_with_exit_code_2(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["visoin", "fit"]) == 2
    err = capsys.readouterr().err
    assert "visoin" in err
    assert "did you mean 'vision'" in err
    assert "Traceback" not in err


@pytest.mark.parametrize("task", TASKS)
def test_an_unknown_command_of_a_task(task: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([task, "fitt"]) == 2
    assert "did you mean 'fit'" in capsys.readouterr().err


def test_debug_shows_the_traceback() -> None:
    done = run("visoin", "--debug")
    assert done.returncode != 0
    assert "Traceback" in done.stderr


def test_a_foreign_tasks_package_is_named_not_used(tmp_path) -> None:
    (tmp_path / "tasks.py").write_text("raise SystemExit('the decoy ran')\n")
    (tmp_path / "tasks.py").write_text("x = 1\n")
    done = subprocess.run(
        [sys.executable, "-c", "from gated.cli.main import main; raise SystemExit(main(['models']))"],
        capture_output=True, text=True, cwd=tmp_path, check=False,
    )  # fmt: skip
    assert done.returncode == 2, done.stderr
    assert "another package named 'tasks'" in done.stderr
    assert "tasks.py" in done.stderr


@pytest.mark.parametrize("command", ["models", "mixers", "ops", "configs", "doctor"])
def test_info_commands_speak_json_and_tables(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    import json

    assert main([command, "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert rows
    assert main([command]) == 0
    assert str(next(iter(rows[0].values()))) in capsys.readouterr().out


def test_every_command_of_the_front_door_exists() -> None:
    from importlib import import_module

    tables = [COMMANDS, *(import_module(f"tasks.{task}.cli").COMMANDS for task in TASKS)]
    for table in tables:
        for path, text in table.values():
            module, function = path.split(":")
            assert callable(getattr(import_module(module), function))
            assert text


def test_copying_a_config_never_overwrites(tmp_path, monkeypatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["configs", "--copy", "speech/mossformer_demo"]) == 0
    before = (tmp_path / "mossformer_demo.yaml").read_text()
    assert main(["configs", "--copy", "speech/mossformer_demo"]) == 2
    assert (tmp_path / "mossformer_demo.yaml").read_text() == before
    assert "exists already" in capsys.readouterr().err


def test_a_mistyped_option_is_named_before_the_one_it_was_meant_to_be(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["timeseries", "forecast", "x.csv", "--horizn", "3"]) == 2
    err = capsys.readouterr().err
    assert "unknown option '--horizn'" in err
    assert "did you mean '--horizon'" in err
