"""The API over a fake service: what it answers, and that every mistake is told in the one shape."""

import base64
import io
import json
import struct

import numpy as np
import pytest
from PIL import Image

from composir.gallery.scan import content_id
from composir.server import fields


def test_words_alone(client):
    answer = client.post("/v1/search", json={"text": "in red", "k": 3})
    assert answer.status_code == 200
    body = answer.json()
    assert [hit["rank"] for hit in body["hits"]] == [1, 2, 3]
    scores = [hit["score"] for hit in body["hits"]]
    assert scores == sorted(scores, reverse=True)
    assert body["reference"] is None
    assert body["hits"][0]["metadata"] == {"price": 1.5}


def test_an_upload_its_id_and_its_tensor(client, make_jpeg):
    picture = make_jpeg(99)
    first = client.post("/v1/search", files={"image": picture}, data={"text": "red", "k": "4", "alpha": "0.25"})
    assert first.status_code == 200, first.text
    own = first.json()["reference"]
    assert own == content_id(picture)
    before = client.service.encodings
    again = client.post("/v1/search", json={"reference": {"id": own}, "text": "red", "k": 4, "alpha": 0.25})
    assert again.json() == first.json()
    assert client.service.encodings == before
    data = base64.b64encode(struct.pack("<3f", 1, 2, 3)).decode()
    tensor = {"reference": {"tensor": {"shape": [1, 3], "data": data}}}
    assert client.post("/v1/search", json=tensor).status_code == 200


def test_a_gallery_picture_is_decoded_as_its_upload_is(client, folder, fakes):
    """The same bytes give the same pixels whether they come by id or by upload."""
    name = "05.jpg"
    picture = (folder / name).read_bytes()
    by_id = client.post("/v1/search", json={"reference": {"id": content_id(picture)}})
    assert client.service.encodings > 0
    client.service.encoded.clear()
    by_upload = client.post("/v1/search", files={"image": picture})
    assert by_id.json() == by_upload.json()


def test_a_slider_never_encodes_again(client, folder):
    own = content_id((folder / "07.jpg").read_bytes())
    client.post("/v1/search", json={"reference": {"id": own}, "text": "red"})
    before = client.service.encodings
    rankings = set()
    for alpha in np.linspace(0, 1, 11):
        answer = client.post("/v1/search", json={"reference": {"id": own}, "text": "red", "alpha": float(alpha)})
        rankings.add(tuple(hit["id"] for hit in answer.json()["hits"]))
    assert client.service.encodings == before
    assert len(rankings) > 1


def test_cursor_leads_through_all_hits_once(client):
    query, seen = {"text": "x", "k": 5}, []
    while True:
        answer = client.post("/v1/search", json=query).json()
        seen += [hit["id"] for hit in answer["hits"]]
        if answer["cursor"] is None:
            break
        query["cursor"] = answer["cursor"]
    assert len(seen) == len(set(seen)) == len(client.service.files)


def test_a_form_takes_lists_and_objects(client, make_jpeg):
    fields = {
        "without": ["a", "b"],
        "weights": json.dumps({"image": 1.5}),
        "avoid": ["0" * 32, "1" * 32],
        "keep_reference": "true",
    }
    answer = client.post("/v1/search", files={"image": make_jpeg(1)}, data=fields)
    assert answer.status_code == 200, answer.text


