# /// script
# requires-python = ">=3.9"
# dependencies = ["pillow"]
# ///
"""Pillow: pictures drawn, written on, resized, filtered, and encoded and decoded in memory and in files."""

import io
import os
import tempfile

from PIL import Image, ImageChops, ImageDraw, ImageFilter, ImageFont, ImageOps, ImageStat


def draw():
    picture = Image.new("RGB", (320, 200), "navy")
    pen = ImageDraw.Draw(picture)
    pen.ellipse((40, 40, 160, 160), fill="gold", outline="white", width=3)
    pen.polygon([(200, 150), (250, 50), (300, 150)], fill=(200, 30, 30))
    font = ImageFont.load_default()
    pen.text((10, 10), "callgate", font=font, fill="white")
    assert picture.getpixel((100, 100)) == (255, 215, 0)
    assert pen.textlength("callgate", font=font) > 20
    return picture


def transform(picture):
    small = picture.resize((80, 50), Image.Resampling.LANCZOS)
    turned = picture.rotate(30, expand=True).convert("L")
    blurred = picture.filter(ImageFilter.GaussianBlur(3))
    assert ImageStat.Stat(ImageChops.difference(picture, blurred)).sum[0] > 0
    thumbnail = ImageOps.fit(ImageOps.grayscale(picture), (32, 32))
    return small.size, turned.mode, thumbnail.size, len(picture.quantize(16).getcolors()) <= 16


def codecs(picture):
    sizes = {}
    for name, exact in (("PNG", True), ("JPEG", False), ("GIF", False), ("BMP", True), ("TIFF", True), ("WEBP", False)):
        buffer = io.BytesIO()
        picture.save(buffer, name)
        buffer.seek(0)
        with Image.open(buffer) as back:
            assert back.format == name and back.size == picture.size
            back.load()
            if exact:
                assert back.convert("RGB").tobytes() == picture.tobytes()
            sizes[name] = back.size
    return sorted(sizes)


def files(picture):
    with tempfile.TemporaryDirectory(prefix="pillow-") as directory:
        path = os.path.join(directory, "picture.png")
        picture.save(path, optimize=True)
        with Image.open(path) as back:
            back.verify()
        frames = [picture.resize((64, 40)).rotate(90 * n) for n in range(3)]
        film = os.path.join(directory, "film.gif")
        frames[0].save(film, save_all=True, append_images=frames[1:], duration=50)
        with Image.open(film) as back:
            return back.n_frames


picture = draw()
print("draw:", picture.size, picture.mode)
print("transform:", *transform(picture))
print("codecs:", *codecs(picture))
print("files:", files(picture))
print("ok: pillow works")
