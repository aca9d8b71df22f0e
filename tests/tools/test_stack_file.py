"""A stack's file with a mistake is told by its place, and nothing that stands in it is quoted."""

from pathlib import Path

import pytest

from tools.stack import StackError, settings

SECRET = "hunter2-hunter2"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (f"config:\n  a: [{SECRET}\n  b: c\n", "Pulumi.dev.yaml is not YAML, line 3, column 4: "),
        (f"config:\n  key: *{SECRET}\n", "line 2, column 8: found undefined alias"),
        (f"config:\n  key: !{SECRET} x\n", "line 2, column 8: could not determine a constructor"),
        (f'config:\n  key: "{SECRET}\n', "found unexpected end of stream"),
        (f"config:\n  key: {SECRET}\x07\n", "is not YAML: it has characters that none may have"),
    ],
)
def test_its_place_is_told_and_not_what_stands_there(text: str, told: str, tmp_path: Path) -> None:
    (tmp_path / "Pulumi.dev.yaml").write_text(text)
    with pytest.raises(StackError) as refused:
        settings(tmp_path, "dev")
    assert told in str(refused.value)
    assert SECRET not in str(refused.value)
