"""Kantata as its sheet describes it, through a plain HTTP client."""

from __future__ import annotations

from connectors.sandbox import Sandbox
from tests.connectors.sandbox.conftest import Call

REF = {"service_name": "crosswalk", "service_model": "crosswalk", "service_model_ref": "r1"}


def first(body: dict) -> dict:  # type: ignore[type-arg]
    """The first result, resolved as a client resolves it."""
    one = body["results"][0]
    return body[one["key"]][one["id"]]


def test_pages_by_number_and_by_offset_hold_every_row_once(kantata: Call) -> None:
    ids = []
    page = 1
    while True:
        status, body = kantata("GET", "/time_entries.json", page=str(page), per_page="200", order="id:asc")
        assert status == 200
        ids += [one["id"] for one in body["results"]]
        if page >= body["meta"]["page_count"]:
            break
        page += 1
    assert len(ids) == len(set(ids)) == body["count"] and ids == sorted(ids, key=int)
    _, part = kantata("GET", "/time_entries", limit="7", offset="13", page="99", order="id:asc")
    assert [one["id"] for one in part["results"]] == ids[13:20]
    assert kantata("GET", "/time_entries", per_page="201")[0] == 400
    assert kantata("GET", "/time_entries")[1]["meta"]["page_size"] == 20


def test_windows_are_half_open_and_count_what_changed(kantata: Call, sandbox: Sandbox) -> None:
    everything = {"from_archived_workspaces": "true", "order": "updated_at:asc"}
    _, body = kantata("GET", "/time_entries", updated_after="2026-11-10T00:00:00Z", **everything)
    _, rest = kantata("GET", "/time_entries", updated_before="2026-11-10T00:00:00+00:00", **everything)
    assert body["count"] + rest["count"] == sandbox.store.count("kantata", "time_entries")
    sandbox.set("kantata", "time_entries", "5", {"notes": "changed"})
    moved = sandbox.get("kantata", "time_entries", "5")
    assert moved is not None
    _, late = kantata("GET", "/time_entries", updated_after=moved["updated_at"], **everything)
    assert "5" in late["time_entries"]
    assert kantata("GET", "/time_entries", updated_after="yesterday")[0] == 400


def test_association_ids_and_side_loads_come_with_include_only(kantata: Call) -> None:
    _, plain = kantata("GET", "/time_entries", only="3")
    assert not {"user_id", "workspace_id"} & set(plain["time_entries"]["3"]) and "users" not in plain
    _, full = kantata("GET", "/time_entries", only="3", include="user,workspace")
    row = full["time_entries"]["3"]
    assert (
        row["user_id"] in full["users"]
        and row["workspace_id"] in full["workspaces"]
        and isinstance(row["user_id"], str)
    )
    assert [one["id"] for one in kantata("GET", "/time_entries", only="3,999999")[1]["results"]] == ["3"]


def test_default_filters_hide_rows_that_look_deleted(kantata: Call) -> None:
    assert kantata("GET", "/workspaces/12")[0] == 404
    assert kantata("GET", "/workspaces/12", include_archived="true")[0] == 200
    assert kantata("GET", "/stories", order="id:asc")[1]["count"] == 0
    assert kantata("GET", "/stories", all_on_account="true")[1]["count"] == 45  # not those of the archived project
    _, all_time = kantata("GET", "/time_entries", from_archived_workspaces="true")
    assert kantata("GET", "/time_entries")[1]["count"] < all_time["count"]
    story = kantata("DELETE", "/stories/11")
    assert story == (204, None)
    assert kantata("GET", "/stories/11")[0] == 404
    assert kantata("GET", "/stories", only_deleted="true", all_on_account="true")[1]["count"] == 1


def test_flags_are_true_whatever_is_sent(kantata: Call) -> None:
    _, approved = kantata("GET", "/time_entries", approved="false", per_page="200", from_archived_workspaces="true")
    assert all(row["approved"] for row in approved["time_entries"].values()) and approved["count"] == 1130
    _, free = kantata("GET", "/time_entries", uninvoiced="0", per_page="200")
    assert not any(row["is_invoiced"] for row in free["time_entries"].values())


