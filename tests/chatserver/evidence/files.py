"""Real files, made here: images, documents and videos, honest and not."""

import io
import struct
import zipfile
import zlib
from datetime import datetime
from typing import Any

import av
import pypdfium2
import zxingcpp
from PIL import Image, ImageDraw, PngImagePlugin

GPS = {1: "N", 2: (47.0, 22.0, 1.0), 3: "E", 4: (8.0, 32.0, 1.0)}


def picture(width: int = 64, height: int = 48, mode: str = "RGB") -> Image.Image:
    image = Image.new(mode, (width, height))
    ImageDraw.Draw(image).line((0, 0, width, height), fill="white" if mode == "RGB" else None, width=3)
    return image


def image(name: str, width: int = 64, height: int = 48, **options: Any) -> bytes:
    """An image in a format of Pillow's."""
    content = io.BytesIO()
    picture(width, height).save(content, name, **options)
    return content.getvalue()


def photo(taken: str = "2026:01:30 18:05:09", offset: str = "+02:00", orientation: int = 6) -> bytes:
    """A JPEG as a phone makes it: with time, place, maker and orientation."""
    exif = Image.Exif()
    exif[0x010F] = "PhoneMaker"
    exif[0x0112] = orientation
    exif.get_ifd(0x8769).update({36867: taken, 36881: offset} if offset else {36867: taken})
    exif.get_ifd(0x8825).update(GPS)
    return image("JPEG", exif=exif.tobytes(), comment=b"a comment")


def coded(payload: str) -> bytes:
    """A PNG with a QR code."""
    code: Any = zxingcpp.create_barcode(payload, zxingcpp.BarcodeFormat.QRCode).to_image()
    height, width = code.shape
    drawn = Image.frombytes("L", (width, height), bytes(code)).resize((4 * width, 4 * height))
    content = io.BytesIO()
    drawn.convert("RGB").save(content, "PNG")
    return content.getvalue()


def commented_png() -> bytes:
    info = PngImagePlugin.PngInfo()
    info.add_text("Author", "Ann of 5 Main Street")
    return image("PNG", pnginfo=info)


def animation(frames: int = 3) -> bytes:
    content = io.BytesIO()
    pictures = [Image.new("RGB", (32, 24), (80 * number, 0, 0)) for number in range(frames)]
    pictures[0].save(content, "GIF", save_all=True, append_images=pictures[1:], duration=100, comment=b"secret")
    return content.getvalue()


