"""The vault: contact data, account ids and unmasked rejects, and nothing of them anywhere else."""

from crm_core.store.vault.tables import CONTACTS, REFUSED
from crm_core.store.vault.vault import ID_LENGTH, Vault

__all__ = ["CONTACTS", "ID_LENGTH", "REFUSED", "Vault"]
