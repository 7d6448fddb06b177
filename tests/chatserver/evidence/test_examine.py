"""Looking at files: what is taken, what is not, and what the other party is shown of it."""

import hashlib
import io
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import pypdfium2
import pytest
import zxingcpp
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from chatserver.evidence.documents import CODES_PAGES
from chatserver.evidence.examination import CODE_CHARS, CODES_MAX, Examined, Rejected, Wanted
from chatserver.evidence.examine import MEMORY_BYTES, examine
from chatserver.evidence.examiner import Examiner
from policies.errors import Unavailable
from policies.evidence import IMAGES, EvidenceRules, MediaType
from tests.chatserver.evidence import files

PIXELS = 1_000_000
GOOD: dict[MediaType, bytes] = {
    MediaType.PNG: files.image("PNG"),
    MediaType.JPEG: files.image("JPEG"),
    MediaType.WEBP: files.image("WEBP"),
    MediaType.GIF: files.image("GIF"),
    MediaType.PDF: files.document(),
    MediaType.TEXT: "Gr\u00fc\u00dfe\n\tfrom the seller\r\n".encode(),
    MediaType.MP4: files.video("mp4", "mpeg4"),
    MediaType.MOV: files.video("mov", "mpeg4"),
    MediaType.WEBM: files.video("webm", "libvpx"),
}


def wanted(folder: Path, content: bytes, media_type: MediaType, pixels: int = PIXELS) -> Wanted:
    path = folder / "file"
    path.write_bytes(content)
    sha256 = hashlib.sha256(content).hexdigest()
    return Wanted(path=path, folder=folder, media_type=media_type, sha256=sha256, pixels=pixels)


def look(folder: Path, content: bytes, media_type: MediaType, pixels: int = PIXELS) -> Examined | Rejected:
    return examine(wanted(folder, content, media_type, pixels))


def taken(folder: Path, content: bytes, media_type: MediaType, pixels: int = PIXELS) -> Examined:
    found = look(folder, content, media_type, pixels)
    assert isinstance(found, Examined), found
    return found


def rejected(folder: Path, content: bytes, media_type: MediaType, pixels: int = PIXELS) -> str:
    found = look(folder, content, media_type, pixels)
    assert isinstance(found, Rejected), found
    return found.rule


# What is taken


@pytest.mark.parametrize("media_type", MediaType)
def test_every_type_is_taken(tmp_path: Path, media_type: MediaType) -> None:
    found = taken(tmp_path, GOOD[media_type], media_type)
    assert (found.size, found.sha256) == (len(GOOD[media_type]), hashlib.sha256(GOOD[media_type]).hexdigest())


@pytest.mark.parametrize("media_type", sorted(IMAGES))
def test_an_image_is_made_anew_and_made_small(tmp_path: Path, media_type: MediaType) -> None:
    content = files.image(media_type.partition("/")[2].upper(), 900, 600)
    found = taken(tmp_path, content, media_type)
    assert found.shown is not None
    assert found.thumbnail is not None
    with Image.open(found.shown) as shown, Image.open(found.thumbnail) as small:
        assert (shown.size, shown.get_format_mimetype()) == ((900, 600), media_type.value)
        assert (small.size, small.get_format_mimetype()) == ((320, 213), "image/webp")
    assert (found.width, found.height) == (900, 600)
    shown_again = taken(tmp_path / "..", found.shown.read_bytes(), media_type)
    assert shown_again.width == 900


def test_a_transparent_image_stays_transparent(tmp_path: Path) -> None:
    content = io.BytesIO()
    Image.new("RGBA", (10, 10), (255, 0, 0, 0)).save(content, "PNG")
    found = taken(tmp_path, content.getvalue(), MediaType.PNG)
    assert found.thumbnail is not None
    with Image.open(found.thumbnail) as small:
        assert small.mode == "RGBA"


def test_the_other_party_is_not_told_where_a_photo_was_taken(tmp_path: Path) -> None:
    found = taken(tmp_path, files.photo(), MediaType.JPEG)
    assert found.captured_at == files.AT
    assert (found.width, found.height) == (48, 64)  # upright
    assert found.shown is not None
    assert found.thumbnail is not None
    for path in (found.shown, found.thumbnail):
        content = path.read_bytes()
        assert b"PhoneMaker" not in content
        assert b"a comment" not in content
        with Image.open(path) as shown:
            assert not shown.getexif()


def test_a_clock_without_an_offset_is_taken_for_utc(tmp_path: Path) -> None:
    found = taken(tmp_path, files.photo(offset=""), MediaType.JPEG)
    assert found.captured_at is not None
    assert found.captured_at.isoformat() == "2026-01-30T18:05:09+00:00"


