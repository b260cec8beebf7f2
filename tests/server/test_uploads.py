"""Forms: what comes out is what went in, however it is cut; what is too much is refused early."""

import asyncio
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from composir.server.errors import ApiError
from composir.server.uploads import Form, read_form

KIND = "multipart/form-data; boundary=cut"


def part(name: str, value: bytes, file: str | None = None) -> bytes:
    more = "" if file is None else f'; filename="{file}"'
    return f'--cut\r\nContent-Disposition: form-data; name="{name}"{more}\r\n\r\n'.encode() + value + b"\r\n"


END = b"--cut--\r\n"


def read(body: bytes, size: int = 1 << 16, kind: str = KIND, most: int = 8, bytes_: int = 100) -> Form:
    async def pieces():
        for start in range(0, len(body), size):
            yield body[start : start + size]

    return asyncio.run(read_form(kind, pieces(), most, bytes_))


def refusal(body: bytes, **options) -> tuple[int, str]:
    with pytest.raises(ApiError) as caught:
        read(body, **options)
    return caught.value.status_code, caught.value.detail


def status_of(body: bytes) -> int:
    try:
        read(body, 7)
    except ApiError as error:
        return error.status_code
    return 200


texts = st.text(st.characters(codec="utf-8"), max_size=20).filter(lambda t: "--cut" not in t)


@settings(max_examples=60)
@given(st.lists(texts, max_size=5), st.binary(max_size=300).filter(lambda d: b"--cut" not in d), st.integers(1, 40))
def test_what_goes_in_comes_out_however_it_is_cut(values, data, size):
    body = b"".join(part("text", value.encode()) for value in values) + part("image", data, "a.jpg") + END
    form = read(body, size)
    assert form.fields.get("text", []) == values
    assert form.file == data


@settings(max_examples=100)
@given(st.binary(max_size=400))
def test_any_bytes_are_a_form_or_an_error(data):
    for body in (data, b"--cut\r\n" + data, part("text", b"a") + data + END):
        assert status_of(body) in (200, 400, 413, 422)


def test_a_file_without_a_name_is_a_file():
    assert read(part("image", b"\xff\xd8") + END).file == b"\xff\xd8"


def test_ten_thousand_parts_are_refused_at_the_ninth():
    taken = 0

    async def pieces():
        nonlocal taken
        for number in range(10_000):
            taken += 1
            yield part(f"f{number}", b"x")
        yield END

    started = time.monotonic()
    with pytest.raises(ApiError, match="more than 8 fields") as caught:
        asyncio.run(read_form(KIND, pieces(), 8, 100))
    assert caught.value.status_code == 413
    assert taken < 12
    assert time.monotonic() - started < 2


def test_limits():
    assert refusal(part("text", b"x" * 101) + END) == (413, "a field of the form is larger than 100 bytes, the limit")
    assert refusal(part("image", b"a", "a") + part("image", b"b", "b") + END)[0] == 422
    assert refusal(part("other", b"a", "a.jpg") + END) == (422, "a file belongs in the field 'image'")
    assert refusal(part("n" * 65, b"a") + END)[0] == 400
    many = b"--cut\r\n" + b"".join(b"X-%d: y\r\n" % n for n in range(20)) + b"\r\n\r\n"
    assert refusal(many + END)[0] == 400
    assert refusal(b"--cut\r\nX-A: " + b"y" * 10_000 + b"\r\n\r\n" + END)[0] == 400


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (END, "multipart/form-data"),
        (END, "multipart/form-data; boundary=" + "x" * 300),
        (b"nonsense", KIND),
        (b"", KIND),
        (part("text", b"a"), KIND),
        (part("image", b"half of a pict", "a.jpg")[:-8], KIND),
        (b"--cut\r\nContent-Disposition: form-data\r\n\r\na\r\n" + END, KIND),
        (b"--cut\r\nContent-Type: text/plain\r\n\r\na\r\n" + END, KIND),
        (part("text", b"\xff\xfe") + END, KIND),
        (b'--cut\r\nContent-Disposition: form-data; name="\xff"\r\n\r\na\r\n' + END, KIND),
    ],
)
def test_what_is_no_form(body, kind):
    assert refusal(body, kind=kind)[0] == 400
