"""Settings: files, environment, old names, and clear words for what is wrong."""

from __future__ import annotations

import re
import stat

import pytest

from extrapypi import config
from extrapypi.errors import ConfigError
from extrapypi.settings import DEFAULTS, Settings

LOG_TO_NO_FOLDER = {
    "version": 1,
    "handlers": {"log": {"class": "logging.FileHandler", "filename": "/no/folder/log"}},
}


@pytest.fixture
def written(tmp_path):
    """A function that loads a configuration file with this text."""

    def load(text: str, **environ: str) -> config.Config:
        path = tmp_path / "conf" / "config.py"
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        variables = {f"EXTRAPYPI_{name}": value for name, value in environ.items()}
        return config.load(environ={"EXTRAPYPI_CONFIG": str(path), **variables})

    return load


def test_the_defaults_follow_base_dir(written, tmp_path):
    settings = written(f"BASE_DIR = {str(tmp_path)!r}")
    assert f"sqlite:///{tmp_path}/extrapypi.db" == settings.DATABASE_URL
    assert {"packages_root": f"{tmp_path}/packages"} == settings.STORAGE_PARAMS
    assert settings.HOST == "127.0.0.1"


def test_every_setting_has_a_type():
    assert list(Settings.__annotations__) == [setting.name for setting in DEFAULTS]


def test_the_file_is_code_and_a_later_assignment_wins(written):
    settings = written(
        "import os\nfrom pathlib import Path\nPORT = 1\nfor i in range(3):\n    PORT += i\nlow = 5"
    )
    assert settings.PORT == 4


def test_relative_paths_are_relative_to_the_file(written, tmp_path):
    settings = written(
        "DATABASE_URL = 'sqlite:///data/x.db'\nSTORAGE_PARAMS = {'packages_root': 'files'}"
    )
    assert f"sqlite:///{tmp_path}/conf/data/x.db" == settings.DATABASE_URL
    assert {"packages_root": f"{tmp_path}/conf/files"} == settings.STORAGE_PARAMS


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("sqlite:////var/x.db", "sqlite:////var/x.db"),
        ("mysql+pymysql://u:p@h/x", "mysql://u:p@h/x"),
        ("postgresql+psycopg://u:p%40@h:1/x", "postgresql://u:p%40@h:1/x"),
        ("postgres://h/x", "postgresql://h/x"),
    ],
)
@pytest.mark.parametrize("name", ["DATABASE_URL", "SQLALCHEMY_DATABASE_URI", "SQLALCHEMY_URI"])
def test_database_urls_are_taken_under_old_names_and_with_drivers(written, name, url, expected):
    assert expected == written(f"{name} = {url!r}").DATABASE_URL


def test_settings_of_the_old_extensions_are_ignored_with_one_warning(written, caplog):
    written("SQLALCHEMY_ECHO = True\nWTF_CSRF_ENABLED = True\nSESSION_COOKIE_NAME = 'x'")
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "SQLALCHEMY_ECHO" in caplog.text


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("PROT = 1", "PROT, which is no setting of extrapypi. Did you mean PORT?"),
        ("STORAGE_PARAM = {}", "STORAGE_PARAMS"),
        ("ZZZ = 1", "ZZZ"),
        ("PORT = '8000'", "PORT must be int, not str"),
        ("PORT = True", "PORT must be int, not bool"),
        ("PORT = 70000", "PORT is 70000; it goes from 0 to 65535"),
        ("THREADS = 0", "THREADS is 0"),
        ("MAX_UPLOAD_SIZE = -1", "MAX_UPLOAD_SIZE"),
        ("DASHBOARD = 'no'", "DASHBOARD must be bool"),
        ("SECRET_KEY = ''", "SECRET_KEY"),
        ("SECRET_KEY = ['a', 1]", "SECRET_KEY"),
        ("SECRET_KEY = []", "SECRET_KEY"),
        ("DATABASE_URL = 'oracle://x'", "DATABASE_URL 'oracle://x' is not understood"),
        ("DATABASE_URL = 'sqlite://'", "SQLite needs a file"),
        ("DATABASE_URL = 'sqlite:///:memory:'", "SQLite needs a file"),
        ("TRUSTED_PROXY = 'proxy.local'", "TRUSTED_PROXY"),
        ("SENDFILE = 'lighttpd'", "SENDFILE is 'lighttpd'"),
        ("SENDFILE = 'nginx'\nSTORAGE = 'x:y'", "SENDFILE needs STORAGE"),
        ("SENDFILE = 'nginx'", "SENDFILE needs TRUSTED_PROXY"),
        ("STATIC_URL = 'static'", "STATIC_URL"),
        ("LOGGING_CONFIG = None", "LOGGING_CONFIG must be dict"),
        ("LOGGING_CONFIG = {}", "LOGGING_CONFIG cannot be used"),
        (f"LOGGING_CONFIG = {LOG_TO_NO_FOLDER}", "No such file or directory: '/no/folder/log'."),
        ("STORAGE_PARAMS = {'packages_root': 5}", "packages_root is 5; it must be a path"),
        ("URL_PREFIX = 'http://x/y z'", "URL_PREFIX"),
        ("1 / 0", "ZeroDivisionError"),
        ("x =", "SyntaxError"),
        ("raise SystemExit(1)", "SystemExit"),
    ],
)
def test_what_is_wrong_is_named_with_its_rule(written, text, words):
    with pytest.raises(ConfigError, match=re.escape(words)):
        written(text).start_logging()


