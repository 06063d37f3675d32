"""Tables without a terminal: our own, and Rich's where ours would not do, are the same."""

from __future__ import annotations

import io
import sys
from collections.abc import Sequence

import pytest
from credchain.cli import output
from hypothesis import given
from hypothesis import strategies as st

CELLS = st.one_of(st.none(), st.text(st.characters(max_codepoint=0x2FF), max_size=12), st.integers(0, 999))


class Utf8(io.StringIO):
    encoding = "utf-8"


def printed(columns: Sequence[str], rows: Sequence[Sequence[object]], *, ours: bool) -> str:
    with pytest.MonkeyPatch.context() as patched:
        patched.delenv("FORCE_COLOR", raising=False)
        patched.setattr(sys, "stdout", found := Utf8())
        if not ours:
            patched.setattr(output, "_is_simple", lambda table: False)
        output.print_table(columns, rows)
    return found.getvalue()


@given(st.data())
def test_ours_is_what_rich_prints(data: st.DataObject) -> None:
    count = data.draw(st.integers(2, 5))
    columns = data.draw(st.lists(st.sampled_from(("check", "", "issuer")), min_size=count, max_size=count))
    rows = data.draw(st.lists(st.tuples(*[CELLS] * count), max_size=4))
    assert printed(columns, rows, ours=True) == printed(columns, rows, ours=False)


@pytest.mark.parametrize("cell", ["x" * 201, "放射科", "e\u0301", "\u200b", "word " * 60])
def test_what_is_wide_or_not_one_column_a_character_is_left_to_rich(cell: str) -> None:
    rows = [("1", cell)]
    assert printed(["a", "b"], rows, ours=True) == printed(["a", "b"], rows, ours=False)


def test_our_own_does_not_import_rich(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(output, "_print_by_rich", None)
    assert printed(["a", "b"], [("é", 1)], ours=True) == "a   b\n─────\né   1\n"
