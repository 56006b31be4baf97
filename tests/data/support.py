"""Small files in the published layouts, written by hand from their documentation."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path
from typing import Any

import pytest

from miracle_core.data.readers import ReadOptions, read
from miracle_core.errors import InputError

RATED = ReadOptions(with_ratings=True)
USERS = ["A2SUAM1J3GNN3B", "AO94DHGC771SJ", "A1KLRMWW2FWPL4"]
ITEMS = ["B00004Z5M1", "0000013714", "B000AAAAA1"]


def lines(*objects: Any) -> bytes:
    return b"".join(json.dumps(entry).encode() + b"\n" for entry in objects)


def write(folder: Path, **files: bytes) -> list[Path]:
    """Write files; a double underscore in a name stands for a dot."""
    paths = []
    for name, content in files.items():
        paths.append(folder / name.replace("__", "."))
        paths[-1].write_bytes(content)
    return paths


def refused(format: str, paths: list[Path], options: ReadOptions | None = None) -> InputError:
    with pytest.raises(InputError) as caught:
        read(format, paths, options)
    assert caught.value.remedy
    return caught.value


def meta(**changes: Any) -> bytes:
    first = {
        "category": ["Industrial &amp; Scientific", "Tapes"],
        "tech1": "",
        "description": ["long <b>text</b>"],
        "title": "Blue <b>Tape</b>",
        "brand": "3M",
        "price": "$4.99",
        "asin": ITEMS[0],
        "details": {"deep": [[[{}]]]},
    }
    second = {"asin": ITEMS[1], "title": "Glue [red]stick\x1b[31m", "category": [], "brand": ""}
    return lines({**first, **changes}, second)


def reviews() -> list[dict[str, Any]]:
    return [
        {
            "reviewerID": user,
            "asin": item,
            "overall": 4.0 + at,
            "unixReviewTime": 1400000000 - at,
            "vote": "2",
            "style": {"Size:": " L"},
        }
        for at, (user, item) in enumerate(
            [(USERS[0], ITEMS[0]), (USERS[1], ITEMS[1]), (USERS[0], ITEMS[2])]
        )
    ]


META_2023 = lines(
    {
        "parent_asin": "B1",
        "title": "Lamp",
        "main_category": "Home",
        "categories": ["Home", "Light"],
        "store": "Lux",
        "price": None,
        "details": {"Color": "red"},
    },
    {"parent_asin": "B2", "title": "Mug", "categories": [], "store": None},
)

MOVIES = {
    "100k": {
        "u.data": b"1\t10\t3\t881250949\n2\t11\t5\t891717742\n",
        "u.item": (
            "10|Café Story (1995)|01-Jan-1995||http://x|0|1|0|0|0|1" + "|0" * 13 + "\n"
            "11|Heat: Two (1995)|01-Jan-1995||http://x" + "|0" * 19 + "\n"
        ).encode("latin-1"),
        "u.user": b"1|24|M|technician|85711\n",
    },
    "1m": {
        "ratings.dat": b"1::10::3::881250949\n2::11::5::891717742\n",
        "movies.dat": (
            "10::Café Story (1995)::Action|Comedy\n11::Heat: Two (1995)::(no genres listed)\n"
        ).encode("latin-1"),
        "users.dat": b"1::F::1::10::48067\n",
    },
    "25m": {
        "ratings.csv": b"userId,movieId,rating,timestamp\n1,10,3,881250949\n2,11,5,891717742\n",
        "movies.csv": (
            "movieId,title,genres\n10,Café Story (1995),Action|Comedy\n"
            '11,"Heat: Two (1995)",(no genres listed)\n'
        ).encode(),
        "tags.csv": b"userId,movieId,tag,timestamp\n",
    },
}


RETAIL = [
    ("536365", "85123A", "HOLDER", "6", "12/1/2010 8:26", "2.55", "17850", "United Kingdom"),
    ("536365", "71053", "LANTERN", "6", "12/1/2010 8:26", "3.39", "17850", "United Kingdom"),
    ("C536379", "85123A", "HOLDER", "-1", "12/1/2010 9:41", "2.55", "17850", "United Kingdom"),
    ("536380", "85123A", "CREAM £HOLDER", "2", "12/13/2010 9:41", "2.55", "13047", "France"),
    ("536381", "85123A", "HOLDER", "2", "1/13/2011 9:41", "2.55", "", "France"),
    ("536382", "22139", "", "56", "1/14/2011 9:41", "0", "13047", "France"),
    ("536383", "71053", "LANTERN", "-9", "1/14/2011 9:41", "0", "13047", "France"),
]
HEADER = "InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country\n"


def retail_csv(rows: list[tuple[str, ...]] | None = None, header: str = HEADER) -> str:
    return header + "".join(",".join(row) + "\n" for row in rows or RETAIL)


def workbook(rows: list[tuple[str, ...]], padding: int = 0) -> bytes:
    """A minimal workbook: one sheet with its text inside the cells."""

    def cell(column: int, row: int, text: str) -> str:
        place = f"{'ABCDEFGH'[column]}{row}"
        if not text:
            return ""
        if text.lstrip("-").replace(".", "", 1).isdigit():
            return f'<c r="{place}"><v>{text}</v></c>'
        return f'<c r="{place}" t="inlineStr"><is><t>{text}</t></is></c>'

    table = [tuple(HEADER.strip().split(",")), *rows]
    body = "".join(
        f'<row r="{at}">{"".join(cell(c, at, text) for c, text in enumerate(row))}</row>'
        for at, row in enumerate(table, 1)
    )
    ns = "http://schemas.openxmlformats.org"
    main = f'xmlns="{ns}/spreadsheetml/2006/main"'
    office = f"{ns}/officeDocument/2006/relationships"
    package = f"{ns}/package/2006"
    kind = "application/vnd.openxmlformats-officedocument.spreadsheetml"
    files = {
        "[Content_Types].xml": f'<Types xmlns="{package}/content-types"><Default Extension="xml" '
        'ContentType="application/xml"/><Default Extension="rels" ContentType='
        '"application/vnd.openxmlformats-package.relationships+xml"/><Override PartName='
        f'"/xl/workbook.xml" ContentType="{kind}.sheet.main+xml"/><Override PartName='
        f'"/xl/worksheets/sheet1.xml" ContentType="{kind}.worksheet+xml"/></Types>',
        "_rels/.rels": f'<Relationships xmlns="{package}/relationships"><Relationship Id="r1" '
        f'Type="{office}/officeDocument" Target="xl/workbook.xml"/></Relationships>',
        "xl/workbook.xml": f'<workbook {main} xmlns:r="{office}"><sheets><sheet name="Sheet1" '
        'sheetId="1" r:id="r1"/></sheets></workbook>',
        "xl/_rels/workbook.xml.rels": f'<Relationships xmlns="{package}/relationships">'
        f'<Relationship Id="r1" Type="{office}/worksheet" Target="worksheets/sheet1.xml"/>'
        "</Relationships>",
        "xl/worksheets/sheet1.xml": f"<worksheet {main}><sheetData>{body}</sheetData></worksheet>"
        + " " * padding,
    }
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, '<?xml version="1.0" encoding="UTF-8"?>' + content)
    return sink.getvalue()
