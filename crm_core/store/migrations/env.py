"""Alembic's entry point: migrates over the connection that `Ledger` hands in."""

from alembic import context

from crm_core.store.ledger.models import Base

connection = context.config.attributes["connection"]
context.configure(connection=connection, target_metadata=Base.metadata, render_as_batch=True)
with context.begin_transaction():
    context.run_migrations()
