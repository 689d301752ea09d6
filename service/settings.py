"""Where things are: one frozen object, made in `main()` and in `create_app()`, never at import.

A setting is taken from, in this order: the argument (a flag), the environment (`NGPU_PORT=9000`),
the file named by `NGPU_CONFIG` (else `./ngpu.toml`, if there is one), the default. What a sweep
computes is never a setting: that is the spec's.
"""

import os
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, field_validator
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)


class Settings(BaseSettings):
    """The settings of one process; `environment()` hands them to a child."""

    model_config = SettingsConfigDict(env_prefix="NGPU_", frozen=True, extra="forbid")

    #: The one folder everything is written under; relative to the working directory.
    home: Path = Field(default=Path("var"), validate_default=True)
    #: SQLAlchemy URL; left empty, the SQLite file `HOME/ngpu.sqlite`.
    database_url: str = Field(default="", validate_default=True)
    #: Address the web process listens on.
    host: str = "127.0.0.1"
    port: int = Field(default=8000, ge=0, le=65535)
    #: Where clients find the service; left empty, this host and port. Without tokens, the only name
    #: it answers to besides those of loopback.
    server_url: str = Field(default="", validate_default=True)
    #: Whether every request needs a token; None: wherever others than this machine can ask.
    require_tokens: bool | None = None
    #: The token that the client and the command line send.
    token: str = Field(default="", repr=False)
    #: Submits, retries and extensions a minute that one token (or address) may ask for; 0: any.
    submits_per_minute: int = Field(default=120, ge=0)
    #: Seconds a query of `POST /sql` may take.
    sql_seconds: float = Field(default=2.0, gt=0, le=600)
    #: PostgreSQL: URL whose role such queries run as; left empty, the service makes a role.
    sql_database_url: str = ""
    #: Address of a running Ray cluster; None starts Ray on this machine.
    ray_address: str | None = None
    #: Processors that local trials may use; None means all this process may run on.
    cpus: int | None = Field(default=None, ge=1)
    #: `ray`, or `local`: the same trials one after another in the runner's own process.
    runner: Literal["ray", "local"] = "ray"
    #: Seconds without any progress after which a pack is taken from its worker, at least.
    stall_seconds: float = Field(default=300.0, gt=0)
    log_format: Literal["text", "json"] = "text"
    #: Address that is told the end of every sweep; None tells nobody.
    webhook_url: str | None = Field(default=None, pattern="^https?://")
    #: What signs it; both sides know it.
    webhook_secret: str | None = Field(default=None, repr=False, validate_default=True)

    @field_validator("home")
    @classmethod
    def _absolute(cls, home: Path) -> Path:
        return home.expanduser().absolute()

    @field_validator("database_url")
    @classmethod
    def _default_database(cls, url: str, info: Any) -> str:
        if url and not url.startswith(("sqlite:///", "postgres://", "postgresql")):
            raise ValueError("must be sqlite:///FILE or postgresql://…")
        if url or "home" not in info.data:
            return url
        return f"sqlite:///{info.data['home'] / 'ngpu.sqlite'}"

    @field_validator("require_tokens")
    @classmethod
    def _tokens_beyond_loopback(cls, required: bool | None, info: Any) -> bool | None:
        if required is False and not is_loopback(info.data.get("host", "")):
            raise ValueError("tokens can be off only where the host is 127.0.0.1, ::1 or localhost")
        return required

    @field_validator("server_url")
    @classmethod
    def _default_server(cls, url: str, info: Any) -> str:
        if url or not {"host", "port"} <= info.data.keys():
            return url.rstrip("/")
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(info.data["host"], info.data["host"])
        return f"http://{f'[{host}]' if ':' in host else host}:{info.data['port']}"

    @field_validator("webhook_secret")
    @classmethod
    def _signed(cls, secret: str | None, info: Any) -> str | None:
        if info.data.get("webhook_url") and not secret:
            raise ValueError("webhook_url needs a secret to sign with: set webhook_secret")
        return secret

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Flag, then environment, then file: an earlier source wins."""
        return init_settings, env_settings, TomlConfigSettingsSource(settings_cls, config_file())

    @property
    def tokens_required(self) -> bool:
        """Whether a request needs a token: always, unless only this machine can ask."""
        return not is_loopback(self.host) if self.require_tokens is None else self.require_tokens

    @property
    def embedded(self) -> bool:
        """Whether the record is a SQLite file, which the service creates and upgrades itself."""
        return self.database_url.startswith("sqlite")

    @property
    def checkpoints(self) -> Path:
        """Folder of the seeds' checkpoints."""
        return self.home / "checkpoints"

    @property
    def logs(self) -> Path:
        """Folder of the logs of child processes."""
        return self.home / "logs"

    @property
    def scratch(self) -> Path:
        """Folder for what may be deleted when nothing runs, such as Ray's own files."""
        return self.home / "scratch"

    def make_home(self) -> Path:
        """Create the home and its folders where they are missing."""
        for folder in (self.home, self.checkpoints, self.logs, self.scratch):
            folder.mkdir(parents=True, exist_ok=True)
        return self.home

    def environment(self) -> dict[str, str]:
        """The variables that give a child process these settings, whatever its own would be."""
        values = self.model_dump(mode="json", exclude_none=True, exclude={"token"})
        return {f"NGPU_{key.upper()}": str(value) for key, value in values.items()}


def is_loopback(host: str) -> bool:
    """Whether a name or address means this machine to itself."""
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def config_file() -> Path | None:
    """The settings file, or None where there is none.

    Raises:
        FileNotFoundError: `NGPU_CONFIG` names a file that does not exist.
    """
    named = os.environ.get("NGPU_CONFIG")
    path = Path(named or "ngpu.toml")
    if named and not path.is_file():
        raise FileNotFoundError(f"NGPU_CONFIG names {named}: there is no such file")
    return path if path.is_file() else None
