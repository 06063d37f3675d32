"""The command `categories`: what can be attested, and what to fill in."""

from __future__ import annotations

import csv
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from .output import print_json, print_pairs, print_table, say
from .session import Session

if TYPE_CHECKING:
    from credchain.credentials.categories import Category


def categories(
    session: Session,
    category: Annotated[str | None, typer.Argument(help="One category, with its claims.")] = None,
    csv_template: Annotated[
        bool, typer.Option("--csv-template", help="Print the head of a table to fill.")
    ] = False,
) -> None:
    """The kinds of credential, and the claims of each."""
    from credchain.errors import InvalidInput

    known = _known_categories(session)
    if category is None:
        if csv_template:
            raise InvalidInput("name the category whose table you want", field="category")
        _print_categories(session, list(known.values()))
        return
    if category not in known:
        raise InvalidInput(
            f"there is no category {category}", field="category", hint=f"there are {', '.join(known)}"
        )
    if csv_template:
        from credchain.issuing.rows import template_columns

        csv.writer(sys.stdout).writerow(template_columns(known[category]))
        return
    _print_category(session, known[category])


def _known_categories(session: Session) -> dict[str, Category]:
    """Of the network, if one is joined or named; else those that a new network starts from."""
    from credchain.credentials.categories import parse_category
    from credchain.storage.home import packaged_categories

    if session.network_path or session.home.network_file.exists():
        found = session.network.categories
        return {name: found[name] for name in sorted(found)}
    return {each.name: each for each in map(parse_category, packaged_categories())}


def _print_categories(session: Session, found: list[Category]) -> None:
    if session.as_json:
        names = ("title", "subject", "document", "primary_source", "description")
        print_json(
            {
                "categories": [
                    {"category": each.name, **{name: getattr(each, name) for name in names}} for each in found
                ]
            }
        )
        return
    print_table(
        ["category", "title", "subject", "document", "primary source"],
        [(each.name, each.title, each.subject, each.document, each.primary_source) for each in found],
    )


def _print_category(session: Session, category: Category) -> None:
    claims = [
        {
            "name": name,
            "type": schema["type"],
            "required": name in category.required,
            "description": schema["description"],
            "example": (schema.get("examples") or [None])[0],
        }
        for name, schema in category.schemas.items()
    ]
    if session.as_json:
        print_json(
            {
                "category": category.name,
                "title": category.title,
                "description": category.description,
                "subject": category.subject,
                "document": category.document,
                "primary_source": category.primary_source,
                "valid_until": category.until,
                "max_months": category.max_months,
                "claims": claims,
            }
        )
        return
    say(f"{category.title}: {category.description}")
    print_pairs(
        [
            ("subject", category.subject),
            ("document", category.document),
            ("primary source", category.primary_source),
            ("last day", category.until),
        ]
    )
    print_table(
        ["claim", "type", "required", "description", "example"],
        [
            (
                each["name"],
                each["type"],
                "yes" if each["required"] else "",
                each["description"],
                each["example"],
            )
            for each in claims
        ],
    )
