"""The control socket: who may ask, how, and what happens when nobody answers."""

import asyncio
import os
import socket
import stat
from pathlib import Path
from typing import Any

import pytest

from receiver import control
from receiver.control import (
    ControlError,
    ControlServer,
    Conversation,
    ReceiverDown,
    Session,
    ask,
    ask_sync,
    socket_path,
)


def echo(request: dict[str, Any], session: Session) -> dict[str, Any]:
    if request["op"] == "descriptor":
        session.descriptors.append(request["of"])
    if request["op"] == "fail":
        raise ValueError("can't")
    return {"said": request, "text": "x" * request.get("size", 0)}


def test_nobody_there_is_receiver_down(home: Path) -> None:
    with pytest.raises(ReceiverDown):
        ask_sync(home, "ping")
    with pytest.raises(ReceiverDown):
        asyncio.run(ask(home, "ping"))


def test_a_dead_socket_is_receiver_down(home: Path) -> None:
    path = socket_path(home)
    control.own_folder(path.parent)
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(os.fspath(path))
    with pytest.raises(ReceiverDown):
        ask_sync(home, "ping")


def test_one_that_does_not_answer_is_receiver_down(home: Path) -> None:
    path = socket_path(home)
    control.own_folder(path.parent)
    with socket.socket(socket.AF_UNIX) as silent:
        silent.bind(os.fspath(path))
        silent.listen()
        with pytest.raises(ReceiverDown):
            ask_sync(home, "ping", timeout=0.2)


def test_questions_and_answers_of_any_size_several_a_conversation(home: Path) -> None:
    server = ControlServer(home, echo)
    assert asyncio.run(ask(home, "a", value=1))["said"] == {"op": "a", "value": 1}
    with Conversation(home) as conversation:
        for size in (0, 10, 1_000_000):
            assert len(conversation.ask("b", size=size)["text"]) == size
        with pytest.raises(ControlError, match="can't"):
            conversation.ask("fail")
        assert conversation.ask("c")["said"] == {"op": "c"}
    server.close()
    with pytest.raises(ReceiverDown):
        ask_sync(home, "a")


def test_a_descriptor_comes_with_its_answer_and_is_not_inherited(home: Path) -> None:
    ControlServer(home, echo)
    with socket.socket() as listener, Conversation(home) as conversation:
        listener.bind(("127.0.0.1", 0))
        _, [descriptor] = conversation.ask_for_descriptors("descriptor", of=listener.fileno())
        assert not os.get_inheritable(descriptor)
        with socket.socket(fileno=descriptor) as received:
            assert received.getsockname() == listener.getsockname()


def test_nonsense_is_answered_and_does_no_harm(home: Path) -> None:
    ControlServer(home, echo)
    with socket.socket(socket.AF_UNIX) as asker:
        asker.connect(os.fspath(socket_path(home)))
        asker.sendall(b"\xff\x00 nonsense\n[]\n")
        received = b""
        while received.count(b"\n") < 2:
            received += asker.recv(4096)
    assert received.count(b'{"error": ') == 2
    assert ask_sync(home, "still")["said"] == {"op": "still"}


def test_a_newer_server_takes_over_and_the_older_leaves_it_alone(home: Path) -> None:
    older = ControlServer(home, lambda request, session: {"who": "older"})
    with Conversation(home) as conversation:
        newer = ControlServer(home, lambda request, session: {"who": "newer"})
        assert ask_sync(home, "who") == {"who": "newer"}
        assert conversation.ask("who") == {"who": "older"}
    assert (older.is_ours(), newer.is_ours()) == (False, True)
    older.close()
    assert ask_sync(home, "who") == {"who": "newer"}


def test_the_socket_is_short_private_and_of_its_folder_alone(tmp_path: Path) -> None:
    homes = [tmp_path / ("very long " * 20) / "dev", tmp_path / "dev"]
    for home in homes:
        home.mkdir(parents=True)
        ControlServer(home, echo)
        assert len(os.fsencode(socket_path(home))) < 60
        assert stat.S_IMODE(socket_path(home).stat().st_mode) == 0o600
    assert stat.S_IMODE(socket_path(homes[0]).parent.stat().st_mode) == 0o700
    assert socket_path(homes[0]) != socket_path(homes[1])
    assert socket_path(homes[1] / ".." / "dev") == socket_path(homes[1])


def test_a_folder_that_is_not_ours_is_not_trusted(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    (tmp_path / "file").touch()
    (tmp_path / "open").mkdir(mode=0o777)
    for name in ("link", "file"):
        with pytest.raises((PermissionError, FileExistsError)):
            control.own_folder(tmp_path / name)
    control.own_folder(tmp_path / "open")
    assert stat.S_IMODE((tmp_path / "open").stat().st_mode) == 0o700
    if os.geteuid() == 0:
        os.chown(tmp_path / "open", 12345, 12345)
        with pytest.raises(PermissionError):
            control.own_folder(tmp_path / "open")