def test_a_phone_puts_two_pictures_into_a_photo(tmp_path: Path) -> None:
    content = files.double_photo()
    found = taken(tmp_path, content, MediaType.JPEG, 64 * 48)
    assert found.shown is not None
    with Image.open(found.shown) as shown:
        assert (shown.format, shown.size) == ("JPEG", (64, 48))
    assert len(found.shown.read_bytes()) < len(content)


@pytest.mark.parametrize(
    "exif", [b"Exif\0\0garbage", b"Exif\0\0II*\0\x08\0\0\0\x05\0\x0f\x01\x02\0\xff\0\0\0", b"Exif\0\0"]
)
def test_damaged_metadata_does_not_spoil_a_photo(tmp_path: Path, exif: bytes) -> None:
    found = taken(tmp_path, files.image("JPEG", exif=exif), MediaType.JPEG)
    assert (found.width, found.captured_at) == (64, None)


@pytest.mark.parametrize("content", [files.photo("yesterday"), files.photo("0000:00:00 00:00:00"), files.image("JPEG")])
def test_a_photo_may_not_know_when(tmp_path: Path, content: bytes) -> None:
    assert taken(tmp_path, content, MediaType.JPEG).captured_at is None


def test_texts_in_a_png_are_left_out(tmp_path: Path) -> None:
    found = taken(tmp_path, files.commented_png(), MediaType.PNG)
    assert found.shown is not None
    assert b"Main Street" not in found.shown.read_bytes()


def test_an_animation_keeps_its_frames(tmp_path: Path) -> None:
    found = taken(tmp_path, files.animation(3), MediaType.GIF)
    assert found.shown is not None
    with Image.open(found.shown) as shown:
        assert getattr(shown, "n_frames", 1) == 3
    assert b"secret" not in found.shown.read_bytes()


def test_a_document_is_shown_without_its_author(tmp_path: Path) -> None:
    found = taken(tmp_path, files.told_document(), MediaType.PDF)
    assert found.shown is not None
    assert found.thumbnail is not None
    assert b"Main Street" not in found.shown.read_bytes()
    with pypdfium2.PdfDocument(found.shown) as shown:
        assert len(shown) == 1
        assert not any(shown.get_metadata_dict(skip_empty=True).get(name) for name in ("Author", "Title"))
    with Image.open(found.thumbnail) as small:
        assert max(small.size) == 320


@pytest.mark.parametrize(
    ("name", "codec", "media_type"),
    [("mp4", "mpeg4", "video/mp4"), ("mov", "mpeg4", "video/quicktime"), ("webm", "libvpx", "video/webm")],
)
def test_a_video_is_shown_without_its_metadata(tmp_path: Path, name: str, codec: str, media_type: str) -> None:
    content = files.video(name, codec, title="Ann of 5 Main Street", comment="+47.36+008.54/")
    assert b"Main Street" in content
    found = taken(tmp_path, content, MediaType(media_type))
    assert found.shown is not None
    shown = found.shown.read_bytes()
    assert len(shown) == len(content)
    assert b"Main Street" not in shown
    assert b"+47.36" not in shown
    assert files.frames_of(shown) == files.frames_of(content) == 3


@pytest.mark.parametrize(("name", "media_type"), [("mp4", MediaType.MP4), ("mov", MediaType.MOV)])
def test_when_a_video_was_taken_is_for_staff(tmp_path: Path, name: str, media_type: MediaType) -> None:
    content = files.video(name, "mpeg4", creation_time="2026-01-30T16:05:09Z")
    found = taken(tmp_path, content, media_type)
    assert found.captured_at == files.AT
    assert found.shown is not None
    shown = found.shown.read_bytes()
    assert files.frames_of(shown) == 3
    again = taken(tmp_path, shown, media_type)
    assert (again.captured_at, again.shown) == (None, None)


def test_a_video_without_metadata_needs_no_copy(tmp_path: Path) -> None:
    bare = taken(tmp_path, GOOD[MediaType.MP4], MediaType.MP4)
    assert bare.shown is None or b"Lavf" not in bare.shown.read_bytes()
    content = bare.shown.read_bytes() if bare.shown is not None else GOOD[MediaType.MP4]
    assert taken(tmp_path, content, MediaType.MP4).shown is None


