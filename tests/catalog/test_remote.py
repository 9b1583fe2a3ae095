"""Folders at addresses of S3 and of web servers are listed and fetched like folders of this machine."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from remote_storage import WebServer, s3_server

from boiler.catalog import remote, scan
from boiler.catalog.folder import LocalFolder, open_folder
from boiler.catalog.remote import RemoteFolder
from boiler.catalog.scan import FoundFile, Unreadable
from boiler.errors import BoilerError, CorpusError, SettingsError

SUFFIXES = {".wav", ".ogg"}
NAMES = ("one.wav", "drums/two words.ogg", "drums/deep/100% caf\u00e9 #1.WAV", "drums/a+b&c.wav")
PASSED_OVER = (".hidden.wav", "drums/.git/in.wav", "@eaDir/one.wav", "text.html", "song.xmf")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for n, name in enumerate((*NAMES, *PASSED_OVER)):
        path = tmp_path / "sounds" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(bytes(100 + n))
    return tmp_path / "sounds"


@pytest.fixture
def web(folder: Path) -> Iterator[WebServer]:
    server = WebServer(folder.parent)
    yield server
    server.close()


@pytest.fixture(scope="module")
def s3() -> Iterator[Any]:
    with s3_server() as client:
        yield client


@pytest.fixture
def bucket(s3: Any, folder: Path) -> str:
    name = f"bucket{id(folder)}"
    s3.create_bucket(Bucket=name)
    for path in filter(Path.is_file, folder.rglob("*")):
        s3.put_object(Bucket=name, Key=f"in/{path.relative_to(folder).as_posix()}", Body=path.read_bytes())
    s3.put_object(Bucket=name, Key="in/empty/", Body=b"")  # as consoles make a folder
    s3.put_object(Bucket=name, Key="in-another/one.wav", Body=b"1")
    return name


@pytest.fixture(params=[pytest.param("s3", marks=pytest.mark.slow), "http"])
def address(request: pytest.FixtureRequest) -> str:
    if request.param == "s3":
        return f"s3://{request.getfixturevalue('bucket')}/in"
    return f"{request.getfixturevalue('web').url}/sounds"


def listed(folder: RemoteFolder | LocalFolder, **options: Any) -> dict[str, FoundFile]:
    found = list(folder.walk(SUFFIXES, **options))
    assert len({one.id for one in found}) == len(found)
    return {one.id: one for one in found}


def test_an_address_lists_the_files_of_a_folder(address: str, folder: Path, tmp_path: Path) -> None:
    passed_over, expected = Unreadable(), Unreadable()
    for options in ({}, {"include": ["drums"], "exclude": ["drums/deep"]}):
        local = {one.id: one for one in scan.walk(folder, SUFFIXES, unread_suffixes={".xmf"}, **options)}
        found = listed(open_folder(address + "/"), unread_suffixes={".xmf"}, **options)
        assert {id: one.size_bytes for id, one in found.items()} == {id: one.size_bytes for id, one in local.items()}
    list(scan.walk(folder, SUFFIXES, unread_suffixes={".xmf"}, unreadable=expected))
    found = listed(open_folder(address), unread_suffixes={".xmf"}, unreadable=passed_over)
    assert (passed_over.passed_over, passed_over.reasons) == (expected.passed_over, {}) != (0, {})
    again = pickle.loads(pickle.dumps(open_folder(address)))  # noqa: S301  # as it is sent to other processes
    for one in found.values():
        copy = again.get(one, tmp_path)
        assert copy.read_bytes() == (folder / one.id).read_bytes()
        assert copy.suffix == Path(one.id).suffix
        assert again.size_and_time(one) == (one.size_bytes, one.mtime_ns)
        assert again.cached(one).read_bytes() == copy.read_bytes()
        assert again.cached(one).stat().st_mtime_ns == one.mtime_ns


@pytest.mark.slow
def test_other_bytes_of_the_same_size_in_the_same_second_are_another_time(s3: Any, bucket: str) -> None:
    times = []
    for body in (b"1234", b"1234", b"5678"):
        s3.put_object(Bucket=bucket, Key="in/one.wav", Body=body)
        times.append(listed(open_folder(f"s3://{bucket}/in"))["one.wav"].mtime_ns)
    assert times[0] % 10**9 == times[1] % 10**9 != times[2] % 10**9
    assert all(time % 1_000 == 0 and time > 10**18 for time in times)


@pytest.mark.parametrize(
    ("info", "time_ns"),
    [
        ({"Last-Modified": "Thu, 01 Jan 1970 00:00:07 GMT"}, 7 * 10**9),
        ({"updated": "1970-01-01T00:00:08.5Z"}, 8 * 10**9),
        ({"Last-Modified": "yesterday"}, 0),
        ({"Last-Modified": "Fri, 31 Dec 9999 23:59:59 GMT"}, 2**33 * 10**9),  # which 64 bits hold
        ({}, 0),
    ],
)
def test_times_are_read_as_servers_write_them(info: dict[str, str], time_ns: int) -> None:
    assert remote._size_and_time({"size": None, **info}) == (0, time_ns)


def test_a_file_that_cannot_be_read_is_listed_with_the_reason(web: WebServer, tmp_path: Path) -> None:
    sounds, unreadable = open_folder(f"{web.url}/sounds"), Unreadable()
    found = listed(sounds)
    web.failing = {"/sounds/one.wav": 403, "/sounds/drums/two%20words.ogg": 410}
    assert listed(sounds, unreadable=unreadable).keys() == found.keys() - {"one.wav", "drums/two words.ogg"}
    assert unreadable.reasons == {
        "one.wav": "cannot be read: the server says 403 Forbidden",
        "drums/two words.ogg": "cannot be read: there is no such file",
    }
    with pytest.raises(OSError, match="the server says 403"):
        sounds.get(found["one.wav"], tmp_path / "sounds")
    with pytest.raises(FileNotFoundError):
        sounds.get(found["drums/two words.ogg"], tmp_path / "sounds")
    web.failing = {"/sounds/drums/": 500}
    with pytest.raises(CorpusError, match=r"/sounds cannot be listed: the server says 500"):  # none counts as gone
        listed(sounds)


def test_another_size_than_was_listed_is_an_error_and_leaves_no_copy(
    address: str, folder: Path, tmp_path: Path
) -> None:
    (into := tmp_path / "into").mkdir()
    sounds = open_folder(address)
    found = listed(sounds)["one.wav"]
    for size_bytes, message in ((99, "more than the 99 bytes"), (101, "its size has changed")):
        with pytest.raises(OSError, match=message):
            sounds.get(FoundFile(found.id, size_bytes, 0), into)
    with pytest.raises(OSError, match="more than 17,179,869,184 bytes"):
        sounds.get(FoundFile(found.id, 2**40, 0), into)
    with pytest.raises(FileNotFoundError):
        sounds.get(FoundFile("none.wav", 1, 0), into)
    assert list(into.iterdir()) == []


def test_a_list_names_files_below_it_and_elsewhere(web: WebServer, folder: Path, tmp_path: Path) -> None:
    lines = ["one.wav", "", "drums/two words.ogg", f"{web.url}/sounds/drums/a%2Bb%26c.wav", f"{web.url}/other.wav"]
    (folder / "all.txt").write_text("\n".join(lines))
    (folder.parent / "other.wav").write_bytes(b"other")
    sounds = open_folder(f"{web.url}/sounds/all.txt")
    assert sounds.name == "all"
    found = listed(sounds)
    elsewhere = f"{web.url}/other.wav"
    assert found.keys() == {"one.wav", "drums/two words.ogg", "drums/a+b&c.wav", elsewhere}
    assert sounds.get(found[elsewhere], tmp_path).read_bytes() == b"other"
    assert sounds.get(found["drums/two words.ogg"], tmp_path).read_bytes() == bytes(101)


def test_links_out_of_a_folder_and_to_itself_are_not_followed(web: WebServer, folder: Path) -> None:
    links = [
        "../one.wav",
        "/sounds/one.wav",
        "?C=N;O=D",
        "./",
        ".",
        "#top",
        "two%20words.ogg?x=1",
        "http://[",
        "deep/",
        "deep/",
    ]
    page = "".join(f'<a href="{link}">a sound</a>' for link in [*links, "a%2Bb%26c.wav", "a%2Bb%26c.wav"])
    (folder / "drums" / "index.html").write_text(page)
    found = listed(open_folder(f"{web.url}/sounds/drums/"))
    assert sorted(found) == ["a+b&c.wav", "deep/100% caf\u00e9 #1.WAV"]
    assert web.fetched["/sounds/drums/deep/"] == 1


def test_folders_without_an_end_are_an_error_until_they_are_excluded(web: WebServer, folder: Path) -> None:
    (folder / "drums" / "loop").symlink_to(".")
    sounds = open_folder(f"{web.url}/sounds/drums")
    with pytest.raises(CorpusError, match=r"more than 32 folders .*, like loop/loop/loop/loop/\.\.\."):
        listed(sounds, include=["none"])
    assert len(listed(sounds, exclude=["loop"])) == 3


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ("ftp://host/a", "gs, http, https, s3"),
        ("https://me:secret@host/a", r"^https://host/a must have"),
        ("https://host/a?token=secret", r"^https://host/a must have"),
        ("s3://", "must have a host or bucket"),
    ],
)
def test_an_address_of_another_kind_or_with_a_secret_is_refused(wrong: str, message: str) -> None:
    with pytest.raises(BoilerError, match=message) as error:
        open_folder(wrong)
    assert "secret" not in str(error.value)


@pytest.mark.slow
def test_a_bucket_or_folder_that_is_not_there_is_an_error(bucket: str) -> None:
    for missing in (f"s3://{bucket}/none", "s3://none/at/all"):
        with pytest.raises(CorpusError, match="cannot be listed: it does not exist"):
            listed(open_folder(missing))


def test_a_page_of_too_many_bytes_is_an_error(web: WebServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "MAX_PAGE_BYTES", 100)  # this server does not answer ranges
    with pytest.raises(CorpusError, match="cannot be listed: it has more than 100 bytes"):
        listed(open_folder(f"{web.url}/sounds"))


def test_a_page_of_a_few_megabytes_is_read(web: WebServer, folder: Path) -> None:
    (folder / "drums" / "index.html").write_text(f"<!-- {'x' * 2**22} --><a href='a%2Bb%26c.wav'>a sound</a>")
    assert list(listed(open_folder(f"{web.url}/sounds/drums"))) == ["a+b&c.wav"]


def test_a_wrong_setting_of_fsspec_is_an_error_with_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    from fsspec.config import conf

    monkeypatch.setitem(conf, "s3", {"max_concurrency": 0})
    with pytest.raises(SettingsError, match="the settings of fsspec for s3 are wrong: max_concurrency must be"):
        listed(open_folder("s3://bucket/sounds"))


def test_a_server_or_page_that_is_not_there_is_an_error(web: WebServer, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(CorpusError, match="cannot be listed: it does not exist"):
        listed(open_folder(f"{web.url}/none"))
    web.close()
    with pytest.raises(CorpusError, match=r"cannot be listed: .*[Cc]onnect"):
        listed(open_folder(f"{web.url}/sounds"))
    monkeypatch.setitem(__import__("sys").modules, "fsspec", None)
    with pytest.raises(SettingsError, match=r"pip install 'boiler\[remote\]'"):
        listed(open_folder("s3://other/folder"))
