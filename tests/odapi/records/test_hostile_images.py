"""Images that are too large, or no images, are named and left out, wherever they are met."""

from __future__ import annotations

import io
import os
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("object_detection", reason="the patched tree is not built: ./build.sh")

import tensorflow as tf
from object_detection.utils import image_limits

from odapi import cli
from odapi.console.errors import UserError
from odapi.data.images import encode
from odapi.detector.drawing import MOST_ENLARGED, draw_detections
from odapi.doctor.findings import Kind
from odapi.predict.sources import read_image
from odapi.records import images
from tests.odapi.doctor.material import clean_scenes, encoded, masked_features
from tests.odapi.doctor.test_records import examine
from tests.small.records import write_records

pytestmark = pytest.mark.filterwarnings("ignore")  # PIL's, of damaged files

SIDE = 13_000


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width: int, height: int, *chunks: bytes, depth: int = 8) -> bytes:
    """A PNG that claims a size, and has next to no pixels."""
    header = struct.pack(">IIBBBBB", width, height, depth, 0, 0, 0, 0)
    parts = [chunk(b"IHDR", header), *chunks, chunk(b"IDAT", zlib.compress(bytes(100)))]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts) + chunk(b"IEND", b"")


def jpeg(width: int, height: int) -> bytes:
    """A JPEG that claims a size."""
    data = encoded(Image.new("RGB", (8, 8)), "JPEG")
    place = data.index(b"\xff\xc0") + 5
    return data[:place] + struct.pack(">HH", height, width) + data[place + 4 :]


def bmp(width: int, height: int) -> bytes:
    data = bytearray(encoded(Image.new("RGB", (8, 8)), "BMP"))
    data[18:26] = struct.pack("<ii", width, height)
    return bytes(data)


def gif(frames: int, side: int = 8) -> bytes:
    buffer = io.BytesIO()
    pictures = [Image.new("P", (side, side), number % 256) for number in range(frames)]
    pictures[0].save(buffer, "GIF", save_all=True, append_images=pictures[1:])
    return buffer.getvalue()


@pytest.fixture(scope="module")
def huge() -> bytes:
    """What it is about: a small file of one colour, 13,000 pixels wide and high."""
    return encoded(Image.new("L", (SIDE, SIDE), 7), "PNG")


TOO_LARGE: dict[str, bytes] = {
    "png": png(100_000, 100_000),
    "png_that_pil_warns_of": png(12_000, 12_000),
    "one_pixel_more": png(images.MOST_PIXELS + 1, 1),
    "jpeg": jpeg(60_000, 60_000),
    "bmp": bmp(20_000, 20_000),
    "bmp_upside_down": bmp(20_000, -20_000),
}
BOMB = b"\0" + zlib.compress(bytes(100_000_000), 9)
BROKEN: dict[str, bytes] = {
    "empty": b"",
    "text": b"no image",
    "truncated_jpeg": encoded(Image.effect_noise((64, 64), 9), "JPEG")[:500],
    "truncated_png": encoded(Image.effect_noise((64, 64), 9), "PNG")[:500],
    "png_of_no_size": png(0, 0),
    "text_bomb": png(8, 8, chunk(b"zTXt", b"Comment\0" + BOMB)),
    "profile_bomb": png(8, 8, chunk(b"iCCP", b"icc\0" + BOMB)),
    "postscript": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n" * 20,
}


def test_there_is_one_bound():
    assert images.MOST_PIXELS == image_limits.MAX_PIXELS
    images.check_size(images.MOST_PIXELS, 1)
    with pytest.raises(images.TooLarge):
        images.check_size(images.MOST_PIXELS + 1, 1)


@pytest.mark.parametrize("data", TOO_LARGE.values(), ids=TOO_LARGE)
def test_the_size_is_read_without_decoding(data, tmp_path):
    (tmp_path / "large.png").write_bytes(data)
    with pytest.raises(images.TooLarge, match="pixels"):
        images.header(data)
    with pytest.raises(UserError, match="pixels"):
        read_image(tmp_path / "large.png")
    with pytest.raises(images.TooLarge):
        encode(tmp_path / "large.png", None)
    with pytest.raises(tf.errors.InvalidArgumentError, match="is not decoded"):
        image_limits.checked(tf.constant(data))


