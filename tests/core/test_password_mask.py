import pytest

from prefine_ray.core.password_mask import encode_user, mask

SECRETS = [
    ("postgresql://mlflow:s3cr3t@db:5432/x", "s3cr3t"),
    ("postgresql+psycopg://mlflow:p@ss/w0rd@db:5432/x", "w0rd"),
    ("postgresql+psycopg://mlflow:p@ss/w0rd@db:5432/x", "p@ss"),
    ("http://user:a%40b%2Fcd@host:5000/path", "a%40b%2Fcd"),
    ("https://host/api?token=abcdef123&x=1", "abcdef123"),
    ("https://host/api?x=1&access_token=abcdef123#f", "abcdef123"),
    ("https://ghp_abcdef@host/", "ghp_abcdef"),
]


@pytest.mark.parametrize(("uri", "secret"), SECRETS)
def test_no_secret_of_an_address_is_shown(uri, secret):
    assert secret not in mask(uri)
    assert secret not in mask(f"cannot reach {uri}: refused", uri)
    assert secret not in mask(f"authentication failed for {secret!r}", uri) or len(secret) < 5


def test_a_secret_is_found_decoded_and_alone():
    uri = "http://user:a%40b%2Fcd@host:5000"
    assert "a@b/cd" not in mask("FATAL: password a@b/cd is wrong", uri)


def test_what_is_no_secret_stays():
    assert mask("http://127.0.0.1:5000/x?run=3") == "http://127.0.0.1:5000/x?run=3"
    assert mask("sqlite:////a/b.db") == "sqlite:////a/b.db"
    assert mask("https://user:pw@host:1/p") == "https://host:1/p"
    assert "abcdefgh" not in mask("Authorization: Bearer abcdefgh")


@pytest.mark.parametrize(
    ("uri", "encoded"),
    [
        ("http://user:p@ss/word@127.0.0.1:9/x", "http://user:p%40ss%2Fword@127.0.0.1:9/x"),
        ("postgresql://u:pa/ss@host/db", "postgresql://u:pa%2Fss@host/db"),
        ("http://user:p%40ss@host", "http://user:p%40ss@host"),
        ("http://host:5000/a@b", "http://host:5000/a@b"),
        ("sqlite:////a/b.db", "sqlite:////a/b.db"),
    ],
)
def test_a_password_with_at_and_slash_is_encoded(uri, encoded):
    assert encode_user(uri) == encoded
