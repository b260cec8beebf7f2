"""The engine: pictures, words or both in; ranked pictures out; the image encoder is asked once per reference."""

import shutil
from pathlib import Path

import pytest
import torch
from moved import ids, trained
from PIL import Image, ImageOps

from composir import checkpoint
from composir.backbones import load_backbone
from composir.engine import CACHED, Engine
from composir.errors import ComposirError, GalleryError
from composir.gallery.scan import file_id
from composir.gallery.store import Gallery
from composir.images import ImageError
from composir.indexing import create_gallery, index_folder
from composir.methods import load_method
from composir.similarity import maxsim


def test_a_composed_query_is_ranked_by_the_methods_score(engine, indexed):
    hits = engine.search(indexed / "003.png", "is red", k=5, keep_reference=True, alpha=0.3)
    method = engine.method
    with torch.inference_mode():
        pixels = method.transform("reference")(Image.open(indexed / "003.png"))
        query = method.compose(method.encode_reference(pixels[None]), ["is red"], alpha=0.3)
    scores = maxsim(query, engine.shelf.vectors(range(len(engine.shelf))).float())[0]
    best = scores.argsort(descending=True, stable=True)[:5]
    assert ids(hits) == [engine.shelf.ids[row] for row in best]
    assert [hit.score for hit in hits] == pytest.approx(scores[best].tolist(), abs=1e-5)
    assert [hit.rank for hit in hits] == [1, 2, 3, 4, 5]


def test_a_reference_from_the_gallery_is_dropped_by_default(engine, indexed, tmp_path):
    path = indexed / "003.png"
    own = file_id(path)
    twin = shutil.copy(path, tmp_path / "elsewhere.png")
    for reference in (path, str(path), own, path.read_bytes(), twin):
        assert len(engine.search(reference, k=99)) == 11
        assert own not in ids(engine.search(reference, k=99))
        assert own not in ids(engine.search(reference, "is red", k=99))
        assert ids(engine.search(reference, k=99, keep_reference=True))[0] == own


def test_a_picture_object_has_no_bytes_to_be_known_by(engine, indexed):
    hits = engine.search(Image.open(indexed / "003.png"), k=99)
    assert hits[0].id == file_id(indexed / "003.png")
    assert len(hits) == 12
    assert hits[0].score == pytest.approx(1, abs=2e-3)


def test_a_picture_object_is_turned_upright(engine, tmp_path):
    upright = ImageOps.fit(Image.effect_mandelbrot((60, 48), (-2, -1, 1, 1), 60).convert("RGB"), (60, 48))
    exif = Image.Exif()
    exif[0x0112] = 6
    upright.transpose(Image.Transpose.ROTATE_90).save(tmp_path / "turned.png", exif=exif)
    turned = engine.search(Image.open(tmp_path / "turned.png"), k=3)
    assert turned == engine.search(upright, k=3)


def test_words_alone(engine):
    hits = engine.search(text="is red", k=99)
    with torch.inference_mode():
        query = engine.method.encode_text(["is red"])
    scores = maxsim(query, engine.shelf.vectors(range(len(engine.shelf))).float())[0]
    assert [hit.score for hit in hits] == pytest.approx(scores.sort(descending=True).values.tolist(), abs=1e-5)
    assert engine.search(None, "  is red\n", k=99) == hits


def test_words_alone_need_the_joint_space(engine, monkeypatch):
    class Elsewhere(type(engine.method)):
        def encode_gallery(self, images):
            return super().encode_gallery(images)

    engine.method = Elsewhere(engine.method.backbone)
    with pytest.raises(ComposirError, match="cannot search by words alone"):
        engine.search(text="is red")


def test_nothing_to_search_for(engine):
    for text in ("", "  "):
        with pytest.raises(ComposirError, match="give a picture, words, or both"):
            engine.search(text=text)


def test_changed_words_and_alpha_never_run_the_image_encoder_again(engine, indexed, encoded):
    for alpha in (0.0, 0.25, 0.5, 1.0, None):
        engine.search(indexed / "003.png", "is red", alpha=alpha)
        engine.search(str(indexed / "003.png"), "is blue", alpha=alpha)
        engine.search(file_id(indexed / "003.png"), "has stripes", alpha=alpha)
    assert encoded == [1]


def test_a_gallery_picture_without_words_needs_no_encoder(engine, indexed, encoded):
    engine.search(indexed / "003.png")
    assert encoded == []


def test_equal_picture_objects_are_encoded_once(engine, indexed, encoded):
    for _ in range(3):
        engine.search(Image.open(indexed / "003.png"))
    assert encoded == [1]
    engine.search(Image.open(indexed / "004.png"))
    assert encoded == [1, 1]


def test_the_cache_forgets_the_oldest(engine, encoded):
    pictures = [Image.new("RGB", (8, 8), (i, 0, 0)) for i in range(CACHED + 1)]
    for picture in [*pictures, pictures[-1]]:
        engine.search(picture, k=1)
    assert len(encoded) == CACHED + 1
    engine.search(pictures[0], k=1)
    assert len(encoded) == CACHED + 2


def test_the_ends_of_alpha_are_picture_and_words(engine, indexed):
    path = indexed / "003.png"
    assert ids(engine.search(path, "is red", k=99, keep_reference=True, alpha=1.0)) == ids(
        engine.search(text="is red", k=99)
    )
    ends = ids(engine.search(path, "is red", k=99, alpha=0.0)), ids(engine.search(path, k=99))
    assert ends[0] == ends[1]