def test_a_row_is_found_by_its_reference_and_not_doubled(kantata: Call) -> None:
    status, made = kantata(
        "POST", "/workspace_groups", {"workspace_group": {"name": "New", "company": True, "external_reference": REF}}
    )
    id = first(made)["id"]
    asked = {"external_reference_service_name": "crosswalk", "external_reference_service_model_refs": "r0,r1"}
    _, found = kantata("GET", "/workspace_groups", **asked)
    assert status == 200 and [one["id"] for one in found["results"]] == [id]
    assert kantata("GET", "/workspaces", **asked)[1]["count"] == 0
    again = {
        "external_reference": {**REF, "subject_type": "WorkspaceGroup", "subject_id": id, "service_model_ref": "r2"}
    }
    assert kantata("POST", "/external_references/create_or_update", again)[0] == 200
    assert kantata("GET", "/workspace_groups", **asked)[1]["count"] == 0
    assert (
        kantata("GET", "/external_references", subject_type="WorkspaceGroup", service_model_ref="r2")[1]["count"] == 1
    )
    unsynced = kantata("GET", "/workspace_groups", without_external_reference_service_name="crosswalk")[1]
    assert id not in unsynced["workspace_groups"] and unsynced["count"] == 14
    assert kantata("GET", "/external_references")[0] == 400


def test_validation_names_the_field_and_types(kantata: Call, sandbox: Sandbox) -> None:
    for body, field in (
        ({"workspace_id": "1", "date_performed": "2026-11-02"}, "time_in_minutes"),
        ({"workspace_id": "1", "date_performed": "2.11.2026", "time_in_minutes": 5}, "date_performed"),
        ({"workspace_id": "1", "date_performed": "2026-11-02", "time_in_minutes": "5"}, "time_in_minutes"),
        ({"workspace_id": "999", "date_performed": "2026-11-02", "time_in_minutes": 5}, "workspace_id"),
    ):
        status, body = kantata("POST", "/time_entries", {"time_entry": body})
        assert status == 422 and (body["errors"][0]["type"], body["errors"][0]["field"]) == ("validation", field)
    assert kantata("POST", "/users", {"user": {"full_name": "x"}})[0] == 404
    assert (
        kantata(
            "POST", "/account_invitations", {"account_invitation": {"full_name": "X", "email_address": "x@x.example"}}
        )[0]
        == 200
    )
    assert kantata("DELETE", "/workspaces/1")[0] == 403
    assert sandbox.all("kantata", "users")[-1]["full_name"] == "X"


def test_bulk_is_all_or_nothing(kantata: Call, sandbox: Sandbox) -> None:
    stories = [{"title": f"t{n}", "story_type": "task", "workspace_id": "1"} for n in range(3)]
    status, made = kantata("POST", "/stories", {"stories": stories})
    assert status == 200 and [made["stories"][one["id"]]["title"] for one in made["results"]] == ["t0", "t1", "t2"]
    before = sandbox.store.count("kantata", "stories")
    assert kantata("POST", "/stories", {"stories": [*stories, {"title": ""}]})[0] == 422
    assert sandbox.store.count("kantata", "stories") == before
    entries = sandbox.all("kantata", "time_entries")
    free = [row["id"] for row in entries if not row["approved"]][:2]
    locked = next(row["id"] for row in entries if row["approved"])
    status, body = kantata("DELETE", f"/time_entries?ids={free[0]},{locked}")
    assert status == 422 and locked in body["errors"][0]["message"] and sandbox.get("kantata", "time_entries", free[0])
    assert kantata("DELETE", f"/time_entries?ids={','.join(free)}")[0] == 204


def test_user_id_is_ignored_in_silence_without_financial_access(kantata: Call, sandbox: Sandbox) -> None:
    sandbox.fakes["kantata"].rows.finance = False
    entry = {"workspace_id": "1", "user_id": "7", "date_performed": "2026-11-02", "time_in_minutes": 60}
    assert first(kantata("POST", "/time_entries", {"time_entry": entry})[1])["user_id"] == "1"


def test_an_invoice_takes_its_lines_and_gives_them_back(kantata: Call, sandbox: Sandbox) -> None:
    entry = next(row for row in sandbox.all("kantata", "time_entries") if not row["is_invoiced"] and row["billable"])
    sandbox.set(
        "kantata", "time_entries", entry["id"], {"time_in_minutes": 90, "rate_in_cents": 12500, "workspace_id": "9"}
    )
    body = {
        "workspace_id": "9",
        "payment_schedule": 30,
        "time_entry_ids": [entry["id"]],
        "additional_items": [{"title": "x", "amount": 7}],
    }
    status, made = kantata("POST", "/invoices", {"invoice": body})
    invoice = first(made)
    unit = invoice["currency_base_unit"]
    assert (
        status == 200 and invoice["balance_in_cents"] == 18750 + 7 * unit and invoice["user_invoice_number"] == "1007"
    )
    assert kantata("PUT", f"/time_entries/{entry['id']}", {"time_entry": {"notes": "x"}})[0] == 422
    assert kantata("POST", "/invoices", {"invoice": body})[0] == 422
    payment = {"workspace_id": "9", "invoice_id": invoice["id"], "amount_in_cents": 1}
    assert (
        first(kantata("POST", "/external_payments", {"external_payment": payment})[1])["amount_in_cents"]
        == invoice["balance_in_cents"]
    )
    assert kantata("PUT", f"/invoices/{invoice['id']}/cancel")[0] == 422  # it is paid
    assert kantata("POST", "/invoices", {"invoice": {"payment_schedule": 30, "workspace_id": "9"}})[0] == 422


