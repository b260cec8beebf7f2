"""The page's files as they travel: types, tags, and nothing but them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from composir.server.pages import page_files

PAGE = Path(__file__).parents[3] / "src" / "composir" / "server" / "page"
MARKUP = r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function"
KINDS = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}


def test_every_file_is_served_as_what_it_is(client):
    names = {path.name for path in PAGE.iterdir() if path.is_file()}
    assert names == set(page_files())
    for name in names:
        answer = client.get(f"/page/{name}")
        assert answer.status_code == 200
        assert answer.content == (PAGE / name).read_bytes()
        assert answer.headers["content-type"] == KINDS[Path(name).suffix]
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["cache-control"] == "no-cache"
    assert client.get("/").content == (PAGE / "index.html").read_bytes()


def test_a_file_that_the_browser_has_is_not_sent_again(client):
    tag = client.get("/page/main.js").headers["etag"]
    assert tag != client.get("/page/dom.js").headers["etag"]
    assert client.get("/page/main.js", headers={"If-None-Match": tag}).status_code == 304
    assert client.get("/page/main.js", headers={"If-None-Match": '"another"'}).status_code == 200


STRANGE = ["", "nothing.js", "MAIN.JS", "main.js/", "main.js%00", "a\\..\\main.js", "__pycache__", "/etc/passwd"]
CLIMBING = ["../pages.py", "..%2fpages.py", "%2e%2e/pages.py", "....//pages.py"]


@pytest.mark.parametrize("name", STRANGE + CLIMBING)
def test_nothing_else_lies_there(client, error_of, name):
    answer = client.get(f"/page/{name}")
    error_of(answer, 404, "not_found")


def test_the_page_opens_without_a_key_and_nothing_else_does(app_with):
    client = app_with(api_keys=["a-key-of-some-length"], ready=False)
    assert client.get("/").status_code == 200
    assert client.get("/page/main.js").status_code == 200
    for path in ("/page/nothing.js", "/page/../v1/gallery", "/v1/gallery", "/page/"):
        assert client.get(path).status_code == 401, path


def test_the_policy_allows_no_inline_code(client):
    policy = client.get("/").headers["content-security-policy"]
    assert "default-src 'self'" in policy
    assert "unsafe" not in policy
    page = (PAGE / "index.html").read_text(encoding="utf-8")
    assert not re.search(r"<script(?![^>]*\bsrc=)|<style|\sstyle=|\son\w+=|javascript:", page)


def test_scripts_ask_for_nothing_outside_and_make_no_markup_of_text():
    for path in PAGE.iterdir():
        code = path.read_text(encoding="utf-8").replace("http://www.w3.org/2000/svg", "")
        assert "http://" not in code, path.name
        assert "https://" not in code, path.name
        assert not re.search(MARKUP, code), path.name


def test_all_scripts_are_asked_for_at_once():
    page = (PAGE / "index.html").read_text(encoding="utf-8")
    preloaded = re.findall(r'rel="modulepreload" href="/page/([^"]+)"', page)
    assert preloaded == sorted({path.name for path in PAGE.glob("*.js")} - {"main.js", "theme.js"})
    assert {path.name for path in PAGE.glob("*.css")} == set(re.findall(r'href="/page/([^"]+\.css)"', page))


def test_scripts_are_small():
    lines = {path.name: len(path.read_text(encoding="utf-8").splitlines()) for path in PAGE.iterdir()}
    assert {name: count for name, count in lines.items() if count > 200} == {}


def test_a_picture_is_found_by_its_path(client, error_of):
    own, name = next(iter(client.service.files.items()))
    assert client.get("/v1/pictures", params={"path": name}).json() == {"id": own}
    error_of(client.get("/v1/pictures", params={"path": "../" + name}), 404, "not_found")
    error_of(client.get("/v1/pictures"), 422, "invalid_request")
