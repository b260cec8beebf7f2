"""Annotated queries and verdicts over HTTP."""

from __future__ import annotations

import threading


def test_queries_come_in_pages(client):
    first = client.get("/v1/queries", params={"count": 5}).json()
    rest = client.get("/v1/queries", params={"start": 5, "count": 200}).json()
    assert first["total"] == rest["total"] == len(client.service.files)
    ids = [query["reference"] for query in first["queries"] + rest["queries"]]
    assert ids == list(client.service.files)
    assert first["queries"][0].keys() == {"id", "reference", "text", "targets", "subset"}


def test_more_queries_than_are_told_at_once_are_refused(client, error_of):
    assert "count" in error_of(client.get("/v1/queries", params={"count": 201}), 422, "invalid_request")


def test_ranks_of_targets_are_told_beyond_the_answers(client):
    ids = list(client.service.files)
    full = client.post("/v1/search", json={"text": "a", "k": 1000}).json()
    asked = client.post("/v1/search", json={"text": "a", "k": 1, "targets": ids[:3]}).json()
    assert asked["target_ranks"] == {hit["id"]: hit["rank"] for hit in full["hits"] if hit["id"] in ids[:3]}
    assert asked["total"] == len(ids)


def test_a_verdict_is_kept(client):
    a, b, c = list(client.service.files)[:3]
    answer = client.post("/v1/judgements", json={"reference": a, "text": " in red ", "right": [b], "wrong": [c]})
    assert answer.status_code == 200, answer.text
    verdict, upload = client.service.verdicts[a, "in red"]
    assert (verdict.right, verdict.wrong, upload) == ((b,), (c,), None)
    assert answer.json() == {"queries": len(client.service.verdicts), "folder": "judged"}


def test_the_reference_of_a_verdict_may_be_given_as_in_a_search(client, error_of):
    a, b = list(client.service.files)[:2]
    body = {"reference": {"id": a}, "text": "as there", "right": [b], "wrong": []}
    assert client.post("/v1/judgements", json=body).status_code == 200
    assert client.service.verdicts[a, "as there"][0].reference == a
    ask = lambda reference: client.post("/v1/judgements", json={**body, "reference": reference})  # noqa: E731
    assert error_of(ask({"id": "../x"}), 422, "invalid_request").startswith("reference.id: a picture's id is 32 digits")
    assert error_of(ask("../x"), 422, "invalid_request").startswith("reference: a picture's id is 32 digits")
    assert "reference" in error_of(ask(5), 422, "invalid_request")


def test_a_verdict_on_an_upload_comes_with_its_file(client, make_jpeg):
    own = client.post("/v1/search", files={"image": make_jpeg(77)}, data={"text": "a"}).json()["reference"]
    right = next(iter(client.service.files))
    client.post("/v1/judgements", json={"reference": own, "text": "b", "right": [right], "wrong": []})
    assert client.service.verdicts[own, "b"][1].startswith(b"\xff\xd8\xff")


def test_a_verdict_that_cannot_be_kept_is_refused(client, error_of):
    a, b = list(client.service.files)[:2]
    sound = {"reference": a, "text": "in red", "right": [b], "wrong": []}
    ask = lambda **change: client.post("/v1/judgements", json={**sound, **change})  # noqa: E731
    assert "both" in error_of(ask(wrong=[b]), 422, "invalid_request")
    assert "neither in the gallery" in error_of(ask(reference="0" * 32), 404, "not_found")
    assert "no picture" in error_of(ask(right=["0" * 32]), 404, "not_found")
    assert "text" in error_of(ask(text=" "), 422, "invalid_request")


def test_judging_can_be_off(app_with, error_of):
    client = app_with()
    told = client.service.info()
    client.service.info = lambda: type(told)(**{**_fields(told), "judging": False})
    ids = list(client.service.files)
    body = {"reference": ids[0], "text": "a", "right": [ids[1]], "wrong": []}
    assert "switched off" in error_of(client.post("/v1/judgements", json=body), 403, "judging_is_off")


def _fields(told) -> dict:
    return {name: getattr(told, name) for name in told.__dataclass_fields__}


def test_paths_are_looked_up_beside_the_loop(fakes, folder, app_with, monkeypatch):
    """A large gallery maps its paths first: nobody else may wait for that."""
    client, loop, found = app_with(), set(), set()
    find, info = client.service.find, client.service.info
    monkeypatch.setattr(client.service, "find", lambda path: found.add(threading.get_ident()) or find(path))
    monkeypatch.setattr(client.service, "info", lambda: loop.add(threading.get_ident()) or info())
    path = next(iter(client.service.files.values()))
    assert client.get("/v1/pictures", params={"path": path}).status_code == 200
    assert client.get("/v1/gallery").status_code == 200
    assert loop
    assert found
    assert not loop & found
