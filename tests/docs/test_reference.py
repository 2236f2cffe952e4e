"""The tables in the documentation are what the code says: keys of recipes, options of commands, adapter manifest."""

from __future__ import annotations

import pytest

from docs.pages import PAGES, make_reference, names

reference = make_reference()
TABLES = reference.tables()


@pytest.mark.parametrize("name", names())
def test_tables_are_those_of_the_code(name: str) -> None:
    page = PAGES[names().index(name)]
    text = page.read_text(encoding="utf-8")
    assert reference.filled(text, TABLES) == text, "run: python docs/make_reference.py"


def test_every_table_stands_in_some_page() -> None:
    placed = {match["name"] for page in PAGES for match in reference.BLOCK.finditer(page.read_text(encoding="utf-8"))}
    assert placed == set(TABLES)


def test_a_table_that_is_out_of_date_would_be_found() -> None:
    old = "before\n<!-- reference: recipe.model -->\n| key |\n<!-- end of reference -->\nafter\n"
    new = reference.filled(old, TABLES)
    assert new.startswith("before\n") and new.endswith("after\n") and TABLES["recipe.model"] in new
    assert reference.filled(new, TABLES) == new


def test_every_key_of_a_recipe_is_explained() -> None:
    for name, table in TABLES.items():
        if name.startswith(("recipe", "cli")):
            assert all(line.split(" | ")[1].strip(" |") for line in table.splitlines()[2:]), name
