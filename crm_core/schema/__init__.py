"""What a table is. `TABLES` holds every canonical table; checks, empty tables and README tables come from it."""

from crm_core.schema.describe import markdown
from crm_core.schema.table import Column, Rule, TableSchema
from crm_core.schema.tables import LOAD, TABLES
from crm_core.schema.validation import broken_rules, empty, violations

__all__ = ["LOAD", "TABLES", "Column", "Rule", "TableSchema", "broken_rules", "empty", "markdown", "violations"]
