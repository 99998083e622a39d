"""Settings: conf/*.yml read into frozen models, workspace over repository, file by file."""

from crm_core.config.loader import Settings, parse_yaml, read_yaml
from crm_core.config.project import EngineSettings, ProjectSettings
from crm_core.config.settings import Config

__all__ = ["Config", "EngineSettings", "ProjectSettings", "Settings", "parse_yaml", "read_yaml"]