def test_a_form_may_be_as_full_as_its_description_allows(client, make_jpeg):
    """Every list at its longest; one value more is told by the field's name, ten thousand are not read."""
    ids = [f"{i:032x}" for i in range(33)]
    full = {"text": "a", "k": "3", "alpha": "0.5", "without": ["b"] * 8, "keep": ids[:32], "avoid": ids[:32]}
    ask = lambda fields: client.post("/v1/search", files={"image": make_jpeg(1)}, data=fields)  # noqa: E731
    assert ask(full).status_code == 200
    refused = ask({**full, "avoid": ids})
    assert (refused.status_code, "avoid" in refused.text) == (422, True)
    assert ask({**full, "avoid": ids * 300}).status_code == 413


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({}, "nothing to search for"),
        ({"text": " "}, "nothing to search for"),
        ({"text": "a", "k": 0}, "k: "),
        ({"text": "a", "k": 1001}, "k: "),
        ({"text": "a", "k": "10"}, "k: "),
        ({"text": "a", "k": True}, "k: "),
        ({"text": "a", "alpha": 1.5}, "alpha: "),
        ({"text": "a", "colour": "red"}, "colour: "),
        ({"text": "a" * 1001}, "text: "),
        ({"text": "a", "weights": {"A B": 1}}, "weights"),
        ({"text": "a", "weights": {"text": 1e-44}}, "weights.text: a weight is 0, or 1e-06 to 10"),
        ({"text": "a", "weights": {"text": -9e-7, "image": 1}}, "weights.text: a weight is 0"),
        ({"text": "a", "weights": {"text": 0, "image": -0.0}}, "all weights are 0"),
        ({"text": "a", "without": ["b"] * 9}, "without: "),
        ({"text": "a", "keep": ["../../etc/passwd"]}, "keep.0: "),
        ({"text": "a", "cursor": "a b"}, "cursor: "),
        ({"reference": {"id": "../x"}}, "reference"),
        ({"reference": {"path": "/etc/passwd"}}, "reference"),
        ({"reference": "/etc/passwd"}, "reference"),
        ({"reference": {"url": "file:///etc/passwd"}}, "reference"),
        ({"text": "a", "where": "no comparison"}, "compares nothing"),
        ([], "object"),
    ],
)
def test_bad_queries(client, error_of, body, message):
    assert message in error_of(client.post("/v1/search", json=body), 422, "invalid_request")


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        (
            {"id": "../../etc/passwd"},
            "reference.id: a picture's id is 32 digits of 0-9 and a-f; take it from an answer",
        ),
        ({"url": "file:///etc/passwd"}, f"reference.url: {fields.MEANT[fields.URL]}"),
        ({"id": "0" * 32, "path": "x"}, "reference.path: Extra inputs are not permitted"),
        ({"tensor": {"shape": [1, 3]}}, "reference.tensor.data: Field required"),
        ({"path": "/x"}, 'reference: a reference is {"id": ...}, {"url": ...} or {"tensor": ...}'),
        ("0" * 32, 'reference: a reference is {"id": ...}, {"url": ...} or {"tensor": ...}'),
    ],
)
def test_a_wrong_reference_is_told_by_its_own_kind(client, error_of, reference, message):
    assert error_of(client.post("/v1/search", json={"reference": reference}), 422, "invalid_request") == message


def test_the_least_weights_are_taken(client):
    weights = {"text": 1e-6, "image": -1e-6, "composed": 0}
    assert client.post("/v1/search", json={"text": "a", "weights": weights}).status_code == 200


@pytest.mark.parametrize(
    "text",
    ['{"text": "a", "alpha": NaN}', '{"text": "a", "alpha": Infinity}', '{"text": "a", "alpha": 1e999}', "{", "",
     "\xff", '{"text": "\\ud800"}', "[" * 100_000, '{"text": "a", "k": 1' + "0" * 5000 + "}"],
)  # fmt: skip
def test_json_that_is_none(client, error_of, text):
    headers = {"Content-Type": "application/json"}
    answer = client.post("/v1/search", content=text.encode("latin-1"), headers=headers)
    error_of(answer, 422, "invalid_request")


@pytest.mark.parametrize(
    ("shape", "data"),
    [
        ([1, 3], struct.pack("<2f", 1, 2)),
        ([1, 2], struct.pack("<2f", 1, float("nan"))),
        ([1, 2], struct.pack("<2f", 1, float("inf"))),
        ([65536, 65536], b"\0" * 8),
    ],
)
def test_bad_tensors(client, error_of, shape, data):
    tensor = {"shape": shape, "data": base64.b64encode(data).decode()}
    answer = client.post("/v1/search", json={"reference": {"tensor": tensor}})
    error_of(answer, 422, "invalid_request")


def test_an_error_does_not_repeat_what_was_sent(client):
    answer = client.post("/v1/search", json={"text": 5, "secret-field-name": "hush-hush"})
    assert "hush-hush" not in answer.text


def test_what_is_not_there(client, error_of):
    assert "neither in the gallery nor" in error_of(
        client.post("/v1/search", json={"reference": {"id": "0" * 32}}), 404, "not_found"
    )
    error_of(client.get(f"/v1/images/{'0' * 32}"), 404, "not_found")
    error_of(client.get("/v1/nothing"), 404, "not_found")
    error_of(client.get("/v1/images/../../etc/passwd"), 404, "not_found")
    error_of(client.get("/v1/images/%2e%2e%2f%2e%2e%2fetc%2fpasswd"), 404, "not_found")
    error_of(client.get("/v1/images/etc"), 422, "invalid_request")
    error_of(
        client.post("/v1/search", json={"text": "a", "reference": {"id": "0" * 32}, "method": "b"}), 404, "not_found"
    )
    told = client.delete("/v1/search")
    error_of(told, 405, "method_not_allowed")
    assert told.headers["allow"] == "POST"
    assert client.get("/docs").status_code == 404


