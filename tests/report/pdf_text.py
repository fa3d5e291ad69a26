"""The text of a PDF as Chromium prints it: enough of the format for its files, and for no others.

ISO 32000-1: text is shown as glyph numbers in hexadecimal (9.4.3); each font has a table back to Unicode (9.10.3).
"""

import re
import unicodedata
import zlib


def pages(content: bytes) -> list[str]:
    """Returns the text of each page, without blanks: a browser places words, and need not write what is between."""
    objects = {int(n): body for n, body in re.findall(rb"(\d+) 0 obj\n(.*?)\nendobj", content, re.DOTALL)}
    order = [int(n) for body in objects.values() if b"/Type /Pages" in body for n in _kids(body)]
    order = [n for n in order if re.search(rb"/Type /Page\b(?!s)", objects[n])]
    # A glyph can be several letters, as in "fi".
    return ["".join(unicodedata.normalize("NFKC", _page(objects, objects[n])).split()) for n in order]


def _kids(body: bytes) -> list[bytes]:
    found = re.search(rb"/Kids \[(.*?)\]", body, re.DOTALL)
    return re.findall(rb"(\d+) 0 R", found[1]) if found else []


def _page(objects: dict[int, bytes], page: bytes) -> str:
    fonts = {name: _letters(objects, int(n)) for name, n in re.findall(rb"/(F\d+) (\d+) 0 R", page)}
    (number,) = re.findall(rb"/Contents (\d+) 0 R", page)
    shown, font = [], {}
    for name, glyphs in re.findall(rb"/(F\d+) [\d.]+ Tf|<([0-9A-F]+)> Tj", _stream(objects[int(number)])):
        if name:
            font = fonts[name]
        shown += [font[int(glyphs[at : at + 4], 16)] for at in range(0, len(glyphs), 4)]
    return "".join(shown)


def _letters(objects: dict[int, bytes], font: int) -> dict[int, str]:
    """Returns a font's letters by glyph."""
    (number,) = re.findall(rb"/ToUnicode (\d+) 0 R", objects[font])
    table = _stream(objects[int(number)])
    found = {}
    for block in re.findall(rb"beginbfchar\n(.*?)endbfchar", table, re.DOTALL):
        for glyph, letters in re.findall(rb"<(\w+)> <(\w+)>", block):
            found[int(glyph, 16)] = bytes.fromhex(letters.decode()).decode("utf-16-be")
    for block in re.findall(rb"beginbfrange\n(.*?)endbfrange", table, re.DOTALL):
        for first, last, letter in re.findall(rb"<(\w+)> <(\w+)> <(\w+)>", block):
            start = int(first, 16)
            found |= {n: chr(int(letter, 16) + n - start) for n in range(start, int(last, 16) + 1)}
    return found


def _stream(body: bytes) -> bytes:
    raw = body[body.index(b"stream\n") + 7 : body.rindex(b"\nendstream")]
    return zlib.decompress(raw) if b"/FlateDecode" in body[: body.index(b"stream\n")] else raw
