"""`gated vision` from end to end on tiny checkpoints: fit, predict, explain, export, and what mistakes answer."""

import csv
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import gated
from gated.cli.main import main
from gated.engine.checkpoint import save_weights
from gated.errors import UserError
from tasks.vision.explain import explain
from tasks.vision.models import ConViT, GatedUNet
from tasks.vision.predict import classify

LABELS = ["bright", "dark", "grey", "red"]
NORMAL = {"mean": [0.5] * 3, "std": [0.5] * 3}
FACTS = {"kind": "classes", "labels": LABELS, "img_size": [16, 16], "in_chans": 3, **NORMAL}


@pytest.fixture(autouse=True)
def _in_tmp(tmp_path, monkeypatch):
    torch.manual_seed(0)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def classifier(tmp_path) -> Path:
    net = ConViT(4, 3, img_size=16, patch_size=4, embed_dim=16, depth=3, num_local_layers=2)
    return save_weights(net, FACTS, tmp_path / "classifier")


@pytest.fixture
def segmenter(tmp_path) -> Path:
    net = GatedUNet(2, 1, feature_scale=16, gate="multi")
    facts = {"kind": "masks", "labels": ["background", "object"], "in_chans": 1}
    return save_weights(net, facts, tmp_path / "segmenter")


@pytest.fixture
def images(tmp_path) -> list[Path]:
    rng = np.random.default_rng(0)
    paths = []
    for i, size in enumerate([(16, 16), (20, 33), (40, 18)]):
        paths.append(tmp_path / f"photo{i}.png")
        Image.fromarray(rng.integers(0, 255, (*size, 3), dtype=np.uint8)).save(paths[-1])
    return paths


def call(*words) -> int:
    return main(["vision", *map(str, words)])


def test_predict_writes_labels(classifier, images, tmp_path):
    assert call("predict", "--ckpt", classifier, *images, "-o", tmp_path / "deep" / "labels.csv") == 0
    with (tmp_path / "deep" / "labels.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["file", "label", "probability", "label_2", "probability_2", "label_3", "probability_3"]
    assert [row["file"] for row in rows] == [str(path) for path in images]
    for row in rows:
        assert len({row["label"], row["label_2"], row["label_3"]}) == 3
        assert float(row["probability"]) >= float(row["probability_2"]) >= float(row["probability_3"])
    ranking = next(classify(gated.load(classifier), images)).ranking
    assert rows[0]["label"] == ranking[0][0]
    assert sum(p for _, p in ranking) == pytest.approx(1, abs=1e-5)


def test_predict_takes_folders_and_is_the_network(classifier, images, tmp_path):
    assert call("predict", "--ckpt", classifier, tmp_path) == 0
    assert len((tmp_path / "labels.csv").read_text().splitlines()) == 4
    net = gated.load(classifier)
    pixels = torch.from_numpy(np.array(Image.open(images[0]))).permute(2, 0, 1) / 255
    with torch.no_grad():
        by_hand = net((pixels[None] - 0.5) / 0.5)[0].softmax(0)
    ranking = dict(next(classify(net, images)).ranking)
    assert [ranking[label] for label in LABELS] == pytest.approx(by_hand.tolist(), abs=1e-5)


def test_predict_writes_masks(segmenter, images, tmp_path):
    assert call("predict", "--ckpt", segmenter, *images, "-o", tmp_path / "masks") == 0
    for path in images:
        mask = np.array(Image.open(tmp_path / "masks" / path.name))
        assert mask.shape == np.array(Image.open(path)).shape[:2]
        assert set(np.unique(mask)) <= {0, 255}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["notes.txt"], "notes.txt is not an image"),
        (["missing.png"], "image not found: missing.png"),
        (["photo0.png", "--outt", "x.csv"], "--out"),
        (["empty"], "no images in the folder empty"),
    ],
)
def test_predict_mistakes(classifier, images, tmp_path, capsys, words, message):
    (tmp_path / "notes.txt").write_text("not a picture")
    (tmp_path / "empty").mkdir()
    assert call("predict", "--ckpt", classifier, *words) == 2
    err = capsys.readouterr().err
    assert message in err
    assert "Traceback" not in err
    assert not (tmp_path / "labels.csv").exists()


