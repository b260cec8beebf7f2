"""`composir score`: a prediction file in, the benchmark's numbers out, without torch and without pictures."""

from __future__ import annotations

import json
import subprocess
import sys


def test_circo_as_text_and_as_json(cli, shared_data):
    root = shared_data / "circo"
    call = ("score", root / "submission_examples/submission_val.json", "--data", "circo", "--root", root)
    done = cli(*call)
    assert done.code == 0, done.err
    assert "circo: 220 queries, gallery not known (known in part: image_info_unlabeled2017.json is missing)" in done.out
    assert "  mAP@5                                  0.49 (0.1-1.1)\n" in done.out
    assert "warning: circo: the list of its gallery is not at hand" in done.out
    done = cli(*call, "--json")
    found = json.loads(done.out)
    assert {"protocol", "tasks", "average", "warnings"} <= set(found)
    assert round(found["tasks"][0]["metrics"]["mAP@10"], 4) == 0.5178
    assert found["data"] == {"name": "circo", "root": str(root.resolve()), "split": "val", "arguments": {}}
    assert found["protocol"]["files"][0]["kind"] == "circo"


def fashion(shared_data, tmp_path, category):
    records = json.loads((shared_data / f"fashioniq/captions/cap.{category}.val.json").read_text("utf-8"))
    path = tmp_path / f"{category}.val.pred.json"
    path.write_text(json.dumps([{**r, "ranking": [r["candidate"], r["target"]]} for r in records]), encoding="utf-8")
    return path


def test_fashioniq_in_three_files_and_with_an_option(cli, shared_data, tmp_path):
    files = [fashion(shared_data, tmp_path, category) for category in ("dress", "shirt", "toptee")]
    done = cli("score", *files, "--data", "fashioniq", "--root", shared_data / "fashioniq", "--json")
    assert done.code == 0, done.err
    found = json.loads(done.out)
    assert [task["metrics"]["R@1"] for task in found["tasks"]] == [0, 0, 0]
    assert found["average"] == {"R@10": 100, "R@50": 100, "Avg (Bi-BLIP4CIR, PANDA, MAPNet)": 100}
    done = cli("score", files[0], "--data", "fashioniq", "--root", shared_data / "fashioniq", "--option", "gallery=val")
    assert "dress: 2,017 queries, gallery 2,628 (VAL split (references and targets))" in done.out
    assert "warning: no 'R@10': it needs the files of shirt, toptee" in done.out


def test_a_category_may_be_named(cli, shared_data, tmp_path):
    file = fashion(shared_data, tmp_path, "dress")
    call = ("score", file, "--data", "fashioniq", "--root", shared_data / "fashioniq", "--category")
    assert cli(*call, "dress").code == 0
    done = cli(*call, "dres")
    assert (done.code, "did you mean 'dress'" in done.err) == (1, True)


def test_errors_are_one_line_without_a_traceback(cli, shared_data, tmp_path):
    root = shared_data / "circo"
    sample = root / "submission_examples/submission_val.json"
    broken = tmp_path / "broken.json"
    broken.write_text('{"0": [1', encoding="utf-8")
    for arguments, said in (
        ((broken, "--data", "circo", "--root", root), "is not JSON"),
        ((tmp_path / "none.json", "--data", "circo", "--root", root), "none.json: there is no such file"),
        ((sample, "--data", "circo", "--root", root, "--split", "test"), "are not public"),
        ((sample, "--data", "circo", "--root", root, "--split", "dev"), "'dev'"),
        ((sample, "--data", "cirr", "--root", shared_data / "cirr"), "has neither the key 'version' nor 'metric'"),
        ((sample, "--data", "circle", "--root", root), "did you mean"),
        ((sample, "--data", "lasco", "--root", root), "'lasco'"),
        ((sample, "--data", "circo", "--root", tmp_path / "none"), "is missing"),
        ((sample, "--data", "circo", "--root", root, "--option", "gallery=val"), "'gallery'"),
    ):
        done = cli("score", *arguments)
        assert done.code == 1, arguments
        assert said in done.err
        assert done.err.startswith("error: ")
        assert done.err.count("\n") == 1


def test_scoring_imports_no_torch(shared_data):
    code = (
        "import sys; from pathlib import Path; from composir.cli.score import score; root = Path(sys.argv[1]); "
        "score([root / 'submission_examples/submission_val.json'], data='circo', root=root); "
        "sys.exit(str({'torch', 'transformers'} & set(sys.modules) or ''))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(shared_data / "circo")], capture_output=True, text=True, check=False
    )
    assert not done.stderr.strip()
    assert "mAP@10" in done.stdout
