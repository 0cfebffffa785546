"""The wheel, installed into an empty environment, does the demo from an empty folder."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("dist")
    subprocess.run([sys.executable, "-m", "build", "--wheel", "--outdir", str(out), str(ROOT)], check=True)
    (built,) = out.glob("gated-*.whl")
    return built


@pytest.mark.slow
def test_the_wheel_holds_what_users_need_and_no_more(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    tops = {name.split("/")[0] for name in names if ".dist-info" not in name}
    assert tops == {"gated", "tasks"}
    for needed in (
        "gated/_configs/vision/convit_digits.yaml",
        "gated/py.typed",
        "tasks/speech/assets/mossformer_demo/model.safetensors",
        "tasks/timeseries/assets/national_illness.csv",
    ):
        assert needed in names
    info = zipfile.ZipFile(wheel).getinfo("tasks/speech/assets/mossformer_demo/model.safetensors")
    assert info.file_size <= 3 * 2**20
    assert any(name.endswith("licenses/LICENSE") for name in names)
    assert any(name.endswith("licenses/NOTICE") for name in names)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_the_demo_runs_from_the_wheel_in_an_empty_environment(wheel: Path, tmp_path: Path) -> None:
    venv.create(tmp_path / "venv", with_pip=True)
    python = tmp_path / "venv" / "bin" / "python"
    uv = shutil.which("uv", path=str(Path(sys.executable).parent))
    install = [uv, "pip", "install", "-p", str(python)] if uv else [str(python), "-m", "pip", "install"]
    subprocess.run([*install, "-q", "-c", str(ROOT / "constraints.txt"), str(wheel)], check=True)

    empty = tmp_path / "empty"
    empty.mkdir()
    clean = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"} | {"PYTHONDONTWRITEBYTECODE": ""}
    done = subprocess.run(
        [str(python.with_name("gated")), "demo"], cwd=empty, env=clean, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    (report,) = empty.glob("runs/demo/*/report.html")
    assert report.stat().st_size > 100_000

    figures = dict(re.findall(r"^  (\S.*?) {2,}(\S+)$", done.stdout, flags=re.MULTILINE))
    assert float(figures["held-out accuracy"]) >= 0.97
    assert float(figures["SI-SDR improvement (dB)"]) >= 2.0
    assert float(figures["Gateformer: test MSE"]) < float(figures["seasonal-naive (52): test MSE"])
