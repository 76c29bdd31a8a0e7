"""The environment, read once at a process's edge."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from schemas.errors import ConfigError
from schemas.settings import Settings
from schemas.task import TaskRequest


@pytest.fixture(autouse=True)
def no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in Settings.model_fields:
        monkeypatch.delenv(f"DEVSKYY_{name.upper()}", raising=False)
    for name in ("DATABASE_URL", "JWT_SECRET_KEY"):
        monkeypatch.delenv(name, raising=False)


def test_with_nothing_set_it_runs_on_one_laptop() -> None:
    settings = Settings.from_environment()
    assert (settings.http_host, settings.http_port) == ("127.0.0.1", 8000)
    assert (settings.nats_url, settings.ray_address, settings.config, settings.database_url) == (None,) * 4
    assert settings.home.is_absolute()


def test_what_is_set_counts(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    values = {
        "DEVSKYY_HOME": str(tmp_path),
        "DEVSKYY_HTTP_PORT": "8001",
        "DEVSKYY_HTTP_HOST": "0.0.0.0",
        "DEVSKYY_NATS_URL": "nats://a:b@c:4222",
        "DEVSKYY_RAY_ADDRESS": "10.0.0.1:6379",
        "DEVSKYY_CONFIG": str(tmp_path / "my.yaml"),
        "DATABASE_URL": "postgresql://u:p@h/d",
    }
    for name, value in values.items():
        monkeypatch.setenv(name, value)
    settings = Settings.from_environment()
    assert (settings.home, settings.config) == (tmp_path, tmp_path / "my.yaml")
    assert (settings.http_host, settings.http_port) == ("0.0.0.0", 8001)
    assert (settings.nats_url, settings.ray_address) == ("nats://a:b@c:4222", "10.0.0.1:6379")
    assert settings.database_url == "postgresql://u:p@h/d"


def test_copies_of_streams_are_one_three_or_five_in_a_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    assert Settings.from_environment().stream_replicas == 1
    monkeypatch.setenv("DEVSKYY_NATS_URL", "nats://a:b@c,nats://a:b@d,nats://a:b@e")
    for copies in (1, 3, 5):
        monkeypatch.setenv("DEVSKYY_STREAM_REPLICAS", str(copies))
        assert Settings.from_environment().stream_replicas == copies


def test_logins_at_a_broker_of_ones_own_are_one_too(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert Settings.from_environment().embeds_nats
    monkeypatch.setenv("DEVSKYY_NATS_LOGINS", str(tmp_path / "logins.json"))
    monkeypatch.setenv("DEVSKYY_STREAM_REPLICAS", "3")
    settings = Settings.from_environment()
    assert (settings.embeds_nats, settings.nats_logins) == (False, tmp_path / "logins.json")


def test_what_is_empty_of_nats_is_unset(monkeypatch: pytest.MonkeyPatch) -> None:
    names = ("URL", "LOGINS", "CA", "TLS_NAME", "TLS_CERT", "TLS_KEY", "PORT")
    for name in names:
        monkeypatch.setenv(f"DEVSKYY_NATS_{name}", "")
    settings = Settings.from_environment()
    assert settings.embeds_nats
    assert {getattr(settings, f"nats_{name.lower()}") for name in names} == {None}


@pytest.mark.parametrize(("name", "value"), [("PORT", "0"), ("PORT", "65536"), ("PLAINTEXT", "perhaps")])
def test_what_nats_cannot_be_told_is_named(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(f"DEVSKYY_NATS_{name}", value)
    with pytest.raises(ConfigError, match=f"DEVSKYY_NATS_{name}"):
        Settings.from_environment()


@pytest.mark.parametrize("copies", ["0", "2", "4", "7", "three"])
def test_another_number_of_copies_is_refused(monkeypatch: pytest.MonkeyPatch, copies: str) -> None:
    monkeypatch.setenv("DEVSKYY_NATS_URL", "nats://c")
    monkeypatch.setenv("DEVSKYY_STREAM_REPLICAS", copies)
    with pytest.raises(ConfigError, match="DEVSKYY_STREAM_REPLICAS"):
        Settings.from_environment()


def test_the_embedded_broker_keeps_one_copy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DEVSKYY_STREAM_REPLICAS", "3")
    with pytest.raises(ConfigError, match=r"DEVSKYY_STREAM_REPLICAS.*more than 1 needs a NATS cluster of your own"):
        Settings.from_environment()


@pytest.mark.parametrize("name", ["DEVSKYY_NATS_URL", "DEVSKYY_RAY_ADDRESS", "DEVSKYY_CONFIG", "DATABASE_URL"])
def test_empty_is_unset(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(name, "")
    field = name.removeprefix("DEVSKYY_").lower()
    assert getattr(Settings.from_environment(), field) is None


@pytest.mark.parametrize("given", ["debug", "Debug", "DEBUG"])
def test_a_log_level_may_be_written_in_any_case(monkeypatch: pytest.MonkeyPatch, given: str) -> None:
    monkeypatch.setenv("DEVSKYY_LOG_LEVEL", given)
    assert Settings.from_environment().log_level == "DEBUG"


def test_paths_become_absolute(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "me"))
    assert Settings(home=Path("here")).home == tmp_path / "here"
    assert Settings(home=Path("~/there")).home == tmp_path / "me" / "there"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("DEVSKYY_HTTP_PORT", "0"),
        ("DEVSKYY_HTTP_PORT", "65536"),
        ("DEVSKYY_HTTP_PORT", "http"),
        ("DEVSKYY_COORDINATORS", "0"),
        ("DEVSKYY_GATEWAYS", "65"),
        ("DEVSKYY_CONCURRENT_TASKS", "0"),
        ("DEVSKYY_LOG_LEVEL", "LOUD"),
    ],
)
def test_a_mistake_names_its_variable(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError) as raised:
        Settings.from_environment()
    assert (raised.value.file, raised.value.key) == ("environment", name)
    assert repr(value) in raised.value.rule


@pytest.mark.parametrize(
    ("given", "used"),
    [
        ("postgresql://u:p@h/d", "postgresql+asyncpg://u:p@h/d"),
        ("postgres://u:p@h/d", "postgresql+asyncpg://u:p@h/d"),
        ("postgresql+asyncpg://u:p@h/d", "postgresql+asyncpg://u:p@h/d"),
        ("sqlite:///x.db", "sqlite+aiosqlite:///x.db"),
        ("sqlite+aiosqlite:///x.db", "sqlite+aiosqlite:///x.db"),
    ],
)
def test_sql_urls_get_an_async_driver(given: str, used: str) -> None:
    assert Settings(database_url=given).sql_url == used


def test_without_a_database_it_is_a_file_in_the_home(tmp_path: Path) -> None:
    assert Settings(home=tmp_path).sql_url == f"sqlite+aiosqlite:///{tmp_path}/devskyy.db"


def test_settings_are_a_value() -> None:
    settings = Settings()
    with pytest.raises(ValidationError, match="frozen"):
        settings.http_port = 1  # type: ignore[misc]


def test_another_process_reads_the_same(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    settings = Settings(home=tmp_path, nats_url="nats://a:b@c:4222", gateways=3)
    assert Settings.load(settings.dump()) == settings


def test_another_process_s_own_environment_has_no_say(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    settings = Settings(home=tmp_path)
    dumped = settings.dump()
    monkeypatch.setenv("DEVSKYY_NATS_URL", "nats://elsewhere")
    monkeypatch.setenv("DATABASE_URL", "postgresql://elsewhere/d")
    monkeypatch.setenv("DEVSKYY_HTTP_PORT", "9")
    assert Settings.load(dumped) == settings


# -- who may call --------------------------------------------------------------------------------------------------


def test_no_error_and_no_text_repeats_a_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JWT_SECRET_KEY", "a secret of more than 32 bytes, indeed")
    settings = Settings.from_environment()
    assert settings.jwt_secret == "a secret of more than 32 bytes, indeed"
    assert "indeed" not in repr(settings)
    assert Settings.load(settings.dump()).jwt_secret == settings.jwt_secret


def test_tokens_are_taken_where_they_can_be_verified(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not Settings.from_environment().takes_tokens
    monkeypatch.setenv("DEVSKYY_JWKS_URL", "https://login.example/jwks")
    assert Settings.from_environment().takes_tokens
    monkeypatch.delenv("DEVSKYY_JWKS_URL")
    monkeypatch.setenv("JWT_SECRET_KEY", "")
    assert not Settings.from_environment().takes_tokens


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("https://login.example/jwks", "https://login.example/jwks"),
        ("http://127.0.0.1:8080/jwks", "http://127.0.0.1:8080/jwks"),
        ("http://localhost/jwks", "http://localhost/jwks"),
        ("/etc/jwks.json", "/etc/jwks.json"),
        ("file:///etc/jwks.json", "/etc/jwks.json"),
        ("http://login.example/jwks", None),
        ("ftp://login.example/jwks", None),
        ("https://", None),
    ],
)
def test_keys_of_tokens_come_from_where_nobody_can_change_them(
    monkeypatch: pytest.MonkeyPatch, given: str, kept: str | None
) -> None:
    monkeypatch.setenv("DEVSKYY_JWKS_URL", given)
    if kept is None:
        with pytest.raises(ConfigError, match="DEVSKYY_JWKS_URL"):
            Settings.from_environment()
    else:
        assert Settings.from_environment().jwks_url == kept


def test_sites_are_named_with_commas_between(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DEVSKYY_CORS_ORIGINS", " https://a.example ,http://localhost:3000,https://[::1]:8443, ")
    assert Settings.from_environment().cors_origins == (
        *("https://a.example", "http://localhost:3000", "https://[::1]:8443"),
    )


@pytest.mark.parametrize("origin", ["*", "a.example", "https://a.example/", "https://*.example", "null", "ftp://a"])
def test_what_is_no_origin_is_refused(monkeypatch: pytest.MonkeyPatch, origin: str) -> None:
    monkeypatch.setenv("DEVSKYY_CORS_ORIGINS", f"https://a.example,{origin}")
    with pytest.raises(ConfigError, match="is no origin"):
        Settings.from_environment()


def test_rows_outlive_what_streams_keep(monkeypatch: pytest.MonkeyPatch) -> None:
    # Given a time for streams
    monkeypatch.setenv("DEVSKYY_KEEP_DAYS", "20")
    # Then rows are kept for good, or as long at least
    assert Settings.from_environment().keep_rows_days is None
    monkeypatch.setenv("DEVSKYY_KEEP_ROWS_DAYS", "20")
    assert Settings.from_environment().keep_s == 20 * 86_400
    monkeypatch.setenv("DEVSKYY_KEEP_ROWS_DAYS", "19")
    with pytest.raises(ConfigError, match=r"DEVSKYY_KEEP_ROWS_DAYS: .*must not be less than DEVSKYY_KEEP_DAYS"):
        Settings.from_environment()


def test_streams_keep_a_task_for_longer_than_it_may_take(monkeypatch: pytest.MonkeyPatch) -> None:
    # What it refers to may be stored half of the time before it begins.
    monkeypatch.setenv("DEVSKYY_KEEP_DAYS", "15")
    longest_s = TaskRequest.model_fields["timeout_s"].metadata
    most = next(each.le for each in longest_s if hasattr(each, "le"))
    assert most <= Settings.from_environment().keep_s / 2
    monkeypatch.setenv("DEVSKYY_KEEP_DAYS", "14")
    with pytest.raises(ConfigError, match="DEVSKYY_KEEP_DAYS"):
        Settings.from_environment()