def test_qr_codes_are_read(tmp_path: Path) -> None:
    code = zxingcpp.create_barcode("https://t.me/someone", zxingcpp.BarcodeFormat.QRCode)
    drawn: Any = memoryview(zxingcpp.write_barcode_to_image(code, scale=4))  # type: ignore[arg-type]
    page = Image.new("L", (600, 400), 255)
    page.paste(Image.frombytes("L", (drawn.shape[1], drawn.shape[0]), bytes(drawn)), (50, 50))
    content = io.BytesIO()
    page.save(content, "PNG")
    assert taken(tmp_path, content.getvalue(), MediaType.PNG).codes == ("https://t.me/someone",)
    assert CODES_MAX == 20
    assert CODE_CHARS == 2_000


def qr(payload: str) -> Image.Image:
    with Image.open(io.BytesIO(files.coded(payload))) as image:
        return image.convert("L")


def saved(image: Image.Image, name: str, **options: Any) -> bytes:
    content = io.BytesIO()
    image.save(content, name, **options)
    return content.getvalue()


def test_codes_on_any_frame_are_read(tmp_path: Path) -> None:
    first, last = qr("https://t.me/first"), qr("https://t.me/last")
    blank = Image.new("L", last.size, 255)
    for name in ("GIF", "PNG", "WEBP"):
        frames = [blank, first.resize(last.size), blank, last]
        content = saved(blank, name, save_all=True, append_images=frames, duration=100)
        codes = taken(tmp_path, content, MediaType(f"image/{name.lower()}")).codes
        assert set(codes) == {"https://t.me/first", "https://t.me/last"}, name
    many = [Image.new("L", last.size, 255 - number) for number in range(30)]
    content = saved(blank, "GIF", save_all=True, append_images=[*many, last], duration=100)
    assert taken(tmp_path, content, MediaType.GIF, 10_000_000).codes == ("https://t.me/last",)


def test_a_code_that_is_only_transparent_is_read(tmp_path: Path) -> None:
    dark = qr("https://t.me/someone").point(lambda value: 255 - value)
    image = Image.new("RGBA", dark.size, "black")
    image.putalpha(dark)
    assert taken(tmp_path, saved(image, "PNG"), MediaType.PNG).codes == ("https://t.me/someone",)


def test_codes_in_a_document_are_read(tmp_path: Path) -> None:
    code = qr("https://t.me/someone").resize((200, 200))
    page = Image.new("L", (1240, 1754), 255)
    coded_page = page.copy()
    coded_page.paste(code, (900, 1500))
    for before, codes in ((CODES_PAGES - 1, ("https://t.me/someone",)), (CODES_PAGES, ())):
        content = saved(page, "PDF", save_all=True, append_images=[*[page] * (before - 1), coded_page])
        assert taken(tmp_path, content, MediaType.PDF).codes == codes


# What is not taken


@pytest.mark.parametrize("announced", MediaType)
def test_no_type_passes_for_another(tmp_path: Path, announced: MediaType) -> None:
    for real, content in GOOD.items():
        if real is not announced and {real, announced} != {MediaType.MP4, MediaType.MOV}:
            assert rejected(tmp_path, content, announced) in ("wrong_type", "unreadable")


def test_matroska_does_not_pass_for_webm(tmp_path: Path) -> None:
    assert rejected(tmp_path, files.video("matroska", "libvpx"), MediaType.WEBM) == "wrong_type"


SVG = b'<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>'
HTML = b"<!DOCTYPE html><html><script>alert(1)</script></html>"


@pytest.mark.parametrize("announced", MediaType)
@pytest.mark.parametrize(
    "content",
    [
        SVG,
        b"\xef\xbb\xbf\n " + SVG,
        HTML,
        b"  \n<ScRiPt>alert(1)</script>",
        b"MZ\x90\x00" + bytes(60),
        b"#!/bin/sh\nrm",
        b"\x7fELF" + bytes(60),
        files.archive(),
        b"Rar!\x1a\x07\x00" + bytes(20),
        b"7z\xbc\xaf\x27\x1c" + bytes(30),
        b"",
        b"\0",
    ],
)
def test_markup_programs_and_archives_are_not_taken(tmp_path: Path, announced: MediaType, content: bytes) -> None:
    if announced is MediaType.TEXT and not content:
        assert taken(tmp_path, content, announced).size == 0  # its size is refused before
        return
    assert rejected(tmp_path, content, announced) in ("wrong_type", "unreadable", "active_content")


@pytest.mark.parametrize("media_type", [MediaType.PNG, MediaType.JPEG, MediaType.WEBP, MediaType.GIF, MediaType.PDF])
def test_an_archive_at_the_end_is_seen(tmp_path: Path, media_type: MediaType) -> None:
    assert rejected(tmp_path, GOOD[media_type] + files.archive(), media_type) in ("wrong_type", "unreadable")