def test_timesheets_lock_what_they_approve(kantata: Call, sandbox: Sandbox) -> None:
    made = {"workspace_id": "2", "date_performed": "2026-11-18", "time_in_minutes": 60}
    entry = first(kantata("POST", "/time_entries", {"time_entry": made})[1])["id"]
    sheet = {"timesheet_submission": {"workspace_id": "2", "start_date": "2026-11-18", "end_date": "2026-11-18"}}
    submission = first(kantata("POST", "/timesheet_submissions", sheet)[1])
    assert submission["status"] == "pending" and entry in submission["time_entry_ids"]
    assert first(kantata("PUT", f"/timesheet_submissions/{submission['id']}/approve")[1])["status"] == "approved"
    assert kantata("PUT", f"/time_entries/{entry}", {"time_entry": {"notes": "x"}})[0] == 422
    ids = {"timesheet_cancellations": {"timesheet_submission_ids": [submission["id"]]}}
    assert kantata("POST", "/timesheet_cancellations", ids)[0] == 200
    assert kantata("PUT", f"/time_entries/{entry}", {"time_entry": {"notes": "x"}})[0] == 200


def test_custom_values_have_types_and_assignees_are_replaced(kantata: Call, sandbox: Sandbox) -> None:
    new = {
        "title": "P",
        "creator_role": "maven",
        "currency": "KWD",
        "custom_fields": [{"custom_field_id": "1", "value": ["12"]}],
    }
    project = first(kantata("POST", "/workspaces", {"workspace": new})[1])
    assert project["currency_base_unit"] == 1000
    _, values = kantata("GET", "/custom_field_values", subject_type="Workspace", subject_id=project["id"])
    assert first(values)["value"] == ["12"] and values["count"] == 1
    wrong = {"subject_type": "Workspace", "subject_id": project["id"], "custom_field_id": "1", "value": ["99"]}
    assert kantata("POST", "/custom_field_values", {"custom_field_value": wrong})[0] == 422
    kantata("PUT", "/stories/21", {"story": {"assignments": [{"assignee_id": "4"}, {"assignee_id": "5"}]}})
    _, crew = kantata("GET", "/assignments", story_id="21", include="assignee")
    assert sorted(row["assignee_id"] for row in crew["assignments"].values()) == ["4", "5"]


def test_the_change_feed_tells_of_every_change(kantata: Call, sandbox: Sandbox) -> None:
    sandbox.set("kantata", "expenses", "2", {"notes": "n"})
    id = next(row["id"] for row in sandbox.all("kantata", "time_entries") if not row["approved"])
    kantata("PUT", f"/time_entries/{id}", {"time_entry": {"notes": "n"}})
    kantata("DELETE", f"/time_entries/{id}")
    _, body = kantata("GET", "/subscribed_events", subject_type="TimeEntry", optional_fields="payload_changes")
    rows = [body["subscribed_events"][one["id"]] for one in body["results"]]
    assert [row["event_type"] for row in rows] == ["time_entry:updated", "time_entry:deleted"]
    assert rows[0]["payload_changes"]["notes"][1] == "n" and rows[1]["subject_ref"] is None
    assert kantata("GET", "/subscribed_events", event_types="expense:updated")[1]["count"] == 1
    assert kantata("GET", "/subscribed_events", most_recent="true", subject_type="TimeEntry")[1]["count"] == 1
    assert kantata("GET", "/subscribed_events", most_recent="1", most_recent_by_event_type="1")[0] == 400


def test_refusals_have_their_status(kantata: Call, sandbox: Sandbox) -> None:
    sandbox.expire_tokens("kantata")
    assert kantata("GET", "/users")[1] == {"errors": [{"type": "oauth", "message": "Invalid OAuth 2 Request"}]}
    sandbox.fakes["kantata"].refill(1)
    assert [kantata("GET", "/users")[0] for _ in range(2)] == [200, 429]
    sandbox.fakes["kantata"].refill(None)
    assert kantata("GET", "/nothings")[0] == 404 and kantata("PUT", "/users/999", {"user": {}})[0] == 404
    assert kantata("POST", "/time_entries", [1])[0] == 400
