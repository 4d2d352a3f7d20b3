"""Jobs of a manifest: many writes that the system takes at once and answers later, row by row."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from engine.sdk.config import Config, Duration, Span, SpanText
from engine.sdk.manifest_requests import Expression, Id, Request, id_text


class JobOpen(Request):
    """Opens the job; `@records` in its body are the rows, where they are not uploaded."""

    id: Annotated[Id, BeforeValidator(id_text)]
    """Where the job's id stands; paths call it `{job}`."""


class JobPoll(Request):
    """Asks whether the job is over."""

    done: Expression
    failed: Expression | None = None
    waits: Expression | None = None
    """True while the job waits for its rows or its start: it does nothing by itself."""
    message: Expression | None = None
    """Why it failed."""
    every: SpanText = Span(timedelta(seconds=1), timedelta(seconds=30))
    """Shortest and longest wait between two questions."""
    within: Duration = timedelta(minutes=10)
    """After this time the rows are in doubt."""


class JobResults(Request):
    """A list of rows and what became of them."""

    media: Literal["json", "csv"] = "json"
    rows: Expression = "body"
    by: str = "position"
    """`position`, or the field of a result that tells which record it is."""
    each: str | None = None
    """Path of a row's own answer, `{job}` and the row's fields filled in; it is judged like the answer of a single write."""
    ok: Expression = "`true`"
    id: Annotated[Id | None, BeforeValidator(id_text)] = None
    error: Expression | None = None
    created: Expression | None = None
    """True where an upsert made the record."""
    state: Literal["judged", "retry"] = "judged"
    """`retry`: rows that the job did not come to."""


class JobSpec(Config):
    """Many writes through one job."""

    above: int = Field(2, ge=2)
    """Fewest records that are worth a job."""
    size: int = Field(1000, ge=1)
    item: dict[str, Any] = {}
    """What is added to each record."""
    open: JobOpen
    upload: Request | None = None
    """Takes the rows as CSV."""
    null: str = "#N/A"
    """How a cell says null; an empty cell says nothing."""
    start: Request | None = None
    """Tells the system to begin."""
    poll: JobPoll
    results: list[JobResults]
    by: str | None = None
    """Field of our record that results are matched by, where it is called otherwise there."""