@pytest.mark.parametrize("archive", [files.archive(), files.archive(""), files.RAR, files.SEVEN_ZIP])
@pytest.mark.parametrize("behind", [b"", b"x", bytes(2_000_000)])
def test_an_archive_is_seen_wherever_it_lies(tmp_path: Path, archive: bytes, behind: bytes) -> None:
    for content in (GOOD[MediaType.JPEG] + bytes(1024 * 1024 - 700) + archive + behind, GOOD[MediaType.JPEG] + archive):
        assert rejected(tmp_path, content, MediaType.JPEG) == "wrong_type"
    assert rejected(tmp_path, files.png_with(archive + behind), MediaType.PNG) == "wrong_type"
    assert rejected(tmp_path, GOOD[MediaType.PDF] + archive + behind + b"\n%%EOF", MediaType.PDF) == "wrong_type"


def test_four_bytes_of_an_archive_are_no_archive(tmp_path: Path) -> None:
    content = GOOD[MediaType.JPEG]
    for mark in (b"PK\x05\x06", b"PK\x01\x02", b"PK\x01\x02" + b"\xe3" * 60):
        assert taken(tmp_path, content + mark, MediaType.JPEG).size == len(content) + len(mark)


def test_markup_in_a_comment_is_seen(tmp_path: Path) -> None:
    content = files.image("JPEG", comment=b"<script>alert(1)</script>")
    assert rejected(tmp_path, content, MediaType.JPEG) == "active_content"


def test_an_image_that_is_a_document_too_is_seen(tmp_path: Path) -> None:
    content = files.image("JPEG", comment=b"%PDF-1.4 and so on")
    assert rejected(tmp_path, content, MediaType.JPEG) == "wrong_type"


@pytest.mark.parametrize("media_type", [MediaType.PNG, MediaType.WEBP, MediaType.GIF])
def test_nothing_follows_the_end(tmp_path: Path, media_type: MediaType) -> None:
    assert rejected(tmp_path, GOOD[media_type] + b"more of it", media_type) == "unreadable"