def test_a_password_in_a_bad_url_is_not_shown(written):
    with pytest.raises(ConfigError) as caught:
        written("DATABASE_URL = 'oracle://user:pa:ss@word@host/x'")
    assert "word" not in str(caught.value).replace("password", "")


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        (
            "postgresql://h/x?user=u&password=a@b/c#d&port=1",
            "postgresql://h/x?user=u&password=***&port=1",
        ),
        ("postgresql://h:1/x?sslpassword=ab", "postgresql://h:1/x?sslpassword=***"),
        ("mysql://u:a@h/x?passwd=b", "mysql://u:***@h/x?passwd=***"),
        ("mysql://u:p@h/x?ssl_key_password=", "mysql://u:***@h/x?ssl_key_password=***"),
        ("sqlite:////var/x.db", "sqlite:////var/x.db"),
    ],
)
def test_a_url_is_shown_with_stars_for_its_passwords(url, shown):
    assert config.without_password(url) == shown


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(ConfigError, match=r"nothing\.py cannot be read"):
        config.load(tmp_path / "nothing.py")


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("PORT", "9000", 9000),
        ("DASHBOARD", "off", False),
        ("DEBUG", "True", True),
        ("SECRET_KEY", "just a text", "just a text"),
        ("SECRET_KEY", '["new", "old"]', ["new", "old"]),
        ("STORAGE_PARAMS", '{"packages_root": "/x"}', {"packages_root": "/x"}),
        ("TRUSTED_PROXY", "10.0.0.0/8", "10.0.0.0/8"),
        ("TRUSTED_PROXY", "true", True),
        ("SENDFILE", "", None),
    ],
)
def test_the_environment_overrides_the_file(written, name, text, value):
    assert getattr(written("PORT = 1", **{name: text}), name) == value


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("PROT", "1", "Did you mean PORT?"),
        ("PORT", "many", "EXTRAPYPI_PORT is 'many'; it must be int"),
        ("DEBUG", "maybe", "it must be bool"),
        ("STORAGE_PARAMS", "{", "it must be dict"),
    ],
)
def test_a_bad_variable_is_named(written, name, text, words):
    with pytest.raises(ConfigError, match=re.escape(words)):
        written("", **{name: text})


def test_what_kubernetes_sets_for_a_service_is_no_setting(written):
    variables = {
        "SERVICE_HOST": "10.0.0.1",
        "SERVICE_PORT_HTTP": "80",
        "PORT": "tcp://10.0.0.1:80",
        "PORT_80_TCP_ADDR": "10.0.0.1",
    }
    assert written("", **variables).PORT == 8000


def test_a_secret_key_is_made_once_and_for_the_owner_only(tmp_path):
    first = config.load({"BASE_DIR": str(tmp_path)}).secret_keys
    assert config.load({"BASE_DIR": str(tmp_path)}).secret_keys == first
    assert stat.S_IMODE((tmp_path / "secret_key").stat().st_mode) == 0o600
    assert [path.name for path in tmp_path.iterdir()] == ["secret_key"]


def test_an_empty_key_file_is_named(tmp_path):
    (tmp_path / "secret_key").touch()
    with pytest.raises(ConfigError, match=r"secret_key is empty"):
        assert config.load({"BASE_DIR": str(tmp_path)}).secret_keys


@pytest.mark.parametrize("key", ["changeit", "short"])
def test_sample_keys_are_known(key):
    assert config.load({"SECRET_KEY": key}).has_sample_key
    assert not config.load({"SECRET_KEY": "z" * 32}).has_sample_key
