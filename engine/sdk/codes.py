"""Every error code with its one-line meaning. A code never changes meaning; the reference lists them all.

Ranges: E1 documents and names · E2 expressions, templates, functions · E3 mappings and flows before a run ·
E4 records in a run · C5 connections and connectors · R6 runs · S7 state · X9 commands.
"""

from __future__ import annotations

CODES: dict[str, str] = {
    "E100": "the document is not readable YAML",
    "E101": "a name refers to nothing",
    "E102": "a connector is installed but cannot be loaded",
    # E200–E289 expressions, templates, functions
    # E300–E399 mappings, schemas, flows
    # E400–E499 records
    # C500–C599 connections
    # R600–R699 runs
    # S700–S799 state
    # X900–X999 commands
}
