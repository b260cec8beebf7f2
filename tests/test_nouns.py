"""Numbers with their nouns."""

from composir.nouns import counted


def test_one_is_singular_and_all_else_is_not():
    assert [counted(n, "query", "queries") for n in (0, 1, 2, 2017)] == [
        "0 queries",
        "1 query",
        "2 queries",
        "2,017 queries",
    ]
    assert [counted(n, "picture") for n in (1, 3)] == ["1 picture", "3 pictures"]
    assert counted(1, "query is left", "queries are left") == "1 query is left"
