from pathlib import Path

import pytest

from lm_lab.runs.sealed import Damaged, read_manifest, sums_of, verify, write_manifest


def verified(folder: Path) -> None:
    verify(folder, read_manifest(folder)[1])


def sealed(folder: Path) -> Path:
    (folder / "deep").mkdir(parents=True)
    (folder / "one").write_bytes(bytes(range(256)))
    (folder / "deep" / "two").write_bytes(b"")
    write_manifest(folder, {"step": 3, "note": "é", "ratio": 0.1, "files": sums_of(folder)})
    return folder


def test_a_seal_gives_its_fields_back(tmp_path):
    content, files = read_manifest(sealed(tmp_path / "a"))
    assert {name: content[name] for name in ("step", "note", "ratio")} == {
        "step": 3,
        "note": "é",
        "ratio": 0.1,
    }
    assert set(files) == {"one", "deep/two"}


@pytest.mark.parametrize("name", ["one", "manifest.json"])
def test_a_seal_breaks_with_any_bit(tmp_path, name):
    folder = sealed(tmp_path / "a")
    path = folder / name
    whole = path.read_bytes()
    for position in range(0, len(whole), 7):
        path.write_bytes(whole[:position] + bytes([whole[position] ^ 4]) + whole[position + 1 :])
        with pytest.raises(Damaged, match=name):
            verified(folder)
    path.write_bytes(whole)
    verified(folder)


def test_a_seal_breaks_with_a_missing_or_shortened_file(tmp_path):
    folder = sealed(tmp_path / "a")
    (folder / "one").write_bytes(bytes(range(255)))
    with pytest.raises(Damaged, match="one: 255 bytes instead of 256"):
        verified(folder)
    (folder / "one").unlink()
    with pytest.raises(Damaged, match="one: No such file"):
        verified(folder)
    for content in ("", "[]", "3", "{}", '{"sha256": "0"}'):
        (folder / "manifest.json").write_text(content)
        with pytest.raises(Damaged):
            read_manifest(folder)