@pytest.mark.parametrize("media_type", sorted(set(MediaType) - {MediaType.TEXT, MediaType.WEBM}))
def test_a_file_that_is_cut_off_is_unreadable(tmp_path: Path, media_type: MediaType) -> None:
    content = GOOD[media_type]
    assert rejected(tmp_path, content[: len(content) * 2 // 3], media_type) in ("unreadable", "wrong_type")


def test_a_bomb_is_not_decoded(tmp_path: Path) -> None:
    content = files.bomb(10_000, 10_000)
    assert len(content) < 200_000
    assert rejected(tmp_path, content, MediaType.PNG, 50_000_000) == "too_many_pixels"


def test_pixels_have_their_limit(tmp_path: Path) -> None:
    assert taken(tmp_path, files.bomb(100, 50), MediaType.PNG, 5000).width == 100
    assert rejected(tmp_path, files.bomb(100, 50), MediaType.PNG, 4999) == "too_many_pixels"
    assert taken(tmp_path, files.animation(3), MediaType.GIF, 3 * 32 * 24).width == 32
    assert rejected(tmp_path, files.animation(3), MediaType.GIF, 3 * 32 * 24 - 1) == "too_many_pixels"


def test_what_the_pages_of_a_document_show_stays_and_nothing_else(tmp_path: Path) -> None:
    content = files.stamped_document()
    found = taken(tmp_path, content, MediaType.PDF)
    assert found.shown is not None
    for hidden in (b"Main Street", b"t.me", b"Annot"):
        assert hidden in content
        assert hidden not in found.shown.read_bytes()
    with pypdfium2.PdfDocument(content) as before, pypdfium2.PdfDocument(found.shown) as after:
        assert before[0].get_size() == after[0].get_size() == (100, 200)
        pictures = [each[0].render().to_pil().convert("RGB") for each in (before, after)]
    assert pictures[0].tobytes() == pictures[1].tobytes()
    assert {(255, 0, 0), (0, 0, 255)} < {colour for _, colour in pictures[1].getcolors() or ()}


LAUNCH = b"<< /S%\n/Launch /F (calc.exe) >>"


@pytest.mark.parametrize(
    "content",
    [
        files.active_document(),
        files.carrying_document(),
        files.acting_document(),
        files.acting_document(LAUNCH),
        files.acting_document(catalog=b"", page=b"/AA << /O 4 0 R >>"),
        files.packed_document(),
    ],
)
def test_documents_with_programs_or_files_are_not_taken(tmp_path: Path, content: bytes) -> None:
    assert rejected(tmp_path, content, MediaType.PDF) == "active_content"


@pytest.mark.parametrize("content", [b"caf\xe9", b"a\x00b", b"a\x1b[2Jb", b"a\x7f"])
def test_text_is_plain(tmp_path: Path, content: bytes) -> None:
    assert rejected(tmp_path, content, MediaType.TEXT) == "wrong_type"


@pytest.mark.parametrize(
    "beginning",
    ["BMW 320d", "MZ", "From: the seller\nSubject: lamp", "RIFF", "ID3", '{"a": 1}', "import me", "\ufeffHi", "P1"],
)
def test_a_text_may_begin_with_any_letters(tmp_path: Path, beginning: str) -> None:
    content = f"{beginning}\nand what else they wrote \u263a\n".encode()
    assert taken(tmp_path, content, MediaType.TEXT).size == len(content)


def test_another_file_than_was_announced_is_not_looked_at(tmp_path: Path) -> None:
    other = wanted(tmp_path, files.bomb(100, 100), MediaType.PNG, 1).model_copy(update={"sha256": "0" * 64})
    found = examine(other)
    assert isinstance(found, Rejected)
    assert found.rule == "wrong_hash"


def test_a_container_that_lies_about_its_sizes_is_unreadable(tmp_path: Path) -> None:
    content = GOOD[MediaType.MP4]
    for length in (0x7FFFFFFF, 4):
        assert rejected(tmp_path, content + struct.pack(">I", length) + b"free", MediaType.MP4) == "unreadable"


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=150, deadline=None)
@given(st.sampled_from(sorted(MediaType)), st.data())
def test_damage_is_taken_or_rejected_and_never_a_fault(
    tmp_path: Path, media_type: MediaType, data: st.DataObject
) -> None:
    content = bytearray(GOOD[media_type])
    for place in data.draw(st.lists(st.integers(0, len(content) - 1), max_size=8)):
        content[place] = data.draw(st.integers(0, 255))
    assert isinstance(look(tmp_path, bytes(content), media_type), Examined | Rejected)


# In a process of its own


async def test_the_process_answers(tmp_path: Path) -> None:
    found = await Examiner().look(wanted(tmp_path, files.photo(), MediaType.JPEG))
    assert isinstance(found, Examined)
    assert found.captured_at == files.AT
    assert found.shown == tmp_path / "shown"


async def test_the_largest_image_fits_into_the_process(tmp_path: Path) -> None:
    pixels = EvidenceRules().pixels
    content = saved(Image.new("RGBA", (10_000, pixels // 10_000)), "PNG")
    found = await Examiner().look(wanted(tmp_path, content, MediaType.PNG, pixels))
    assert isinstance(found, Examined), found
    assert (found.width, found.height) == (10_000, 5_000)


async def test_a_process_that_takes_too_long_is_ended(tmp_path: Path) -> None:
    found = await Examiner(timeout_s=0.01).look(wanted(tmp_path, files.photo(), MediaType.JPEG))
    assert isinstance(found, Rejected)
    assert found.rule == "unreadable"


if Path("/dev/full").exists():

    @pytest.mark.parametrize(
        ("media_type", "content", "made"),
        [
            (MediaType.JPEG, files.photo(), "thumbnail"),
            (MediaType.PNG, files.image("PNG"), "shown"),
            (MediaType.PDF, files.document(), "shown"),
            (MediaType.PDF, files.document(), "thumbnail"),
            (MediaType.MP4, files.video("mp4", "mpeg4", title="my street"), "shown"),
        ],
    )
    async def test_a_full_disk_is_not_the_files_doing(
        tmp_path: Path, media_type: MediaType, content: bytes, made: str
    ) -> None:
        (tmp_path / made).symlink_to("/dev/full")
        with pytest.raises(Unavailable):
            await Examiner().look(wanted(tmp_path, content, media_type))


if sys.platform == "linux":

    def test_the_process_gives_up_memory() -> None:
        """What a library is made to ask for beyond that, it does not get."""
        for before, gets_it in (("pass", True), ("examine.limit()", False)):
            code = f"import mmap; from chatserver.evidence import examine; {before}; mmap.mmap(-1, {MEMORY_BYTES})"
            ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
            assert ("Cannot allocate memory" not in ended.stderr) is gets_it
            assert (ended.returncode == 0) is gets_it


async def test_a_process_that_dies_rejects_the_file(tmp_path: Path) -> None:
    lost = wanted(tmp_path, b"", MediaType.PNG).model_copy(update={"path": tmp_path / "none"})
    found = await Examiner().look(lost)
    assert found == Rejected(rule="unreadable", message="The file cannot be read within reasonable limits.")
