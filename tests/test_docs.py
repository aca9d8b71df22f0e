"""What the documents point to is there: files, headings, and each test that they call as a witness."""

import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), ROOT / "bench" / "README.md"]
LINK = re.compile(r"\[(?P<text>[^\]]*)\]\((?P<target>[^)\s]+)\)")


def links(document: Path) -> list[tuple[str, str]]:
    """Text and target of each link into the project."""
    text = re.sub(r"^```.*?^```", "", document.read_text(), flags=re.DOTALL | re.MULTILINE)
    return [(found["text"], found["target"]) for found in LINK.finditer(text) if "://" not in found["target"]]


@cache
def anchors(document: Path) -> set[str]:
    """Of its headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", document.read_text(), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@cache
def functions(module: Path) -> set[str]:
    return set(re.findall(r"^\s*(?:async )?def (\w+)", module.read_text(), flags=re.MULTILINE))


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda document: document.relative_to(ROOT).as_posix())
def test_every_link_leads_somewhere(document: Path) -> None:
    astray = []
    for text, target in links(document):
        path, _, anchor = target.partition("#")
        file = (document.parent / path).resolve() if path else document
        test = text.strip("`")
        is_there = file.exists()
        if is_there and anchor:
            is_there = anchor in anchors(file)
        if is_there and test.startswith("test_") and not test.endswith(".py"):
            is_there = test in functions(file)
        if not is_there:
            astray.append(f"[{text}]({target})")
    assert astray == []


def test_the_promises_name_their_witnesses() -> None:
    named = [text for text, _ in links(ROOT / "docs" / "reliability.md") if text.strip("`").startswith("test_")]
    assert len(named) > 50
