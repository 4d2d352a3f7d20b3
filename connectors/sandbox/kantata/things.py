"""What Kantata keeps: each object's names, required fields, associations, default filters and types, as one table."""

from __future__ import annotations

from dataclasses import dataclass, field

SYSTEM = "kantata"


@dataclass(frozen=True)
class Thing:
    """One object. links: association → (field of its id or ids, plural that it leads to). hides: flag → parameter that shows."""

    singular: str
    subject: str | None = None
    required: tuple[str, ...] = ()
    links: dict[str, tuple[str, str]] = field(default_factory=dict)
    order: str = "updated_at:desc"
    integers: tuple[str, ...] = ()
    dates: tuple[str, ...] = ()
    filters: tuple[str, ...] = ()
    ranges: dict[str, str] = field(default_factory=dict)
    verbs: frozenset[str] = frozenset({"GET", "POST", "PUT", "DELETE"})
    event: bool = False


_READ = frozenset({"GET"})
_KEPT = frozenset({"GET", "POST", "PUT"})
_USER, _WORK = ("user_id", "users"), ("workspace_id", "workspaces")

THINGS: dict[str, Thing] = {
    "workspaces": Thing(
        "workspace", "Workspace", ("title", "creator_role"), event=True, verbs=_KEPT,
        links={"workspace_groups": ("workspace_group_ids", "workspace_groups"), "primary_maven": ("primary_maven_id", "users"),
               "rate_card": ("rate_card_id", "rate_cards"),
               "primary_workspace_group": ("primary_workspace_group_id", "workspace_groups")},
        integers=("price_in_cents",), dates=("start_date", "due_date"), filters=("title",),
    ),
    "project_templates": Thing("project_template", None, ("title",), verbs=_READ, filters=("title",)),
    "workspace_groups": Thing("workspace_group", "WorkspaceGroup", ("name",), event=True, filters=("name", "company"),
                              links={"workspaces": ("workspace_ids", "workspaces")}),
    "stories": Thing(
        "story", "Story", ("title", "story_type", "workspace_id"), event=True,
        links={"workspace": _WORK, "parent": ("parent_id", "stories"), "assignees": ("assignee_ids", "users")},
        integers=("time_estimate_in_minutes", "budget_estimate_in_cents"), dates=("start_date", "due_date"),
        filters=("title", "workspace_id", "story_type", "parent_id", "state"),
        ranges={"due_between": "due_date", "starting_between": "start_date"},
    ),
    "users": Thing("user", "User", ("full_name",), event=True, verbs=_READ | {"PUT"}, filters=("email_address", "full_name"),
                   links={"role": ("role_id", "roles"), "skills": ("skill_ids", "skills")}),
    "account_memberships": Thing("account_membership", None, ("user_id",), event=True, verbs=_READ | {"PUT"}, filters=("user_id",),
                                 links={"user": _USER, "role": ("default_role_id", "roles")},
                                 integers=("bill_rate_in_cents", "cost_rate_in_cents")),
    "account_invitations": Thing("account_invitation", None, ("full_name", "email_address"), verbs=_READ | {"POST"}),
    "workspace_resources": Thing("workspace_resource", "WorkspaceResource", ("workspace_id",), event=True,
                                 links={"workspace": _WORK, "user": _USER, "role": ("role_id", "roles")},
                                 filters=("workspace_id", "user_id")),
    "assignments": Thing("assignment", "Assignment", ("story_id", "assignee_id"), event=True, filters=("story_id", "assignee_id"),
                         links={"story": ("story_id", "stories"), "assignee": ("assignee_id", "users")},
                         integers=("estimated_minutes", "allocated_minutes")),
    "workspace_allocations": Thing(
        "workspace_allocation", "WorkspaceAllocation", ("resource_id", "start_date", "end_date", "minutes"), event=True,
        links={"workspace_resource": ("resource_id", "workspace_resources")}, integers=("minutes",), dates=("start_date", "end_date"),
        filters=("resource_id", "workspace_id")),
    "time_entries": Thing(
        "time_entry", "TimeEntry", ("workspace_id", "date_performed", "time_in_minutes"), event=True,
        links={"user": _USER, "workspace": _WORK, "story": ("story_id", "stories"), "role": ("role_id", "roles"),
               "invoice": ("invoice_id", "invoices"), "active_submission": ("active_submission_id", "timesheet_submissions")},
        order="date_performed:desc", integers=("time_in_minutes", "rate_in_cents", "cost_rate_in_cents"), dates=("date_performed",),
        filters=("workspace_id", "user_id", "story_id"), ranges={"date_performed_between": "date_performed"}),
    "timesheet_submissions": Thing("timesheet_submission", None, ("workspace_id", "start_date", "end_date"), event=True,
                                   links={"user": _USER, "workspace": _WORK, "time_entries": ("time_entry_ids", "time_entries")},
                                   dates=("start_date", "end_date"), filters=("workspace_id", "user_id", "status")),
    "expenses": Thing(
        "expense", "Expense", ("workspace_id", "date", "category", "amount_in_cents"), event=True,
        links={"user": _USER, "workspace": _WORK, "story": ("story_id", "stories"), "vendor": ("vendor_id", "vendors"),
               "expense_category": ("expense_category_id", "expense_categories"), "invoice": ("invoice_id", "invoices")},
        integers=("amount_in_cents",), dates=("date",), filters=("workspace_id", "user_id", "vendor_id"),
        ranges={"date_between": "date"}),
    "expense_categories": Thing("expense_category", None, ("name",), filters=("name",)),
    "invoices": Thing(
        "invoice", "Invoice", ("payment_schedule",), event=True, order="created_at:desc",
        links={"workspaces": ("workspace_ids", "workspaces"), "time_entries": ("time_entry_ids", "time_entries"),
               "expenses": ("expense_ids", "expenses"), "fixed_fee_items": ("fixed_fee_item_ids", "fixed_fee_items"),
               "additional_items": ("additional_item_ids", "additional_items"),
               "billing_milestones": ("billing_milestone_ids", "billing_milestones"), "recipient": ("recipient_id", "users")},
        dates=("invoice_date", "due_date"), filters=("user_invoice_number", "status", "workspace_ids"),
        ranges={"within_dates": "invoice_date"}),
    "external_payments": Thing("external_payment", None, ("workspace_id",), filters=("workspace_id", "invoice_id"),
                               links={"workspace": _WORK, "invoice": ("invoice_id", "invoices")}, integers=("amount_in_cents",)),
    "billing_milestones": Thing("billing_milestone", "BillingMilestone", ("workspace_id", "title", "amount_in_cents"), event=True,
                                links={"workspace": _WORK, "invoices": ("invoice_ids", "invoices")}, integers=("amount_in_cents",),
                                dates=("date_to_invoice",), filters=("workspace_id",)),
    "fixed_fee_items": Thing("fixed_fee_item", None, verbs=_READ, links={"invoice": ("invoice_id", "invoices")}, filters=("invoice_id",)),
    "additional_items": Thing("additional_item", None, verbs=_READ, links={"invoice": ("invoice_id", "invoices")}, filters=("invoice_id",)),
    "rate_card_sets": Thing("rate_card_set", None, ("title",), filters=("title",)),
    "rate_card_set_versions": Thing("rate_card_set_version", None, ("rate_card_set_id", "effective_date"), dates=("effective_date",),
                                    links={"rate_card_set": ("rate_card_set_id", "rate_card_sets")}, filters=("rate_card_set_id",)),
    "rate_cards": Thing("rate_card", "RateCard", ("rate_card_set_version_id", "currency"),
                        links={"rate_card_set_version": ("rate_card_set_version_id", "rate_card_set_versions")},
                        filters=("rate_card_set_version_id", "currency")),
    "rate_card_roles": Thing("rate_card_role", None, ("rate_card_id", "role_id", "rate_in_cents"), integers=("rate_in_cents",),
                             links={"rate_card": ("rate_card_id", "rate_cards"), "role": ("role_id", "roles")},
                             filters=("rate_card_id", "role_id")),
    "roles": Thing("role", "Role", ("name",), event=True, filters=("name",)),
    "vendors": Thing("vendor", "Vendor", ("name",), event=True, filters=("name",)),
    "skills": Thing("skill", None, ("name",), filters=("name",)),
    "time_off_entries": Thing("time_off_entry", "TimeOffEntry", ("user_id", "requested_date", "hours"), links={"user": _USER},
                              dates=("requested_date",), filters=("user_id",)),
    "custom_fields": Thing("custom_field", None, ("name", "value_type", "subject_type"), event=True, filters=("subject_type", "name")),
    "custom_field_values": Thing("custom_field_value", "CustomFieldValue", ("subject_type", "subject_id", "custom_field_id"),
                                 filters=("subject_type", "subject_id", "custom_field_id"),
                                 links={"custom_field": ("custom_field_id", "custom_fields")}),
    "external_references": Thing(
        "external_reference", None, ("subject_type", "subject_id", "service_name", "service_model", "service_model_ref"),
        filters=("subject_type", "subject_id", "service_name", "service_model", "service_model_ref", "status", "external_status")),
    "subscribed_events": Thing("subscribed_event", None, verbs=_READ, order="created_at:asc"),
}  # fmt: skip
SUBJECTS = {thing.subject: plural for plural, thing in THINGS.items() if thing.subject}
INDEXED = {
    "external_references": ("service_model_ref", "subject"), "custom_field_values": ("subject",), "assignments": ("story_id",),
    "users": ("email_address",), "workspace_groups": ("name",), "workspaces": ("title",), "invoices": ("user_invoice_number",),
}  # fmt: skip
"""Fields that filters look up without reading everything; `subject` is the type and id of what a row is about."""
UNITS = {"JPY": 1, "KRW": 1, "CLP": 1, "VND": 1, "KWD": 1000, "BHD": 1000, "OMR": 1000, "TND": 1000, "JOD": 1000}
"""Sub-units of a currency's main unit where they are not 100."""


def base_unit(currency: str) -> int:
    """How many sub-units the currency has."""
    return UNITS.get(currency, 100)
