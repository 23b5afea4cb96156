"""`sd3async prices`: what the documents say that an image costs."""

from collections.abc import Iterator, Mapping
from typing import Any

import click

from sd3async.cli.options import json_option, print_json
from sd3async.endpoints import (
    DOLLARS_PER_CREDIT,
    ENDPOINTS,
    PRICES_DATE,
    PRICES_SOURCE,
    PriceBySteps,
)
from sd3async.models.requests import BUILT_IN


@click.command()
@json_option
def prices(*, as_json: bool) -> None:
    """Print the documented price of one image, by endpoint and model."""
    rows = list(_rows())
    if as_json:
        print_json({"date": PRICES_DATE, "source": PRICES_SOURCE, "prices": rows})
        return
    for row in rows:
        name = " ".join(filter(None, [row["endpoint"], row["model"]]))
        own = "" if row["endpoint"] in BUILT_IN else "  (registered by you)"
        words = f"  ({row['words']})" if row["words"] else ""
        click.echo(f"{name:36} {row['credits']:5g} credits  ${row['dollars']:.3f}{own}{words}")
    click.echo(f"As of {PRICES_DATE}, from {PRICES_SOURCE}.", err=True)


def _rows() -> Iterator[dict[str, Any]]:
    for row in ENDPOINTS.values():
        by_model = row.credits if isinstance(row.credits, Mapping) else {None: row.price()}
        for model, price in by_model.items():
            yield {
                "endpoint": row.name,
                "model": model,
                "credits": price,
                "dollars": round(price * DOLLARS_PER_CREDIT, 6),
                "words": row.credits.words() if isinstance(row.credits, PriceBySteps) else None,
            }
