"""What the operating system refuses is one line with a remedy in Python as on the command line."""

import errno

import pytest

import modicum
from modicum.errors import InputError, ResourceError
from modicum.output_paths import in_one_line


@pytest.fixture
def data(tmp_path):
    for at in range(4):
        (tmp_path / f"{at}.png").write_bytes(b"")
    (tmp_path / "data.csv").write_text("image,label\n" + "".join(f"{at}.png,{at % 2}\n" for at in range(4)))
    return tmp_path / "data.csv"


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"name": "x" * 300}, "too long for this disk"),
        ({"runs": "file"}, "'"),
        ({"runs": "file/below"}, "'"),
        ({"runs": "a\0b"}, "NUL byte"),
        ({"runs": "/proc/none"}, "'"),
    ],
)
def test_a_run_that_cannot_be_made(data, tmp_path, monkeypatch, settings, said):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError) as raised:
        modicum.fit(data, method="linear", backbone="test_resnet", weights="random", **settings)
    assert said in str(raised.value)
    assert "\n" not in str(raised.value)
    assert raised.value.remedy


@pytest.mark.parametrize(
    ("number", "kind"), [(errno.EACCES, InputError), (errno.EROFS, InputError), (errno.ENOSPC, ResourceError)]
)  # fmt: skip
def test_errors_of_files_are_ours_and_others_are_not(number, kind):
    @in_one_line
    def write(path: str) -> None:
        """Writes."""
        raise OSError(number, "refused", path)

    with pytest.raises(kind, match="'runs/a'"):
        write("runs/a")
    assert write.__doc__ == "Writes."

    @in_one_line
    def wrong() -> None:
        raise ValueError("a mistake of the program")

    with pytest.raises(ValueError, match="a mistake"):
        wrong()