@pytest.mark.parametrize(
    "data",
    [
        encoded(Image.new(mode, (40, 30)), kind)
        for mode, kind in (
            ("RGB", "PNG"),
            ("RGBA", "PNG"),
            ("I;16", "PNG"),
            ("P", "PNG"),
            ("RGB", "JPEG"),
            ("CMYK", "JPEG"),
            ("L", "JPEG"),
            ("RGB", "BMP"),
        )
    ],
)
def test_ordinary_images_pass_and_are_as_large_as_the_tree_finds(data):
    """The control, and a comparison of two readers of headers with TensorFlow's decoder."""
    found = images.header(data)
    decoded = tf.io.decode_image(image_limits.checked(tf.constant(data)))
    assert decoded.shape[:2] == (found.height, found.width)
    assert image_limits.claimed_pixels(tf.constant(data)) == found.height * found.width


@pytest.mark.parametrize("data", BROKEN.values(), ids=BROKEN)
def test_what_is_no_image_is_an_error_of_the_file(data, tmp_path):
    path = tmp_path / "broken.png"
    path.write_bytes(data)
    with pytest.raises(UserError, match="not a readable image"):
        read_image(path)


def test_damaged_files_raise_what_is_expected():
    """Any byte of any format may be wrong."""
    random = np.random.default_rng(0)
    picture = Image.effect_noise((24, 16), 50)
    for kind in ("PNG", "JPEG", "BMP", "GIF", "TIFF", "WEBP", "PPM"):
        whole = np.frombuffer(encoded(picture, kind), np.uint8)
        for _ in range(60):
            damaged = whole.copy()
            places = random.integers(0, min(len(whole), 200), 4)
            damaged[places] = random.integers(0, 256, 4)
            try:
                with images.opened(damaged.tobytes()) as image:
                    assert image.width * image.height <= images.MOST_PIXELS
                    if image.width * image.height < 1_000_000:
                        image.convert("RGB")
            except images.UNREADABLE:
                pass