@pytest.mark.parametrize(
    "address", ["/", "/livez", "/readyz", "/metrics", "/v1/methods", "/page/main.js", "/v1/nothing"]
)
def test_head_is_get_without_a_body(client, address):
    whole, head = client.get(address), client.head(address)
    assert (head.status_code, head.content) == (whole.status_code, b"")
    same = ("content-type", "etag", "cache-control", "content-security-policy")
    assert [head.headers.get(name) for name in same] == [whole.headers.get(name) for name in same]
    if "metrics" not in address:  # which differ from one look to the next
        assert head.headers["content-length"] == whole.headers["content-length"]


def test_head_of_pictures(client):
    own = next(iter(client.service.files))
    for address in (f"/v1/images/{own}", f"/v1/images/{own}/thumbnail?size=128"):
        whole, head = client.get(address), client.head(address)
        assert (head.status_code, head.content) == (200, b"")
        assert head.headers["content-length"] == str(len(whole.content))
        assert client.head(address, headers={"If-None-Match": whole.headers["etag"]}).status_code == 304
    metrics = client.get("/metrics").text
    assert 'composir_requests_total{method="HEAD",route="/v1/images/{id}",status="200"} 1.0' in metrics


def test_allow_names_head_where_it_is_answered(client, error_of):
    told = client.delete("/livez")
    error_of(told, 405, "method_not_allowed")
    assert told.headers["allow"] == "GET, HEAD"
    assert client.head("/v1/search").status_code == 405
    assert client.head("/v1/search").headers["allow"] == "POST"


def test_patterns_are_told_in_words(client):
    """Each that the document has: nobody is shown a regular expression."""

    def patterns(part):
        if isinstance(part, dict):
            yield from (part[name] for name in ("pattern",) if isinstance(part.get(name), str))
            yield from part.get("patternProperties", {})
        for inner in part.values() if isinstance(part, dict) else part if isinstance(part, list) else ():
            yield from patterns(inner)

    assert set(patterns(client.get("/openapi.json").json())) == set(fields.MEANT)


@pytest.mark.parametrize("address", ["/v1/search", "/v1/embeddings", "/v1/judgements"])
def test_bad_json(client, error_of, address):
    for body in (b"{", b"", b"\xff", b'{"text": nan}'):
        answer = client.post(address, content=body, headers={"Content-Type": "application/json"})
        assert error_of(answer, 422, "invalid_request").startswith("the body is no JSON: ")


def test_a_bad_id_in_an_address(client, error_of):
    told = error_of(client.get("/v1/images/ABC"), 422, "invalid_request")
    assert told == "id: a picture's id is 32 digits of 0-9 and a-f; take it from an answer"


def test_judgements_are_json(client, error_of):
    for kind in ("text/plain", "multipart/form-data; boundary=x"):
        answer = client.post("/v1/judgements", content=b"{}", headers={"Content-Type": kind})
        told = error_of(answer, 415, "unsupported_media_type")
        assert told.startswith("send application/json, not")
    assert "application/json or multipart" in error_of(
        client.post("/v1/search", content=b"x"), 415, "unsupported_media_type"
    )


def test_other_media_types(client, error_of):
    for kind in ("text/plain", "application/x-www-form-urlencoded", "application/xml"):
        error_of(client.post("/v1/search", content=b"x", headers={"Content-Type": kind}), 415, "unsupported_media_type")
    error_of(client.post("/v1/search", content=b"x"), 415, "unsupported_media_type")


def test_web_addresses_are_off(client, error_of):
    body = {"reference": {"url": "http://pictures.example/a.jpg"}}
    error_of(client.post("/v1/search", json=body), 403, "fetching_is_off")


def test_a_bug_is_told_to_the_log_alone(client, error_of, caplog):
    told = error_of(client.post("/v1/search", json={"text": "explode"}), 500, "internal")
    assert "secret" not in told
    assert "a bug, with a secret in it" in caplog.text
    assert client.get("/livez").status_code == 200


