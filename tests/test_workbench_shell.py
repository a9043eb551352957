"""The workbench's shell: the way in, keys, where posts come from, headers, and hostile texts."""

import re
import shutil
from pathlib import Path

import duckdb
import httpx2 as httpx
import pytest

from promptrank.api.serve import serve
from promptrank.basics.seals import config_beside
from promptrank.errors import InputError
from promptrank.serve.app import LOOPBACK
from promptrank.serve.hosted import Hosted
from promptrank.serve.key_file import Keys
from promptrank.workbench.desk import Desk
from promptrank.workbench.doorway import Way, guarded
from promptrank.workbench.drawing import PAGES, STATIC
from promptrank.workbench.found_requests import readable_files, request_files_of
from promptrank.workbench.sessions import COOKIE, SECONDS, Sessions
from promptrank.workbench.site import pages
from promptrank.workbench.writing import text_digest
from promptrank.workspace.tasks import open_task
from support.serving import ask, rank_body, serving
from support.workbench import OURS, app_on, browse, build_requests, desk_of

KEY = "a-key-of-the-server"


def test_the_first_page_is_the_editor_and_the_api_stays(toys: Path) -> None:
    app = app_on(desk_of(toys))
    home = browse(app, "/")
    assert (home.status_code, home.headers["location"]) == (303, "/edit")
    shown = browse(app, "/edit")
    assert shown.status_code == 200 and "toys/like.j2" in shown.text
    assert ask(app, "/v1/rank", rank_body()).status_code == 200
    wrong = browse(app, "/edit?task=no/such")
    assert wrong.status_code == 404 and "no/such" in wrong.text


def test_every_page_has_headers_under_which_only_our_own_files_run(toys: Path) -> None:
    app = app_on(desk_of(toys))
    for path in ("/edit", "/edit?task=nothing", "/sign-in", "/static/workbench.css"):
        headers = browse(app, path).headers
        policy = headers["content-security-policy"]
        assert "default-src 'self'" in policy and "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy
        assert headers["x-content-type-options"] == "nosniff" and headers["referrer-policy"]


def test_what_pages_load_is_there_and_nothing_else(toys: Path) -> None:
    app = app_on(desk_of(toys))
    for name in ("htmx.min.js", "htmx.LICENSE.txt", "workbench.css", "icon.svg"):
        assert browse(app, f"/static/{name}").content == (STATIC / name).read_bytes()
    for name in ("none.js", "..%2Fdesk.py", "%2e%2e%2fpages%2fbase.html.jinja"):
        assert browse(app, f"/static/{name}").status_code == 404


def test_no_template_lets_text_through_as_markup_or_styles_a_tag() -> None:
    for path in PAGES.glob("*.jinja"):
        text = path.read_text()
        assert "safe" not in text and "autoescape" not in text, path
        assert "style=" not in text and "<style" not in text and " onclick" not in text, path


def test_texts_of_a_task_are_text(toys: Path) -> None:
    hostile = "</textarea><script>alert(1)</script><b hx-get='/x' hx-trigger='load'>"
    path = toys / "templates/toys/like.j2"
    path.write_text(path.read_text() + "{# " + hostile + " #}")
    shown = browse(app_on(desk_of(toys)), "/edit").text
    assert "alert(1)" in shown and "<script>alert" not in shown and "<b hx-get" not in shown


def test_another_site_cannot_post(toys: Path) -> None:
    app = app_on(desk_of(toys, keys=Keys([KEY])))
    refused = [
        {},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Origin": "http://evil.example"},
        {"Origin": "http://localhost:1"},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "cross-site", "Origin": "http://localhost"},
    ]
    for headers in refused:
        assert browse(app, "/sign-in", {"key": KEY}, headers).status_code == 403, headers
    for headers in (OURS, {"Origin": "http://localhost"}):
        assert browse(app, "/sign-in", {"key": KEY}, headers).status_code == 303, headers