def test_postscript_is_not_run(tmp_path, monkeypatch):
    """PIL has Ghostscript read it, if there is one, whatever the name's suffix."""
    called = tmp_path / "called"
    program = tmp_path / "gs"
    program.write_text(f"#!/bin/sh\ntouch {called}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    path = tmp_path / "picture.png"
    path.write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n")
    with pytest.raises(UserError):
        read_image(path)
    assert not called.exists()
    with pytest.raises(Exception), Image.open(path) as image:  # noqa: B017
        image.load()
    assert called.exists(), "the control: PIL alone runs it"


def odd_files(folder: Path) -> dict[str, str]:
    """Files with an image's suffix that are none, by what is said of each."""
    os.mkfifo(folder / "pipe.png")
    (folder / "folder.png").mkdir()
    (folder / "zero.png").symlink_to("/dev/zero")
    (folder / "gone.png").symlink_to(folder / "nowhere")
    with (folder / "sparse.png").open("wb") as file:
        file.truncate(1 << 40)
    return {
        "pipe.png": "no regular file",
        "folder.png": "directory",
        "zero.png": "no regular file",
        "gone.png": "No such file",
        "sparse.png": "the most is",
    }


def test_what_only_has_an_images_name_is_refused_without_a_wait(tmp_path):
    for name, said in odd_files(tmp_path).items():
        with pytest.raises(UserError, match=said):
            read_image(tmp_path / name)


def test_predict_names_them_all_and_does_the_others(tmp_path, huge, capsys):
    from tests.odapi.predict.test_predict import picture, run, save

    folder = tmp_path / "pictures"
    folder.mkdir()
    Image.fromarray(picture(30, 10)).save(folder / "good.png")
    expected = odd_files(folder)
    (folder / "huge.png").write_bytes(huge)
    (folder / "lies.jpg").write_bytes(jpeg(60_000, 60_000))
    os.mkfifo(folder / "pipe.mp4")
    code, found = run(save(tmp_path / "model", 1), tmp_path / "out", folder)
    error = capsys.readouterr().err
    assert code == 1 and [Path(one["file_name"]).name for one in found] == ["good.png"]
    assert "8 of the images could not be read" in error
    for name in [*expected, "huge.png", "lies.jpg", "pipe.mp4"]:
        assert f"{folder / name}: " in error
    assert "13,000 x 13,000 pixels, and the most is 100,000,000" in error


def test_an_import_leaves_them_out_and_counts_them(tmp_path, huge, capsys):
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    Image.new("RGB", (40, 30)).save(pictures / "good.png")
    odd = [*odd_files(pictures), "huge.png"]
    (pictures / "huge.png").write_bytes(huge)
    rows = [f"{name},cat,1,1,20,20" for name in ["good.png", *odd]]
    (tmp_path / "boxes.csv").write_text("\n".join(["filename,class,xmin,ymin,xmax,ymax", *rows]))
    arguments = ["data", "import", str(tmp_path / "boxes.csv"), "--format", "csv", "--workers", "1"]
    arguments += ["--images", str(pictures), "--output", str(tmp_path / "out")]
    assert cli.main(arguments) == 0
    out = capsys.readouterr().out
    assert f"{len(odd)} images that cannot be decoded" in out
    assert cli.main(["doctor", str(tmp_path / "out" / "train.record*")]) == 0


DAMAGE: dict[str, tuple[Callable[[dict, bytes], object], Kind]] = {
    "image": (lambda record, huge: record.update({"image/encoded": [huge]}), Kind.IMAGE_TOO_LARGE),
    "lying_jpeg": (
        lambda record, huge: record.update({"image/encoded": [jpeg(60_000, 60_000)]}),
        Kind.IMAGE_TOO_LARGE,
    ),
    "gif": (
        lambda record, huge: record.update({"image/encoded": [gif(50, 96)]}),
        Kind.IMAGE_FORMAT,
    ),
    "mask": (
        lambda record, huge: record.update({"image/object/mask": [huge, huge]}),
        Kind.IMAGE_TOO_LARGE,
    ),
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_records_with_such_images(damage, huge, tmp_path, capsys):
    change, kind = damage
    records = [masked_features(scene) for scene in clean_scenes(2)]
    change(records[1], huge)
    path = write_records(tmp_path / "a.record", records)
    found, counts = examine(path)
    assert [(one.kind, one.record) for one in found] == [(kind, 2)]
    assert counts.records == 2

    assert cli.main(["data", "show", str(path), f"--output_dir={tmp_path / 'drawn'}"]) == 0
    out = capsys.readouterr().out
    if kind is Kind.IMAGE_TOO_LARGE:
        assert "1 of 2 records drawn" in out and f"{path}: record 2: " in out
    else:  # a GIF can be looked at; that training cannot read it is the doctor's to say
        assert "2 of 2 records drawn" in out

    from object_detection.data_decoders.tf_example_decoder import TfExampleDecoder
    from object_detection.protos import input_reader_pb2

    decoder = TfExampleDecoder(True, input_reader_pb2.PNG_MASKS)
    decoded = iter(tf.data.TFRecordDataset(str(path)).map(decoder.decode))
    next(decoded)
    with pytest.raises(tf.errors.InvalidArgumentError, match="is not decoded"):
        next(decoded)


def test_without_the_check_the_tree_decodes_it(huge, tmp_path, monkeypatch):
    """The control: half a gigabyte of pixels of a file of half a megabyte."""
    from object_detection.data_decoders.tf_example_decoder import TfExampleDecoder

    path = write_records(tmp_path / "a.record", [{"image/encoded": [huge]}])
    monkeypatch.setattr(image_limits, "checked", lambda encoded: encoded)
    [data] = tf.data.TFRecordDataset(str(path))
    assert TfExampleDecoder().decode(data)["image"].shape == (SIDE, SIDE, 3)
    assert len(huge) < 600_000


def test_a_strip_is_not_enlarged_beyond_a_bound():
    drawn = draw_detections(np.zeros((1, 100_000, 3), np.uint8), np.zeros((0, 4)), [])
    assert drawn.shape[0] * drawn.shape[1] <= MOST_ENLARGED
