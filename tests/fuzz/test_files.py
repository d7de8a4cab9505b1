"""Files that others wrote: each is read or refused with a ValueError that names it, whatever its bytes."""

import io
import tempfile
from pathlib import Path

import pytest
import torch
from helpers import cases
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from sdcl.data.image_cache import decode
from sdcl.datasets.published import read_json
from sdcl.datasets.raw_lists import read_ids, read_list
from sdcl.models.weight_formats import read_tensors
from sdcl.runtime import checkpoint

CONTENT = st.one_of(
    st.binary(max_size=200),
    st.text(max_size=200).map(lambda t: t.encode(errors="replace")),
    st.text("0123456789,_ \n-a/.\u0663", max_size=80).map(str.encode),
    st.integers(0, 5000).map(lambda n: b"9" * n),
    st.integers(200, 400).map(lambda n: b"Visible/" + b"x" * n + b".bmp 3\n"),
)
READERS = {
    "idx.txt": lambda p: read_list(p, p.parent),
    "ids.txt": read_ids,
    "m.json": read_json,
    "w.safetensors": read_tensors,
    "w.pth": read_tensors,
    "i.jpg": lambda p: decode(str(p), 8, 4, "bilinear"),
    "last.pt": checkpoint.load,
}


@pytest.mark.parametrize("name", READERS)
@cases.few
@given(CONTENT)
def test_random_bytes(name, content):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / name
        path.write_bytes(content)
        try:
            READERS[name](path)
        except ValueError as error:
            assert name in str(error)


def real_files():
    image, state = io.BytesIO(), io.BytesIO()
    Image.radial_gradient("L").resize((16, 32)).save(image, "JPEG")
    torch.save({"conv1.weight": torch.ones(3, 3)}, state)
    with tempfile.TemporaryDirectory() as folder:
        checkpoint.save(Path(folder), "x.pt", {"model": {"w": torch.ones(4)}, "settings": {}, "epoch": 1})
        saved = (Path(folder) / "x.pt").read_bytes()
    return {"i.jpg": image.getvalue(), "w.pth": state.getvalue(), "last.pt": saved}


REAL = real_files()


@pytest.mark.parametrize("name", REAL)
@cases.few
@given(st.floats(0, 1, exclude_max=True), st.integers(1, 255), st.booleans())
def test_flipped_and_cut_files(name, place, mask, cut):
    content = bytearray(REAL[name])
    at = int(place * len(content))
    content[at] ^= mask
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / name
        path.write_bytes(content[:at] if cut else content)
        try:
            READERS[name](path)
        except ValueError as error:
            assert name in str(error)
        else:
            assert name != "last.pt", "a damaged checkpoint was loaded"
