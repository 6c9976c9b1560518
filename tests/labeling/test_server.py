"""Requests that nobody's page sends: none of them changes an answer, reads another file or ends the server."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import uvicorn
from starlette.testclient import TestClient

from prefine_ray.labeling.clips import OwnVideos
from prefine_ray.labeling.server import PortError, make_app, open_port
from prefine_ray.labeling.session import Session
from tests.labeling.people import by_number, settings

TOKEN, PORT = "the-token-of-the-test", 8901
HOME = f"http://127.0.0.1:{PORT}"
GOOD = {"rater": "Ann", "number": 0, "answer": "left"}


@pytest.fixture
def asked(tmp_path: Path) -> Session:
    videos = tmp_path / "videos"
    videos.mkdir()
    for number in range(6):
        (videos / f"{number}.mp4").write_bytes(b"video %d" % number)
    (tmp_path / "secret.mp4").write_text("secret")
    clips = OwnVideos(videos, 6)
    return Session(tmp_path / "answers", settings(count=8), clips.trajectories, clips)


@pytest.fixture
def client(asked: Session) -> TestClient:
    """A browser with the whole address."""
    made = TestClient(make_app(asked, TOKEN, PORT), base_url=HOME, raise_server_exceptions=False)
    made.params = {"token": TOKEN}
    return made


def kept(asked: Session) -> bytes:
    return asked.answers.path.read_bytes()


def answer(client: TestClient, rater: str = "Ann") -> dict:
    """One good answer; the new state."""
    state = client.get("/api/state", params={"rater": rater}).json()
    said = {"rater": rater, "number": state["number"], "trajectories": state["trajectories"]}
    reply = client.post("/api/answer", json={**said, "answer": by_number(state)})
    assert reply.status_code == 200, reply.text
    return reply.json()


def test_the_page_its_state_its_clips_and_its_answers(client, asked):
    page = client.get("/")
    assert page.status_code == 200
    nonce = page.headers["content-security-policy"].split("'nonce-")[1].split("'")[0]
    assert page.text.count(f'nonce="{nonce}"') == 2
    assert "{{" not in page.text
    assert client.get("/").headers["content-security-policy"] != page.headers["content-security-policy"]
    state = client.get("/api/state", params={"rater": "Ann"}).json()
    clip = client.get(f"/clip/{state['trajectories'][0]}")
    assert (clip.content, clip.headers["content-type"]) == (b"video %d" % state["trajectories"][0], "video/mp4")
    assert answer(client)["number"] == 1
    undone = client.post("/api/undo", json={"rater": "Ann", "number": 1}).json()
    assert undone == state
    for reply in (page, clip, client.get("/api/state", params={"rater": "Ann"})):
        assert reply.headers["cache-control"] == "no-store"
        assert reply.headers["referrer-policy"] == "no-referrer"
        assert reply.headers["x-content-type-options"] == "nosniff"


def test_the_page_asks_nobody_else():
    page = Path(__file__).parents[2] / "prefine_ray/labeling/page.html"
    assert "//" not in page.read_text().replace("</", "").split("<body>")[0].replace("<!doctype", "")
    assert "http" not in page.read_text()


OTHER_HOSTS = [
    "evil.example",
    "127.0.0.1",
    f"127.0.0.1:{PORT + 1}",
    f"evil.example:{PORT}",
    f"127.0.0.1:{PORT}.evil.example",
]
OTHER_HOSTS += ["", "localhost.evil.example", f"[::1]:{PORT}", f"0.0.0.0:{PORT}"]
TOKENS = [
    [],
    [""],
    ["wrong"],
    [TOKEN[:-1]],
    [TOKEN + "x"],
    [TOKEN, TOKEN],
    ["wrong", TOKEN],
    ["\u00e9"],
    [TOKEN.upper()],
]
ADDRESSES = ["/", "/api/state?rater=Ann", "/clip/0"]
PATHS = [
    "/clip/../../secret.mp4",
    "/clip/..%2f..%2fsecret.mp4",
    "/clip/%2e%2e/%2e%2e/secret.mp4",
    "/clip/....//secret.mp4",
    "/clip//etc/passwd",
    "/clip/0.mp4",
    "/clip/0/../../secret.mp4",
    "/clip/-1",
    "/clip/6",
    "/clip/99999999999999999999",
    "/clip/0x0",
    "/clip/0%00.mp4",
    "/page.html",
    "/docs",
    "/openapi.json",
    "/api/../answers.csv",
    "/answers.csv",
    "/static/",
]
BODIES = [
    b"",
    b"{",
    b'{"rater": "Ann", "number": 0, "traj',
    b"[]",
    b"null",
    b'"left"',
    b"\xff\xfe",
    b"{}",
    json.dumps({**GOOD, "trajectories": []}).encode(),
    json.dumps({**GOOD, "trajectories": [0, 1, 2]}).encode(),
    json.dumps({**GOOD, "trajectories": [-1, 1]}).encode(),
    json.dumps({**GOOD, "trajectories": ["0", "1"]}).encode(),
    json.dumps({**GOOD, "trajectories": [1e300, 1]}).encode(),
    json.dumps({**GOOD, "trajectories": [0, 1], "number": -1}).encode(),
    json.dumps({**GOOD, "trajectories": [0, 1], "number": True}).encode(),
    json.dumps({**GOOD, "trajectories": [0, 1], "number": 10**30}).encode(),
    json.dumps({**GOOD, "trajectories": [0, 1], "answer": "undo"}).encode(),
    json.dumps({**GOOD, "trajectories": [0, 1], "answer": ["left"]}).encode(),
    json.dumps({**GOOD, "trajectories": [0, 1], "more": 1}).encode(),
    json.dumps({**GOOD, "trajectories": [0, 1], "rater": ""}).encode(),
    json.dumps({**GOOD, "trajectories": [0, 1], "rater": "a\nb,t,0,1,left"}).encode(),
    json.dumps({**GOOD, "trajectories": [0, 1], "rater": "=cmd()"}).encode(),
    json.dumps({**GOOD, "trajectories": [0, 1], "rater": None}).encode(),
    b"[" * 4000,
    b'{"rater": "' + b"x" * 100_000 + b'"}',
]


@pytest.mark.parametrize("host", OTHER_HOSTS)
def test_another_host_gets_nothing(client, asked, host):
    for address in ADDRESSES:
        assert client.get(address, headers={"Host": host}).status_code in (400, 421)
    assert client.post("/api/answer", json=GOOD, headers={"Host": host}).status_code in (400, 421)


@pytest.mark.parametrize("tokens", TOKENS)
def test_without_the_token_there_is_nothing(client, asked, tokens):
    client.params = {}
    before = kept(asked)
    for address in ADDRESSES:
        assert client.get(address, params=[("token", token) for token in tokens]).status_code == 403
    assert client.post("/api/answer", params={"token": tokens}, json=GOOD).status_code == 403
    assert kept(asked) == before


@pytest.mark.parametrize("origin", ["http://evil.example", "null", f"https://127.0.0.1:{PORT}", "http://127.0.0.1:1"])
def test_a_page_of_elsewhere_cannot_answer(client, asked, origin):
    before = kept(asked)
    assert client.post("/api/answer", json=GOOD, headers={"Origin": origin}).status_code == 403
    assert kept(asked) == before


@pytest.mark.parametrize("path", PATHS)
def test_no_other_file_is_served(client, path):
    reply = client.get(path)
    assert reply.status_code in (404, 422), reply.text
    assert "secret" not in reply.text.replace("secret.mp4", "")


@pytest.mark.parametrize("body", BODIES, ids=lambda body: repr(body[:60]))
def test_other_bodies_change_nothing(client, asked, body):
    before = kept(asked)
    for address in ("/api/answer", "/api/undo"):
        reply = client.post(address, content=body, headers={"Content-Type": "application/json"})
        assert reply.status_code in (400, 409, 413, 422), reply.text
    assert kept(asked) == before
    assert answer(client)["number"] == 1


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"])
def test_other_methods_change_nothing(client, asked, method):
    before = kept(asked)
    assert client.request(method, "/api/answer", json=GOOD).status_code == 405
    assert kept(asked) == before


@pytest.mark.parametrize(
    "name", ["<script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "Ann'; --", "名前", "a,b"]
)
def test_a_script_in_a_name_is_a_name(client, asked, name):
    assert answer(client, name)["rater"] == name
    assert asked.answers.standing[0].rater == name
    reply = client.get("/api/state", params={"rater": name})
    assert reply.headers["content-type"] == "application/json"
    assert "<script>alert" not in client.get("/").text


def test_a_web_socket_is_closed(client):
    from starlette.websockets import WebSocketDisconnect

    with pytest.raises(WebSocketDisconnect), client.websocket_connect(f"/?token={TOKEN}"):
        pass


def test_a_second_tab_and_a_double_click_answer_once(client, asked):
    state = client.get("/api/state", params={"rater": "Ann"}).json()
    said = {"rater": "Ann", "number": 0, "trajectories": state["trajectories"], "answer": "left"}
    first, second = (client.post("/api/answer", json=said) for _ in range(2))
    assert (first.status_code, second.status_code) == (200, 409)
    assert second.json() == first.json()
    assert len(asked.answers.standing) == 1


def test_two_raters_at_once(client, asked):
    def work(name: str) -> None:
        for _ in range(5):
            answer(client, name)

    threads = [threading.Thread(target=work, args=(name,)) for name in ("Ann", "Bob")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [len(asked.answers.of(name)) for name in ("Ann", "Bob")] == [5, 5]


def test_a_full_disk_is_said_and_the_answer_is_not_taken(client, asked, monkeypatch):
    state = client.get("/api/state", params={"rater": "Ann"}).json()
    path = asked.answers.path
    asked.answers.path = Path("/dev/full")
    said = {"rater": "Ann", "number": 0, "trajectories": state["trajectories"], "answer": "left"}
    reply = client.post("/api/answer", json=said)
    asked.answers.path = path
    assert reply.status_code == 507
    assert "not saved: No space left" in reply.json()["error"]
    assert client.post("/api/answer", json=said).status_code == 200
    assert len(asked.answers.standing) == 1


@pytest.fixture
def address(asked: Session) -> Iterator[tuple[str, int]]:
    """A real server."""
    listening = open_port(0)
    port = listening.getsockname()[1]
    server = uvicorn.Server(uvicorn.Config(make_app(asked, TOKEN, port), log_level="critical", lifespan="off"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
    thread.start()
    while not server.started:
        time.sleep(0.01)
    yield "127.0.0.1", port
    server.should_exit = True
    thread.join()
    listening.close()


def test_half_a_body_and_noise_change_nothing(asked, address):
    before, port = kept(asked), address[1]
    head = f"POST /api/answer?token={TOKEN} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Type: application/json\r\n"
    for sent in (
        f'{head}Content-Length: 200\r\n\r\n{{"rater": "Ann"',
        f"{head}Transfer-Encoding: chunked\r\n\r\n5\r\n{{",
        f"{head}Content-Length: -5\r\n\r\n",
        f"{head}Content-Length: 2\r\nContent-Length: 20\r\n\r\n{{}}",
        "GET / HTTP/1.1\r\n\r\n",
        "\x16\x03\x01 not http at all\r\n\r\n",
        f"GET /?token={TOKEN} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nHost: evil.example\r\n\r\n",
    ):
        with socket.create_connection(address, timeout=5) as connection:
            connection.sendall(sent.encode())
    big = f"{head}Content-Length: 100000\r\n\r\n" + "x" * 100_000
    with socket.create_connection(address, timeout=5) as connection:
        connection.sendall(big.encode())
        assert b" 413 " in connection.recv(4096)
    with socket.create_connection(address, timeout=5) as connection:
        connection.sendall(f"GET /?token={TOKEN} HTTP/1.1\r\nHost: localhost:{port}\r\n\r\n".encode())
        assert b" 200 " in connection.recv(4096)
    assert kept(asked) == before


def test_it_listens_on_this_machine_alone(address):
    with pytest.raises(PortError, match=f"port {address[1]} cannot be used"):
        open_port(address[1])
    with open_port(0) as listening:
        assert listening.getsockname()[0] == "127.0.0.1"
