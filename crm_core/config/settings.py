"""`Config`: every conf file of a workspace by name, read when asked for; the workspace's own file replaces the repository's.

The texts are kept, so that a run can pin exactly the settings it used (`texts`, `hash`) and be rebuilt from them later.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from pydantic import BaseModel

from crm_core.config.loader import no_passwords, parse_yaml
from crm_core.config.project import ProjectSettings
from crm_core.errors import InputError, unknown

if TYPE_CHECKING:
    from crm_core.config.campaigns import CampaignSettings
    from crm_core.config.identity import IdentitySettings
    from crm_core.config.models import ModelSettings
    from crm_core.config.platforms import PlatformSettings
    from crm_core.config.reports import ReportSettings
    from crm_core.config.segments import SegmentSettings
    from crm_core.config.sources import SourceSettings
    from crm_core.config.tags import TagSettings

Model = TypeVar("Model", bound=BaseModel)


class Config:
    """The settings of one workspace. `files` maps 'sources/sample.yml' to its text; `shown` to the path named in errors."""

    def __init__(self, files: Mapping[str, str], shown: Mapping[str, str] | None = None) -> None:
        self._files = dict(sorted(files.items()))
        self._shown = dict(shown or {name: f"conf/{name}" for name in files})
        self._parsed: dict[str, BaseModel] = {}

    @classmethod
    def read(cls, folders: list[Path]) -> Config:
        """Reads every *.yml below the conf folders; a file in a later folder replaces one of the same name."""
        files: dict[str, str] = {}
        shown: dict[str, str] = {}
        for folder in folders:
            for path in sorted(folder.rglob("*.yml")):
                name = path.relative_to(folder).as_posix()
                try:
                    files[name] = path.read_text(encoding="utf-8")
                except (OSError, UnicodeDecodeError) as error:
                    raise InputError(f"{path} cannot be read as UTF-8 text: {error}") from None
                shown[name] = f"conf/{name}" if folder == folders[0] else str(path)
                no_passwords(files[name], shown[name])
        return cls(files, shown)

    def texts(self) -> dict[str, str]:
        """Every settings file by its name below conf/, for pinning."""
        return dict(self._files)

    def hash(self) -> str:
        """SHA-256 over all settings files."""
        return hashlib.sha256(json.dumps(self._files, sort_keys=True, ensure_ascii=False).encode()).hexdigest()

    def _model(self, name: str, model: type[Model]) -> Model:
        if name not in self._parsed:
            text = self._files.get(name, "")
            self._parsed[name] = parse_yaml(text, model, self._shown.get(name, f"conf/{name}"))
        parsed = self._parsed[name]
        assert isinstance(parsed, model)
        return parsed

    def _names(self, folder: str) -> list[str]:
        prefix = f"{folder}/"
        return [name[len(prefix) : -4] for name in self._files if name.startswith(prefix)]

    def _named(self, kind: str, folder: str, name: str, model: type[Model]) -> Model:
        if name not in self._names(folder):
            raise unknown(kind, name, self._names(folder), f"conf/{folder}/")
        return self._model(f"{folder}/{name}.yml", model)

    @cached_property
    def project(self) -> ProjectSettings:
        """conf/project.yml."""
        return self._model("project.yml", ProjectSettings)

    @property
    def segments(self) -> SegmentSettings:
        """conf/segments.yml."""
        from crm_core.config.segments import SegmentSettings

        return self._model("segments.yml", SegmentSettings)

    @property
    def tags(self) -> TagSettings:
        """conf/tags.yml."""
        from crm_core.config.tags import TagSettings

        return self._model("tags.yml", TagSettings)

    @property
    def models(self) -> ModelSettings:
        """conf/models.yml."""
        from crm_core.config.models import ModelSettings

        return self._model("models.yml", ModelSettings)

    @property
    def identity(self) -> IdentitySettings:
        """conf/identity.yml."""
        from crm_core.config.identity import IdentitySettings

        return self._model("identity.yml", IdentitySettings)

    @property
    def reports(self) -> ReportSettings:
        """conf/reports.yml."""
        from crm_core.config.reports import ReportSettings

        return self._model("reports.yml", ReportSettings)

    def source(self, name: str) -> SourceSettings:
        """conf/sources/NAME.yml. Raises UnknownName with the nearest name."""
        from crm_core.config.sources import SourceSettings

        return self._named("source", "sources", name, SourceSettings)

    def source_names(self) -> list[str]:
        """Names of all sources."""
        return self._names("sources")

    def campaign(self, name: str) -> CampaignSettings:
        """conf/campaigns/NAME.yml. Raises UnknownName with the nearest name."""
        from crm_core.config.campaigns import CampaignSettings

        return self._named("campaign", "campaigns", name, CampaignSettings)

    def campaign_names(self) -> list[str]:
        """Names of all campaigns."""
        return self._names("campaigns")

    def platform(self, name: str) -> PlatformSettings:
        """conf/platforms/NAME.yml. Raises UnknownName with the nearest name."""
        from crm_core.config.platforms import PlatformSettings

        return self._named("platform", "platforms", name, PlatformSettings)

    def platform_names(self) -> list[str]:
        """Names of all platforms."""
        return self._names("platforms")