def test_pictures_are_drawn_anew(client, folder):
    data = (folder / "03.jpg").read_bytes()
    assert b"taken at home" in data
    own = content_id(data)
    large = client.get(f"/v1/images/{own}")
    assert large.headers["content-type"] == "image/jpeg"
    assert b"taken at home" not in large.content
    small = client.get(f"/v1/images/{own}/thumbnail?size=128")
    with Image.open(io.BytesIO(small.content)) as opened:
        assert opened.size == (60, 48)
        assert not opened.getexif()
    tag = small.headers["etag"]
    for given in (tag, f"W/{tag}", f'"x", {tag}', "*"):
        answer = client.get(f"/v1/images/{own}/thumbnail?size=128", headers={"If-None-Match": given})
        assert (answer.status_code, answer.content, answer.headers["etag"]) == (304, b"", tag)
    assert client.get(f"/v1/images/{own}/thumbnail", headers={"If-None-Match": tag}).status_code == 200


def test_thumbnail_sizes_are_few(client, error_of, folder):
    own = content_id((folder / "03.jpg").read_bytes())
    for size in ("0", "129", "1e9", "x", "-1"):
        error_of(client.get(f"/v1/images/{own}/thumbnail?size={size}"), 422, "invalid_request")


def test_an_upload_has_a_thumbnail_too(client, make_jpeg):
    own = client.post("/v1/search", files={"image": make_jpeg(123)}).json()["reference"]
    assert client.get(f"/v1/images/{own}/thumbnail").status_code == 200


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"no picture",
        b"%!PS-Adobe-3.0 EPSF-3.0\n",
        b"\xff\xd8\xff\xe0 cut off",
        b"<svg xmlns='x'></svg>",
        b"GIF89a",
    ],
)
def test_what_is_no_picture(client, error_of, data):
    error_of(client.post("/v1/search", files={"image": data}), 422, "bad_picture")


def test_a_bomb_is_refused(client, error_of):
    """Width and height of a BMP that claims 3,000,000 x 2,000,000 pixels."""
    head = (
        b"BM"
        + struct.pack("<IHHI", 100, 0, 0, 54)
        + struct.pack("<IiiHHIIiiII", 40, 3_000_000, 2_000_000, 1, 24, 0, 0, 0, 0, 0, 0)
    )
    assert "above the limit" in error_of(client.post("/v1/search", files={"image": head}), 422, "bad_picture")
    assert 'composir_skipped_total{reason="too many pixels"}' in client.get("/metrics").text


def test_a_picture_that_has_changed_or_gone_is_not_there(fakes, app_with, error_of, tmp_path, make_jpeg):
    for number in range(2):
        (tmp_path / f"{number}.jpg").write_bytes(make_jpeg(number))
    served = app_with(fakes.FakeService(tmp_path))
    first, second = list(served.service.files)
    paths = {own: tmp_path / name for own, name in served.service.files.items()}
    paths[first].write_bytes(make_jpeg(77))
    paths[second].unlink()
    for own, told in ((first, "has changed"), (second, "no such file")):
        assert told in error_of(served.get(f"/v1/images/{own}"), 404, "not_found")
        assert told in error_of(served.post("/v1/search", json={"reference": {"id": own}}), 404, "not_found")


def test_a_link_out_of_the_folder_is_not_followed(fakes, app_with, error_of, tmp_path, make_jpeg):
    root, outside = tmp_path / "root", tmp_path / "secret.jpg"
    root.mkdir()
    outside.write_bytes(make_jpeg(5))
    (root / "a.jpg").symlink_to(outside)
    served = app_with(fakes.FakeService(root))
    [own] = served.service.files
    assert "leads out" in error_of(served.get(f"/v1/images/{own}"), 404, "not_found")


def test_embeddings_of_words_and_pictures(client, fakes, make_jpeg):
    picture = make_jpeg(4)
    items = ["a", {"text": "b"}, {"image": base64.b64encode(picture).decode()}]
    answer = client.post("/v1/embeddings", json={"input": items})
    assert answer.status_code == 200, answer.text
    body = answer.json()
    assert [one["index"] for one in body["data"]] == [0, 1, 2]
    assert np.allclose(body["data"][0]["embedding"], fakes.vector(b"a"))
    assert np.allclose(body["data"][1]["embedding"], fakes.vector(b"b"))
    assert body["data"][0]["shape"] == [1, fakes.WIDTH]
    form = client.post("/v1/embeddings", files={"image": picture}).json()
    assert form["data"][0]["embedding"] == body["data"][2]["embedding"]
    url = client.post("/v1/embeddings", json={"input": {"image": "data:image/jpeg;base64," + items[2]["image"]}}).json()
    assert url["data"] == form["data"]
    packed = client.post("/v1/embeddings", json={"input": "a", "encoding_format": "base64"}).json()
    assert np.allclose(np.frombuffer(base64.b64decode(packed["data"][0]["embedding"]), "<f4"), fakes.vector(b"a"))
    assert packed["usage"] == {"prompt_tokens": 1, "total_tokens": 1}