@pytest.mark.long
def test_a_key_is_shown_once_and_a_token_is_kept(toys: Path) -> None:
    desk = desk_of(toys, keys=Keys([KEY]))
    app = app_on(desk, keys=Keys([KEY]))
    away = browse(app, "/edit?task=toys/like")
    assert away.status_code == 303
    assert away.headers["location"] == "/sign-in?then=%2Fedit%3Ftask%3Dtoys%2Flike"
    wrong = browse(app, "/sign-in", {"key": "another-key-than-that"})
    assert wrong.status_code == 403 and "set-cookie" not in wrong.headers

    into = browse(app, "/sign-in", {"key": KEY, "then": "/edit?task=toys/like"})
    assert into.headers["location"] == "/edit?task=toys/like"
    cookie = into.headers["set-cookie"]
    assert "HttpOnly" in cookie and "SameSite=strict" in cookie and KEY not in cookie
    token = into.cookies[COOKIE]
    assert browse(app, "/edit", cookies={COOKIE: token}).status_code == 200
    assert browse(app, "/edit", cookies={COOKIE: token[:-1]}).status_code == 303
    # A cookie opens pages; the API wants the header.
    assert browse(app, "/v1/tasks", cookies={COOKIE: token}).status_code == 401
    assert ask(app, "/v1/tasks", authorization=f"Bearer {KEY}").status_code == 200

    browse(app, "/sign-out", {}, cookies={COOKIE: token})
    assert browse(app, "/edit", cookies={COOKIE: token}).status_code == 303


def test_a_session_ends_by_itself() -> None:
    now = [0.0]
    sessions = Sessions(Keys([KEY]), lambda: now[0])
    token = sessions.begin(KEY)
    assert sessions.holds(token) and not sessions.holds(None) and not sessions.holds("")
    now[0] = SECONDS + 1
    assert not sessions.holds(token)


@pytest.mark.parametrize("then", ["//evil.example", "https://evil.example", "/\\evil", "x", ""])
def test_signing_in_leads_nowhere_else(toys: Path, then: str) -> None:
    app = app_on(desk_of(toys, keys=Keys([KEY])))
    assert browse(app, "/sign-in", {"key": KEY, "then": then}).headers["location"] == "/edit"


def test_a_page_is_reached_by_the_name_of_this_machine_only(toys: Path) -> None:
    app = app_on(desk_of(toys), hosts=LOOPBACK)
    assert browse(app, "/edit", headers={"Host": "127.0.0.1:8000"}).status_code == 200
    assert browse(app, "/edit", headers={"Host": "evil.example"}).status_code == 421


@pytest.mark.long
def test_read_only_refuses_what_writes(toys: Path) -> None:
    build_requests(toys)
    drawn = app_on(desk_of(toys))
    words = {
        "template_text": (toys / "templates/toys/like.j2").read_text().replace("Toy", "This toy"),
        "task_text": (toys / "tasks/toys/like.yaml").read_text(),
    }
    run = browse(drawn, "/versions/keep", words).headers["location"].split("/")[2]
    cards = browse(drawn, "/label/cards?who=Ann&n=1").text
    card = dict(re.findall(r'data-(\w+)="([^"]*)"', cards))
    said = {"id": "j1", "who": "Ann"}
    answer = {"kind": "answer", "answer": "like", "first": card["first"]}
    digest = text_digest((toys / "templates/toys/like.j2").read_text())
    writes = {
        "/versions/keep": words,
        "/versions/{run}/name": {"name": "mine"},
        "/versions/{run}/write": {"choice_template": "write", "shown_template": digest},
        "/versions/{run}/delete": {},
        "/label/judge": {**said, **answer, "request_id": card["request"]},
        "/label/undo": {**said, "undoes": "j0"},
    }
    writes_not = {
        "/sign-in": {"key": "any"},
        "/sign-out": {},
        "/edit/try": words,
        "/edit/request": {"source": "file"},
        "/edit/prompt": words,
        "/edit/difference": words,
        "/sample/start": {**words, "size": "20", "part": "test"},
        "/sample/{run}/stop": {},
    }
    desk = desk_of(toys, read_only=True)
    app = app_on(desk)
    posts = {route.path for route in pages(desk) if "POST" in route.methods}
    assert posts == writes.keys() | writes_not.keys()
    before = _files(toys)
    for path, fields in (writes | writes_not).items():
        shown = browse(app, path.replace("{run}", run), fields)
        assert (shown.status_code == 403) == (path in writes), (path, shown.text)
        assert path in writes or shown.status_code < 400, (path, shown.text)
        assert _files(toys) == before, path
    assert "read-only" in browse(app, "/edit").text


def _files(folder: Path) -> dict[str, bytes]:
    """All files; what SQLite has beside a database while it is open is none of ours."""
    return {
        str(path): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and not path.name.endswith(("-wal", "-shm"))
    }