def bomb(width: int, height: int) -> bytes:
    """A PNG whose header promises many pixels, in few bytes."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = zlib.compressobj(9)
    data = b"".join(rows.compress(bytes(1 + width)) for _ in range(height)) + rows.flush()
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def double_photo() -> bytes:
    """A JPEG of a phone that has a smaller picture behind it (CIPA DC-007, Multi-Picture Format)."""
    content = io.BytesIO()
    picture().save(content, "MPO", save_all=True, append_images=[picture(32, 24)])
    return content.getvalue()


def png_with(data: bytes) -> bytes:
    """A PNG that carries something in a chunk of its own."""
    content = image("PNG")
    end = content.rindex(b"IEND") - 4
    chunk = struct.pack(">I", len(data)) + b"zzZz" + data + struct.pack(">I", zlib.crc32(b"zzZz" + data))
    return content[:end] + chunk + content[end:]


def document(pages: int = 1) -> bytes:
    made = pypdfium2.PdfDocument.new()
    for _ in range(pages):
        made.new_page(200, 300)
    content = io.BytesIO()
    made.save(content)
    return content.getvalue()


def told_document() -> bytes:
    """A PDF that says who wrote it."""
    content = io.BytesIO()
    picture().save(content, "PDF", author="Ann of 5 Main Street", title="invoice")
    return content.getvalue()


_PAGES = b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>"
_PROGRAM = b"<< /S /JavaScript /JS (app.alert\\(1\\)) >>"


def active_document() -> bytes:
    """A PDF with a program that runs when it is opened."""
    return _objects(
        b"<< /Type /Catalog /Pages 2 0 R /Names << /JavaScript << /Names [(a) 4 0 R] >> >> >>",
        _PAGES,
        b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 9 9] >>",
        _PROGRAM,
    )


def acting_document(action: bytes = _PROGRAM, catalog: bytes = b"/OpenAction 4 0 R", page: bytes = b"") -> bytes:
    """A PDF that does something, by an entry of its catalog or its page."""
    return _objects(
        b"<< /Type /Catalog /Pages 2 0 R %s >>" % catalog,
        _PAGES,
        b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 9 9] %s >>" % page,
        action,
    )


def packed_document() -> bytes:
    """One whose program lies in a compressed stream of objects, its name written in another way."""
    packed = zlib.compress(b"4 0 << /S /Java#53cript /JS (app.alert\\(1\\)) >>")
    stream = b"<< /Type /ObjStm /N 1 /First 4 /Filter /FlateDecode /Length %d >>\nstream\n%s\nendstream"
    return acting_document(stream % (len(packed), packed), b"")


def stamped_document() -> bytes:
    """A turned page, not at the origin, with a red mark, a blue stamp, a link, and words that are not for everybody."""
    return _objects(
        b"<< /Type /Catalog /Pages 2 0 R >>",
        _PAGES,
        b"<< /Type /Page /Parent 2 0 R /MediaBox [100 100 300 200] /Rotate 90 /Contents 4 0 R /Annots [5 0 R 7 0 R]"
        b" /PieceInfo << /Ann (Main Street) >> >>",
        b"<< /Length 29 >>\nstream\n1 0 0 rg 100 100 40 20 re f  \nendstream",
        b"<< /Type /Annot /Subtype /Stamp /F 4 /Rect [200 140 250 190] /AP << /N 6 0 R >> /T (Main Street) >>",
        b"<< /Type /XObject /Subtype /Form /BBox [0 0 50 50] /Length 23 >>\nstream\n0 0 1 rg 0 0 50 50 re f\nendstream",
        b"<< /Type /Annot /Subtype /Link /Rect [0 0 9 9] /A << /S /URI /URI (https://t.me/ann) >> >>",
    )


def carrying_document() -> bytes:
    """A PDF with another file inside."""
    made = pypdfium2.PdfDocument.new()
    made.new_page(200, 300)
    made.new_attachment("virus.exe").set_data(b"MZ")
    content = io.BytesIO()
    made.save(content)
    return content.getvalue()


def _objects(*objects: bytes) -> bytes:
    content, places = b"%PDF-1.7\n", []
    for number, each in enumerate(objects, 1):
        places.append(len(content))
        content += b"%d 0 obj\n%s\nendobj\n" % (number, each)
    table = b"".join(b"%010d 00000 n \n" % place for place in places)
    trailer = b"trailer << /Size %d /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF\n" % (len(objects) + 1, len(content))
    return content + b"xref\n0 %d\n0000000000 65535 f \n" % (len(objects) + 1) + table + trailer


def video(name: str, codec: str, **metadata: str) -> bytes:
    content = io.BytesIO()
    with av.open(content, "w", format=name) as container:
        container.metadata.update(metadata)
        stream: Any = container.add_stream(codec, rate=5)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for _ in range(3):
            container.mux(stream.encode(av.VideoFrame(64, 48, "yuv420p")))
        container.mux(stream.encode())
    return content.getvalue()


def archive(name: str = "a.txt") -> bytes:
    """A ZIP archive; without a name it holds nothing."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as made:
        if name:
            made.writestr(name, "x")
    return content.getvalue()


RAR = b"Rar!\x1a\x07\x01\x00" + bytes(50)
SEVEN_ZIP = b"7z\xbc\xaf\x27\x1c\x00\x04" + bytes(50)


def frames_of(content: bytes) -> int:
    """The pictures of a video, decoded."""
    with av.open(io.BytesIO(content), "r") as container:
        return len(list(container.decode(video=0)))


AT: datetime = datetime.fromisoformat("2026-01-30T18:05:09+02:00")
