"""Open incidents in a JSON or YAML file, which the incident tool or a person writes. Knows no server.

``{"at": "2026-11-23T09:00:00Z", "open": [{"id": "INC-7", "title": "...", "services": ["shop"]}]}``
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from airlock.errors import PermanentError, TemporaryError
from airlock.models.needs import Needs, Permission, Stage, System
from airlock.options import Options as BaseOptions
from airlock.schedule.signal import Signal, Stop
from airlock.service.values import Folder

_LARGEST = 1 << 20
_CLOCKS_DIFFER = timedelta(minutes=5)


class _Options(BaseOptions):
    """Which file says what is open."""

    path: Folder
    """The file."""
    maximum_age_minutes: float | None = Field(None, gt=0, allow_inf_nan=False)
    """The file must say when it was written (``at``), and not be older; left out: any age will do."""


class _Open(BaseModel):
    """One entry; without services or environments it concerns all of them. Further fields are the tool's own."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    id: Annotated[str, StringConstraints(min_length=1, max_length=200)]
    title: str = "no title"
    services: tuple[str, ...] | None = None
    environments: tuple[str, ...] | None = None

    def concerns(self, service: str, environment: str) -> bool:
        """Return whether it stops releases of *service* to *environment*."""
        return (self.services is None or service in self.services) and (
            self.environments is None or environment in self.environments
        )


class _Content(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")

    at: AwareDatetime | None = None
    open: tuple[_Open, ...]


class FileSignal(Signal):
    """See the module."""

    Options = _Options
    options: _Options
    needs = Needs(permissions=(Permission(system=System.FILES, actions=("read",), on="{path}",
                                          stages=(Stage.CALENDAR,)),))  # fmt: skip

    def where(self) -> str:
        return self.options.path

    def stops(self, service: str, environment: str) -> tuple[Stop, ...]:
        content = self._content()
        self._refuse_old(content)
        return tuple(Stop(name=one.id, words=one.title) for one in content.open if one.concerns(service, environment))

    def _content(self) -> _Content:
        import yaml
        from upath import UPath

        path = self.options.path
        try:
            with UPath(path).open("rb") as stream:
                raw = stream.read(_LARGEST + 1)
            if len(raw) > _LARGEST:
                raise TemporaryError(f"{path} is larger than {_LARGEST} bytes: keep open incidents only")
            # JSON is YAML too. Times stay text, so that one without an offset is refused.
            given: Any = yaml.load(raw, Loader=yaml.BaseLoader)  # noqa: S506 - makes nothing but text, lists and maps
            return _Content.model_validate(given)
        except OSError as error:
            raise TemporaryError(f"{path} cannot be read ({type(error).__name__}): see whether it is there") from error
        except ValidationError as error:
            fault = error.errors(include_url=False)[0]
            place = ".".join(map(str, fault["loc"])) or "file"
            raise TemporaryError(f"{path} has another form than expected: {place}: {fault['msg']}") from error
        except (yaml.YAMLError, RecursionError, UnicodeDecodeError) as error:
            raise TemporaryError(f"{path} is neither JSON nor YAML: write it anew") from error
        except (ValueError, ImportError) as error:
            raise PermanentError(f"{path} cannot be opened: {error}; correct the path") from error

    def _refuse_old(self, content: _Content) -> None:
        limit = self.options.maximum_age_minutes
        if limit is None:
            return
        if content.at is None:
            raise TemporaryError(f"{self.options.path} does not say when it was written; write 'at' with an offset")
        age = datetime.now(UTC) - content.at
        if age > timedelta(minutes=limit) or age < -_CLOCKS_DIFFER:
            raise TemporaryError(f"{self.options.path} was written on {content.at:%d %b %Y %H:%M %Z}, which is not "
                                 f"within the last {limit:g} min: see why nobody writes it any more")
