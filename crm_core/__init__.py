"""Member marketing from shop exports: validated tables, segments, tags, campaigns with a kept control, honest results."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from crm_core.workspace import Workspace

__version__ = "0.1.0"
__all__ = ["Workspace", "__version__"]


def __getattr__(name: str) -> Any:
    # Workspace pulls in the engine; loading it on first use keeps `import crm_core` and `crm --help` instant.
    if name == "Workspace":
        from crm_core.workspace import Workspace

        return Workspace
    raise AttributeError(f"module 'crm_core' has no attribute '{name}'")