@pytest.mark.parametrize(
    "body",
    [{}, {"input": []}, {"input": ""}, {"input": ["a"] * 129}, {"input": [5]}, {"input": "a", "dimensions": 3},
     {"input": {"image": "%%%%"}}, {"input": [{"image": "AAAA"}] * 17}, {"input": {"text": "a", "image": "AAAA"}}],
)  # fmt: skip
def test_bad_embeddings(client, error_of, body):
    error_of(client.post("/v1/embeddings", json=body), 422, "invalid_request")


def test_unknown_model_and_bad_picture_of_embeddings(client, error_of):
    error_of(client.post("/v1/embeddings", json={"input": "a", "model": "other"}), 404, "not_found")
    error_of(client.post("/v1/embeddings", json={"input": {"image": "AAAA"}}), 422, "bad_picture")


def test_what_is_served(client):
    assert client.get("/v1/methods").json()["methods"][0]["name"] == "fake"
    gallery = client.get("/v1/gallery").json()
    assert (gallery["pictures"], gallery["columns"], gallery["fetch_urls"]) == (12, {"price": "double"}, False)


def test_metrics_have_every_stage_and_count_statuses(client):
    client.post("/v1/search", json={"text": "a"})
    text = client.get("/metrics").text
    for stage in ("fetch", "decode", "encode_image", "encode_text", "compose", "search", "thumbnail"):
        assert f'composir_stage_seconds_count{{stage="{stage}"}}' in text
    assert 'composir_requests_total{method="POST",route="/v1/search",status="200"}' in text
    assert 'route="other",status="404"' in text
    assert "composir_gallery_pictures 12.0" in text
    assert "composir_queue_depth 0.0" in text


def test_the_model_sees_one_thread(client):
    assert len(client.service.threads) == 1


def test_not_ready_before_the_first_encoding(fakes, folder, app_with, error_of, wait_until):
    import threading

    gate = threading.Event()
    served = app_with(fakes.FakeService(folder, before=gate.wait), ready=False)
    assert "being loaded" in error_of(served.get("/readyz"), 503, "unavailable")
    assert served.get("/livez").status_code == 200
    gate.set()
    wait_until(lambda: served.get("/readyz").status_code == 200)
    assert served.service.warmed.is_set()


def test_a_failed_first_encoding_never_gets_ready(fakes, folder, app_with, wait_until):
    def fail():
        raise RuntimeError("no memory")

    served = app_with(fakes.FakeService(folder, before=fail), ready=False)
    wait_until(lambda: "first encoding failed" in served.get("/readyz").text)
    assert served.get("/livez").status_code == 200


def test_a_full_queue_is_429(fakes, folder, app_with, error_of):
    import concurrent.futures

    served = app_with(fakes.FakeService(folder, slow=0.3), max_batch=1, queue_length=1)
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: served.post("/v1/search", json={"text": "a"}), range(8)))
    codes = {answer.status_code for answer in answers}
    assert codes == {200, 429}
    refused = next(answer for answer in answers if answer.status_code == 429)
    assert "1 requests are waiting" in error_of(refused, 429, "busy")
    assert int(refused.headers["retry-after"]) >= 1


def test_requests_that_meet_share_a_batch_and_get_their_own_answers(fakes, folder, app_with):
    import concurrent.futures

    served = app_with(fakes.FakeService(folder, slow=0.05), max_batch=16, batch_delay_seconds=0.05)
    texts = [f"text {n}" for n in range(16)]
    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        together = list(pool.map(lambda text: served.post("/v1/search", json={"text": text}).json(), texts))
    assert max(served.service.batches) > 1
    assert together == [served.post("/v1/search", json={"text": text}).json() for text in texts]


def test_the_service_is_closed_at_the_end(fakes, folder, app_with):
    served = app_with()
    served.__exit__(None, None, None)
    assert served.service.closed
    served.__exit__ = lambda *_: None
