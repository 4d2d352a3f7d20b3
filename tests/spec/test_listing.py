"""What a folder holds is looked up again whenever it changed, and not otherwise."""

from __future__ import annotations

import os
from pathlib import Path

from engine.spec.listing import Listing

OLD = 1_700_000_000


def names(listing: Listing) -> list[str]:
    return [name for name, _ in listing.files]


def aged(folder: Path) -> None:
    """As if nothing had been touched for long."""
    for place, _, _ in os.walk(folder):
        os.utime(place, (OLD, OLD))


def test_a_listing_stands_until_something_comes_goes_or_is_renamed(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a/x.yaml").touch()
    aged(tmp_path)
    listing = Listing.of(tmp_path, "flows")
    assert names(listing) == ["a/x"] and listing.stands()
    (tmp_path / "a/x.yaml").write_text("changed")
    assert listing.stands(), "only names are listed"
    for change in (
        lambda: (tmp_path / "a/y.yaml").touch(),
        lambda: (tmp_path / "a/y.yaml").rename(tmp_path / "a/z.yaml"),
        lambda: (tmp_path / "a/z.yaml").unlink(),
        lambda: (tmp_path / "b").mkdir(),
    ):
        aged(tmp_path)
        listing = Listing.of(tmp_path, "flows")
        assert listing.stands()
        change()
        assert not listing.stands()


def test_what_was_changed_just_now_is_looked_at_again(tmp_path: Path) -> None:
    (tmp_path / "x.yaml").touch()
    assert not Listing.of(tmp_path, "flows").stands()


def test_a_folder_that_is_not_there_is_empty_until_it_is_made(tmp_path: Path) -> None:
    listing = Listing.of(tmp_path / "flows", "flows")
    assert names(listing) == [] and listing.stands()
    (tmp_path / "flows").mkdir()
    assert not listing.stands()