def test_controls_that_the_method_does_not_take(engine, indexed, tmp_path):
    other = Engine(load_method("sum", engine.method.backbone), Gallery.open(tmp_path / "g"))
    with pytest.raises(ComposirError, match=r"'sum' takes no 'alpha'; methods that take it: .*slerp"):
        other.search(indexed / "003.png", "is red", alpha=0.5)
    with pytest.raises(ComposirError, match="takes no 'beta'; no method takes it"):
        engine.search(indexed / "003.png", "is red", beta=1.0)
    with pytest.raises(ComposirError, match="alpha"):
        engine.search(indexed / "003.png", "is red", alpha=1.5)
    assert other.search(indexed / "003.png", "is red", alpha=None)


def test_methods_of_one_key_share_a_gallery_and_others_are_refused(engine, tmp_path):
    for name in ("image-only", "text-only", "sum"):
        assert Engine(load_method(name, engine.method.backbone), engine.gallery).search(text="red")
    with pytest.raises(GalleryError, match="siglip-tiny"):
        Engine(load_method("slerp", load_backbone("siglip-tiny")), Gallery.open(tmp_path / "g"))


def test_open_remembers_backbone_and_method(engine, indexed, tmp_path):
    again = Engine.open(tmp_path / "g")
    assert (again.method.name, again.method.backbone.source.name) == ("slerp", "clip-tiny")
    assert again.search(indexed / "001.png", "is red") == engine.search(indexed / "001.png", "is red")
    assert Engine.open(str(tmp_path / "g"), "sum").method.name == "sum"


def test_references_that_are_not_there(engine, tmp_path):
    with pytest.raises(ComposirError, match=r"there is no file .*nowhere.png"):
        engine.search(tmp_path / "nowhere.png")
    with pytest.raises(ComposirError, match="the gallery has no picture 00000000000000000000000000000000"):
        engine.search("0" * 32)
    (tmp_path / "text.png").write_text("hello")
    with pytest.raises(ImageError):
        engine.search(tmp_path / "text.png")


def test_a_gallery_picture_that_is_gone_or_edited(engine, indexed):
    own = file_id(indexed / "003.png")
    shutil.copy(indexed / "004.png", indexed / "003.png")
    assert engine.search(own)  # its vector is still there
    with pytest.raises(GalleryError, match="no longer where it was indexed"):
        engine.search(own, "is red")
    (indexed / "003.png").unlink()
    with pytest.raises(GalleryError, match="no longer where it was indexed"):
        engine.search(own, "is red")


def test_any_of_its_copies_serves_as_the_picture(pictures, tmp_path, tiny_method):
    root = pictures(3)
    shutil.copy(root / "000.png", root / "a copy.png")
    gallery = create_gallery(tmp_path / "g", tiny_method, root)
    index_folder(gallery, tiny_method, root, workers=0)
    engine, own = Engine(tiny_method, gallery), file_id(root / "000.png")
    (root / "000.png").unlink()
    assert len(engine.search(own, "is red")) == 2


def test_an_engine_shows_its_gallery_as_loaded_until_refreshed(engine, indexed, tiny_method):
    (indexed / "003.png").rename(indexed / "renamed.png")
    (indexed / "004.png").unlink()
    index_folder(engine.gallery, tiny_method, indexed, workers=0)
    assert len(engine.search(text="is red", k=99)) == 12
    engine.refresh()
    paths = {hit.path for hit in engine.search(text="is red", k=99)}
    assert paths == {path.name for path in Path(indexed).iterdir()}


def test_less_than_one_answer(engine):
    with pytest.raises(ComposirError, match="k = 0; ask for 1"):
        engine.search(text="red", k=0)


def test_alpha_needs_a_picture_and_words(engine, indexed):
    for question in ({"text": "red"}, {"reference": indexed / "000.png"}):
        with pytest.raises(ComposirError, match="alpha weighs picture against words; give both"):
            engine.search(**question, alpha=0.5)


# Trained methods.


def test_a_gallery_of_a_checkpoint_opens_with_it(pictures, tmp_path):
    root, best = pictures(6), tmp_path / "runs" / "x" / "best.safetensors"
    method = trained(best, alpha=0.3)
    gallery = create_gallery(tmp_path / "g", method, root)
    index_folder(gallery, method, root, workers=0)
    expected = Engine(method, gallery).search(root / "001.png", "is red")
    assert Engine.open(tmp_path / "g").search(root / "001.png", "is red") == expected
    assert Engine.open(tmp_path / "g", str(best.parent)).search(root / "001.png", "is red") == expected
    assert Engine.open(tmp_path / "g", "image-only").search(root / "001.png", "is red") != expected
    with pytest.raises(GalleryError, match=f"checkpoint {best}"):
        Engine(load_method("slerp", load_backbone("clip-tiny")), gallery)


def test_arguments_are_remembered(pictures, tmp_path):
    root, method = pictures(3), load_method("slerp", load_backbone("clip-tiny"), alpha=0.1)
    index_folder(create_gallery(tmp_path / "g", method, root), method, root, workers=0)
    again = Engine.open(tmp_path / "g")
    assert again.method.alpha == pytest.approx(0.1)
    assert Engine.open(tmp_path / "g", "slerp").method.alpha == pytest.approx(0.8)


def test_indexing_with_a_moved_checkpoint_makes_the_gallery_remember_it(pictures, tmp_path):
    root, old, new = pictures(2), tmp_path / "old.safetensors", tmp_path / "new.safetensors"
    method = trained(old)
    gallery = create_gallery(tmp_path / "g", method, root)
    index_folder(gallery, method, root, workers=0)
    old.rename(new)
    with pytest.raises(GalleryError, match="is not there any more"):
        Engine.open(tmp_path / "g")
    report = index_folder(gallery, checkpoint.load(new), root, workers=0)
    assert report.encoded == 0
    assert Gallery.open(tmp_path / "g").manifest.checkpoint == str(new)
    assert Engine.open(tmp_path / "g").search(text="red")