@pytest.mark.parametrize(("proxy", "secure"), [("127.0.0.1", True), ("127.0.0.2", False)])
def test_a_cookie_is_for_https_alone_where_a_proxy_of_this_machine_says_so(
    toys: Path, monkeypatch: pytest.MonkeyPatch, proxy: str, secure: bool
) -> None:
    monkeypatch.setenv("FORWARDED_ALLOW_IPS", "*")
    app = app_on(desk_of(toys, keys=Keys([KEY])), keys=Keys([KEY]))
    with (
        serving(app) as url,
        httpx.Client(transport=httpx.HTTPTransport(local_address=proxy)) as http,
    ):
        for header, expected in (({"X-Forwarded-Proto": "https"}, secure), ({}, False)):
            shown = http.post(f"{url}/sign-in", data={"key": KEY}, headers={**OURS, **header})
            assert shown.status_code == 303
            assert ("; Secure" in shown.headers["set-cookie"]) == expected


def test_a_page_waits_for_the_model(toys: Path) -> None:
    ready = desk_of(toys)
    desk = Desk(Hosted(["toys/like"]), ready.tasks, ready.rank_draft, toys)

    async def shown(request: object) -> object:
        return desk.served(desk.task(None))

    from promptrank.serve.app import make_app

    app = make_app(desk.hosted, (), pages=[guarded(desk, Way("/w", shown))])  # type: ignore[arg-type]
    answer = browse(app, "/w")
    assert answer.status_code == 503 and answer.headers["refresh"] == "2"
    assert "Loading the model" in answer.text


@pytest.mark.long
def test_request_files_are_those_that_were_built_for_the_task(toys: Path) -> None:
    assert request_files_of(toys, "toys/like") == ()
    built = build_requests(toys)
    (toys / "requests/other.parquet").write_bytes(b"")
    (toys / "requests/torn.jsonl").write_text("")
    (toys / "requests/torn.config.json").write_text("{")
    assert request_files_of(toys, "toys/like") == (built,)
    assert request_files_of(toys, "toys/other") == ()


@pytest.mark.long
def test_a_damaged_request_file_is_left_out_and_told(toys: Path) -> None:
    built = build_requests(toys)
    torn = toys / "requests/torn.parquet"
    torn.write_bytes(built.read_bytes()[:-100])
    shutil.copy(config_beside(built), config_beside(torn))
    files = request_files_of(toys, "toys/like")
    assert set(files) == {built, torn}
    said: list[str] = []
    assert readable_files(open_task("toys/like", project=toys), files, said.append) == (built,)
    assert len(said) == 1 and said[0].startswith("the pages leave out torn.parquet: ")


def test_options_of_serve(toys: Path) -> None:
    with pytest.raises(InputError, match="--workbench maybe: one of on, read-only, off"):
        serve(["toys/like"], project=toys, engines=["fake"], workbench="maybe")
    with pytest.raises(InputError, match="no request file"):
        serve(["toys/like"], project=toys, engines=["fake"], requests=["none.parquet"])


@pytest.mark.parametrize("name", ["junk.parquet", "junk.jsonl", "columns.parquet"])
def test_a_request_file_that_no_page_could_read_is_refused_at_the_start(
    toys: Path, name: str
) -> None:
    path = toys / name
    path.write_text("hi\n")
    if name == "columns.parquet":
        duckdb.execute(f"COPY (SELECT 'a' AS request_id) TO '{path}' (FORMAT parquet)")
    with pytest.raises(InputError, match=name):
        serve(["toys/like"], project=toys, engines=["fake"], requests=[str(path)])


@pytest.mark.long
def test_requests_of_another_task_are_refused_at_the_start(toys: Path) -> None:
    text = (toys / "tasks/toys/like.yaml").read_text()
    (toys / "tasks/toys/twin.yaml").write_text(text)
    path = build_requests(toys)
    twin, both = ["toys/twin"], ["toys/twin", "toys/like"]
    with pytest.raises(InputError, match="requests of toys/like, and not of toys/twin; `promptr"):
        serve(twin, project=toys, engines=["fake"], requests=[str(path)])
    with pytest.raises(InputError, match="by --requests toys/like="):
        serve(both, project=toys, engines=["fake"], requests=[str(path)])
    with pytest.raises(InputError, match="--workbench off leaves these out"):
        serve(both, project=toys, engines=["fake"], workbench="off", requests=[str(path)])


def test_forms_are_bounded(toys: Path) -> None:
    app = app_on(desk_of(toys, keys=Keys([KEY])))
    assert browse(app, "/sign-in", {"key": "x" * (3 << 20)}).status_code == 413
    as_json = {**OURS, "Content-Type": "application/json"}
    assert browse(app, "/sign-in", {"key": KEY}, as_json).status_code == 415
