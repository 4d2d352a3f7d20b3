"""The bundled fake systems: Salesforce, Kantata and NetSuite over real HTTP on loopback, with seeded data.

with start() as sandbox:
    sandbox.url("salesforce")
"""

from connectors.sandbox.sandbox import SYSTEMS, Sandbox, start

__all__ = ["SYSTEMS", "Sandbox", "start"]
