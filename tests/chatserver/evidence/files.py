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


def active_document() -> bytes:
    """A PDF with a program that runs when it is opened."""
    return _objects(
        b"<< /Type /Catalog /Pages 2 0 R /Names << /JavaScript << /Names [(a) 4 0 R] >> >> >>",
        b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 9 9] >>",
        b"<< /S /JavaScript /JS (app.alert\\(1\\)) >>",
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


def archive() -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as made:
        made.writestr("a.txt", "x")
    return content.getvalue()


def frames_of(content: bytes) -> int:
    """The pictures of a video, decoded."""
    with av.open(io.BytesIO(content), "r") as container:
        return len(list(container.decode(video=0)))


AT: datetime = datetime.fromisoformat("2026-01-30T18:05:09+02:00")