def test_one_bad_image_among_good_ones_leaves_nothing_behind(segmenter, images, tmp_path):
    whole = (tmp_path / "photo1.png").read_bytes()
    (tmp_path / "photo2.png").write_bytes(whole[: len(whole) // 2])
    assert call("predict", "--ckpt", segmenter, *images, "-o", "masks") == 2
    assert not (tmp_path / "masks").exists()


def test_a_wrong_checkpoint_is_named(images, tmp_path, capsys):
    assert call("predict", "--ckpt", "nowhere.ckpt", images[0]) == 2
    assert "checkpoint not found: nowhere.ckpt" in capsys.readouterr().err
    save_weights(ConViT(2, 1, img_size=8, patch_size=4, embed_dim=8, depth=1), {}, tmp_path / "other")
    assert call("predict", "--ckpt", tmp_path / "other", images[0]) == 2
    assert "not trained on images" in capsys.readouterr().err


def test_masks_of_equal_names_do_not_overwrite_each_other(segmenter, images, tmp_path, capsys):
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "photo0.png").write_bytes(images[0].read_bytes())
    assert call("predict", "--ckpt", segmenter, images[0], tmp_path / "more" / "photo0.png") == 2
    assert "same name" in capsys.readouterr().err


@pytest.mark.parametrize("checkpoint", ["classifier", "segmenter"])
def test_explain_draws(checkpoint, images, tmp_path, request):
    folder = request.getfixturevalue(checkpoint)
    assert call("explain", "--ckpt", folder, images[1], "-o", "map.png") == 0
    picture = np.array(Image.open(tmp_path / "map.png").convert("RGB"))
    assert min(picture.shape[:2]) > 200
    assert picture.std() > 10


def test_explain_without_local_or_global_layers(images, tmp_path):
    for num_local_layers in (0, 2):
        net = ConViT(4, 3, img_size=16, patch_size=4, embed_dim=16, depth=2, num_local_layers=num_local_layers).eval()
        net.facts = FACTS
        assert explain(net, images[0], tmp_path / "map.png").stat().st_size > 5000


def test_explain_mistakes(classifier, images, capsys):
    assert call("explain", "--ckpt", classifier, images[0], "-o", "map.jpg") == 2
    assert "must be a .png" in capsys.readouterr().err
    net = torch.nn.Linear(1, 1)
    net.facts = {"kind": "masks", "labels": ["a", "b"], "in_chans": 1}
    with pytest.raises(UserError, match="no picture for a Linear"):
        explain(net, images[0], Path("map.png"))


def test_export_safetensors_can_be_predicted_with(classifier, images, tmp_path):
    assert call("export", "--ckpt", classifier, "--format", "safetensors", "-o", tmp_path / "exported") == 0
    first, second = (next(classify(gated.load(p), images)).ranking for p in (classifier, tmp_path / "exported"))
    assert first == second


@pytest.mark.filterwarnings("ignore:The given buffer is not writable")
def test_export_pt2_is_the_network(classifier, tmp_path):
    assert call("export", "--ckpt", classifier, "--format", "pt2", "-o", tmp_path / "net.pt2") == 0
    program = torch.export.load(tmp_path / "net.pt2").module()
    batch = torch.randn(5, 3, 16, 16)
    torch.testing.assert_close(program(batch), gated.load(classifier)(batch))


def test_export_mistakes(classifier, tmp_path, capsys):
    assert call("export", "--ckpt", classifier, "--format", "pt2", "-o", "net.bin") == 2
    assert "must end in .pt2" in capsys.readouterr().err
    assert call("export", "--ckpt", classifier, "--format", "tflite", "-o", "net") == 2
    assert "tflite" in capsys.readouterr().err
    assert sorted(p.name for p in tmp_path.iterdir()) == ["classifier"]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # the exporter's own
def test_export_onnx_is_the_network(classifier, tmp_path):
    for package in ("onnx", "onnxscript", "onnxruntime"):
        pytest.importorskip(package)
    import onnxruntime

    assert call("export", "--ckpt", classifier, "--format", "onnx", "-o", tmp_path / "net.onnx") == 0
    session = onnxruntime.InferenceSession(tmp_path / "net.onnx", providers=["CPUExecutionProvider"])
    batch = torch.randn(5, 3, 16, 16)
    (logits,) = session.run(None, {session.get_inputs()[0].name: batch.numpy()})
    torch.testing.assert_close(torch.from_numpy(logits), gated.load(classifier)(batch), rtol=1e-4, atol=1e-5)
