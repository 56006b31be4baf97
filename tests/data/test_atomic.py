"""Atomic files in both forms: what is read, and everything that is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from miracle_core.data.interactions import Interactions
from miracle_core.data.readers import ReadOptions, read
from miracle_core.errors import InputError

HEADER = "user_id:token\titem_id_list:token_seq\titem_id:token\n"
SEQUENCES = {"7": "abcdefghij", "3": "cad", "9": "jihgf"}
ITEMS = sorted(set("".join(SEQUENCES.values())))


def write(folder: Path, **files: str | bytes) -> Path:
    """Write files ``Toy.<ending>``; a double underscore in the name stands for a dot."""
    folder.mkdir(exist_ok=True)
    for ending, content in files.items():
        data = content.encode() if isinstance(content, str) else content
        (folder / f"Toy.{ending.replace('__', '.')}").write_bytes(data)
    return folder


def rows_of(sequences: dict[str, str], split: str, cap: int = 50) -> list[str]:
    """The rows of a split as UniSRec writes them: the longest training prefix comes first."""
    rows = []
    for user, items in sequences.items():
        last = len(items) - 1
        targets = {"test": [last], "valid": [last - 1], "train": range(last - 2, 0, -1)}[split]
        for target in targets:
            history = items[max(0, target - cap) : target]
            rows.append(f"{user}\t{' '.join(history)}\t{items[target]}")
    return rows


def split_file(sequences: dict[str, str], split: str, cap: int = 50) -> str:
    return HEADER + "".join(f"{row}\n" for row in rows_of(sequences, split, cap))


def item_file(items: list[str] | None = None) -> str:
    return "item_id:token\ttitle:token_seq\n" + "".join(f"{i}\tthe {i}\n" for i in items or ITEMS)


def benchmark(folder: Path, cap: int = 50, **more: str | bytes) -> Path:
    files: dict[str, str | bytes] = {
        f"{split}__inter": split_file(SEQUENCES, split, cap) for split in ("train", "valid", "test")
    }
    return write(folder, **{**files, "item": item_file(), **more})


def sequences_of(found: Interactions) -> dict[str, str]:
    grouped = found.events.sort("user_id", "time", maintain_order=True).group_by(
        "user_id", maintain_order=True
    )
    return {str(key[0]): "".join(group["item_id"]) for key, group in grouped}


def refused(folder: Path, *, options: ReadOptions | None = None) -> InputError:
    with pytest.raises(InputError) as caught:
        read("atomic", [folder], options)
    assert caught.value.where
    assert caught.value.remedy
    return caught.value


class TestBenchmark:
    @pytest.mark.parametrize("cap", [50, 4, 3, 1])
    def test_rows_become_sequences(self, tmp_path: Path, cap: int) -> None:
        found = read("atomic", [benchmark(tmp_path, cap)])
        assert sequences_of(found) == SEQUENCES
        assert found.events["user_id"].unique(maintain_order=True).to_list() == ["7", "3", "9"]
        assert found.items["item_id"].to_list() == ITEMS
        assert found.items["title"][0] == "the a"
        assert found.name == "Toy"
        assert found.benchmark
        assert [source.file for source in found.sources] == [
            "Toy.item",
            "Toy.train.inter",
            "Toy.valid.inter",
            "Toy.test.inter",
        ]

    def test_training_rows_from_the_first_to_the_longest(self, tmp_path: Path) -> None:
        rows = rows_of(SEQUENCES, "train", 3)[::-1]
        train = HEADER + "".join(f"{row}\n" for row in rows)
        assert sequences_of(read("atomic", [benchmark(tmp_path, 3, train__inter=train)])) == (
            SEQUENCES
        )

    def test_test_rows_alone(self, tmp_path: Path) -> None:
        folder = write(tmp_path, test__inter=split_file(SEQUENCES, "test"), item=item_file())
        assert sequences_of(read("atomic", [folder])) == SEQUENCES

    def test_files_one_by_one(self, tmp_path: Path) -> None:
        folder = benchmark(tmp_path)
        (folder / "Other.item").write_text(item_file())
        files = [folder / "Toy.test.inter", folder / "Toy.item"]
        assert sequences_of(read("atomic", files)) == SEQUENCES

    def test_indices_are_mapped_and_order_everything(self, tmp_path: Path) -> None:
        numbers = {item: str(len(ITEMS) - 1 - at) for at, item in enumerate(ITEMS)}
        test = HEADER + "".join(
            f"{user}\t{' '.join(numbers[i] for i in items[:-1])}\t{numbers[items[-1]]}\n"
            for user, items in SEQUENCES.items()
        )
        folder = write(
            tmp_path,
            test__inter=test,
            text="item_id:token\ttext:token_seq\n"
            + "".join(f"{i}\tThing {i}. Much more.\n" for i in [*ITEMS, "unused"]),
            item2index="".join(f"{item}\t{number}\n" for item, number in numbers.items()),
            user2index="ann\t3\nbob\t9\ncat\t7\n",
        )
        found = read("atomic", [folder])
        assert sequences_of(found) == {"ann": "cad", "bob": "jihgf", "cat": "abcdefghij"}
        assert found.events["user_id"].unique(maintain_order=True).to_list() == [
            "ann",
            "cat",
            "bob",
        ]
        assert found.items["item_id"].to_list() == [*ITEMS[::-1], "unused"]
        assert found.items["text"][0] == "Thing j. Much more."

    def test_numbers_as_item_ids_come_in_their_order(self, tmp_path: Path) -> None:
        test = HEADER + "u\t10 2 1\t0\n"
        folder = write(tmp_path, test__inter=test, item=item_file(["0", "1", "10", "2"]))
        assert read("atomic", [folder]).items["item_id"].to_list() == ["0", "1", "2", "10"]

    def test_blank_lines_and_windows_line_ends(self, tmp_path: Path) -> None:
        test = split_file(SEQUENCES, "test").replace("\n", "\r\n\r\n")
        folder = write(tmp_path, test__inter=b"\xef\xbb\xbf" + test.encode(), item=item_file())
        assert sequences_of(read("atomic", [folder])) == SEQUENCES

    def test_a_row_that_contradicts_another(self, tmp_path: Path) -> None:
        train = split_file(SEQUENCES, "train").replace("7\ta b c\td", "7\ta x c\td")
        items = item_file([*ITEMS, "x"])
        error = refused(benchmark(tmp_path, train__inter=train, item=items))
        line = train.split("\n").index("7\ta x c\td") + 1
        assert error.where == f"{tmp_path / 'Toy.train.inter'}:{line}"
        assert "Toy.test.inter:2" in error.what

    def test_rows_missing_in_between(self, tmp_path: Path) -> None:
        # Histories are capped at 4, as v's shows, so the items before u's e are unknown.
        folder = write(
            tmp_path,
            train__inter=HEADER + "u\ta\tb\nu\ta b\tc\n",
            test__inter=HEADER + "v\tq r s t\tq\nu\te f g h\ti\n",
            item=item_file(list("abcdefghiqrst")),
        )
        error = refused(folder)
        assert error.where == f"{tmp_path / 'Toy.train.inter'}:2"
        assert "Toy.test.inter:3 has 'e'" in error.what

    def test_no_leave_one_out_split(self, tmp_path: Path) -> None:
        valid = split_file(SEQUENCES, "valid").replace("3\tc\ta", "3\tc a\td")
        error = refused(benchmark(tmp_path, valid__inter=valid))
        assert error.where == f"{tmp_path / 'Toy.valid.inter'}:3"
        assert "leave-one-out" in error.what

    def test_an_unknown_item_in_a_history(self, tmp_path: Path) -> None:
        test = split_file(SEQUENCES, "test").replace("j i h", "j nope h")
        error = refused(write(tmp_path, test__inter=test, item=item_file()))
        assert error.where == f"{tmp_path / 'Toy.test.inter'}:4"
        assert "'nope'" in error.what

    def test_an_item_without_text(self, tmp_path: Path) -> None:
        error = refused(benchmark(tmp_path, item=item_file().replace("the d", " &nbsp; ")))
        assert error.where == f"{tmp_path / 'Toy.item'}:5"
        assert "'d'" in error.what

    def test_an_indexed_item_without_a_row(self, tmp_path: Path) -> None:
        index = "".join(f"{item}\t{at}\n" for at, item in enumerate([*ITEMS, "z"]))
        test = HEADER + "u\t0 1 2\t3\n"
        error = refused(write(tmp_path, test__inter=test, item=item_file(), item2index=index))
        assert "'z'" in error.what
        assert "Toy.item2index" in (error.where or "")

    def test_an_item_twice(self, tmp_path: Path) -> None:
        error = refused(benchmark(tmp_path, item=item_file() + "\nc\tagain\n"))
        assert error.where == f"{tmp_path / 'Toy.item'}:13"
        assert "Toy.item:4" in error.what

    def test_a_user_twice(self, tmp_path: Path) -> None:
        test = split_file(SEQUENCES, "test") + "3\tc a\td\n"
        error = refused(write(tmp_path, test__inter=test, item=item_file()))
        assert error.where == f"{tmp_path / 'Toy.test.inter'}:5"
        assert "'3'" in error.what

    def test_a_user_missing_from_the_test_split(self, tmp_path: Path) -> None:
        train = split_file(SEQUENCES, "train") + "44\ta\tb\n"
        error = refused(benchmark(tmp_path, train__inter=train))
        assert error.where == f"{tmp_path / 'Toy.train.inter'}:{train.count(chr(10))}"
        index = "".join(f"user{user}\t{user}\n" for user in [*SEQUENCES, "44"])
        error = refused(benchmark(tmp_path, train__inter=train, user2index=index))
        assert error.where == f"{tmp_path / 'Toy.train.inter'}:{train.count(chr(10))}"
        assert "no row in the test split" in error.what

    def test_an_index_that_is_no_number(self, tmp_path: Path) -> None:
        error = refused(benchmark(tmp_path, item2index="item_id\tindex\na\t0\n"))
        assert error.where == f"{tmp_path / 'Toy.item2index'}:1"

    def test_the_test_split_missing(self, tmp_path: Path) -> None:
        folder = benchmark(tmp_path)
        (folder / "Toy.test.inter").unlink()
        assert "Toy.test.inter is missing" in refused(folder).what

    def test_the_item_file_missing(self, tmp_path: Path) -> None:
        folder = write(tmp_path, test__inter=split_file(SEQUENCES, "test"))
        assert "Toy.item" in refused(folder).what


PLAIN = "user_id:token\titem_id:token\trating:float\ttimestamp:float\n"
PLAIN_ITEMS = (
    "item_id:token\ttitle:token_seq\tprice:float\tcategories:token_seq\tbrand:token\n"
    "a\tHammer\t9.5\tTools Hand Tools\tAcme\n"
    "b\tDrill\t\t\tBolt\n"
    "c\tNail.\t1\tFasteners\t\n"
)


class TestPlain:
    def test_rows_and_text(self, tmp_path: Path) -> None:
        inter = PLAIN + "u\tb\t5\t30\nv\ta\t1\t10.5\nu\ta\t4\t20\nu\tc\t4\t20\n"
        found = read("atomic", [write(tmp_path, inter=inter, item=PLAIN_ITEMS)])
        assert found.events.rows() == [
            ("u", "b", 30.0),
            ("v", "a", 10.5),
            ("u", "a", 20.0),
            ("u", "c", 20.0),
        ]
        assert found.items.rows() == [
            ("a", "Hammer", "Hammer. Tools Hand Tools. Acme", "Toy"),
            ("b", "Drill", "Drill. Bolt", "Toy"),
            ("c", "Nail.", "Nail. Fasteners", "Toy"),
        ]
        assert not found.benchmark

    def test_without_times_the_order_of_the_file(self, tmp_path: Path) -> None:
        inter = "item_id:token\tuser_id:token\nb\tu\na\tu\n"
        found = read("atomic", [write(tmp_path, inter=inter, item=PLAIN_ITEMS)])
        assert found.events.rows() == [("u", "b", 0), ("u", "a", 1)]
        assert "Toy.inter has no column timestamp" in found.notes[0]
        with_times = write(tmp_path, inter=PLAIN + "u\tb\t5\t30\n", item=PLAIN_ITEMS)
        assert not read("atomic", [with_times]).notes

    def test_text_columns_without_a_title(self, tmp_path: Path) -> None:
        items = "item_id:token\tabout:token_seq\tprice:float\na\tA small lamp. Cheap too.\t3\n"
        inter = PLAIN + "u\ta\t5\t30\n"
        found = read("atomic", [write(tmp_path, inter=inter, item=items)])
        assert found.items.row(0)[1:3] == ("A small lamp", "A small lamp. Cheap too.")

    def test_the_name_given_wins(self, tmp_path: Path) -> None:
        folder = write(tmp_path, inter=PLAIN + "u\ta\t5\t30\n", item=PLAIN_ITEMS)
        found = read("atomic", [folder], ReadOptions(name="shop"))
        assert found.name == "shop"
        assert found.items["domain"].unique().to_list() == ["shop"]

    @pytest.mark.parametrize(
        ("inter", "line", "what"),
        [
            (PLAIN.replace("item_id", "item") + "u\ta\t5\t30\n", 1, "no column 'item_id'"),
            (PLAIN + "u\ta\t5\t30\n\nu\tb\t5\n", 4, "has 3 fields, expected 4"),
            (PLAIN + "u\ta\t5\t30\t9\n", 2, "has 5 fields, expected 4"),
            (PLAIN + "u\ta\t5\t30\nu\tb\r\t5\t30\n", 3, "carriage return"),
            (PLAIN + "u\ta\t5\t30\nu\tb\t5\tsoon\n", 3, "'soon' is not a time"),
            (PLAIN + "u\ta\t5\t30\nu\tb\t5\t\n", 3, "'' is not a time"),
            (PLAIN + "u\ta\t5\t30\nu\tb\t5\tnan\n", 3, "not a finite number"),
            (PLAIN + "u\ta\t5\t30\nu\tzzz\t5\t31\n", 3, "'zzz'"),
            (PLAIN + "u\ta\t5\t30\n\ta\t5\t31\n", 3, "has no user_id"),
            (PLAIN + "u\t\t5\t30\n", 2, "has no item_id"),
            (PLAIN.replace("rating", "item_id") + "u\ta\t5\t30\n", 1, "twice"),
        ],
    )
    def test_bad_rows_are_named(self, tmp_path: Path, inter: str, line: int, what: str) -> None:
        error = refused(write(tmp_path, inter=inter, item=PLAIN_ITEMS))
        assert error.where == f"{tmp_path / 'Toy.inter'}:{line}"
        assert what in error.what

    def test_bytes_that_are_not_utf8(self, tmp_path: Path) -> None:
        items = PLAIN_ITEMS.encode().replace(b"Drill", b"Dr\xefll")
        error = refused(write(tmp_path, inter=PLAIN + "u\ta\t5\t30\n", item=items))
        assert error.where == f"{tmp_path / 'Toy.item'}:3:5"
        assert "UTF-8" in error.what

    @pytest.mark.parametrize(("content", "what"), [("", "is empty"), (PLAIN, "has no rows")])
    def test_nothing_in_it(self, tmp_path: Path, content: str, what: str) -> None:
        error = refused(write(tmp_path, inter=content, item=PLAIN_ITEMS))
        assert error.where == str(tmp_path / "Toy.inter")
        assert what in error.what

    def test_no_column_of_text(self, tmp_path: Path) -> None:
        items = "item_id:token\tprice:float\na\t3\n"
        error = refused(write(tmp_path, inter=PLAIN + "u\ta\t5\t30\n", item=items))
        assert "no column 'title'" in error.what

    def test_column_options_are_for_tables(self, tmp_path: Path) -> None:
        folder = write(tmp_path, inter=PLAIN + "u\ta\t5\t30\n", item=PLAIN_ITEMS)
        assert "user" in refused(folder, options=ReadOptions(user="customer")).what


class TestFinding:
    def test_no_such_folder(self, tmp_path: Path) -> None:
        assert refused(tmp_path / "none").where == str(tmp_path / "none")

    def test_nothing_in_the_folder(self, tmp_path: Path) -> None:
        assert ".inter" in refused(tmp_path).what

    def test_several_data_sets(self, tmp_path: Path) -> None:
        (benchmark(tmp_path) / "Other.inter").write_text(PLAIN)
        assert "several data sets: Other, Toy" in refused(tmp_path).what

    def test_both_forms(self, tmp_path: Path) -> None:
        assert "both" in refused(benchmark(tmp_path, inter=PLAIN)).what

    def test_a_file_of_another_kind(self, tmp_path: Path) -> None:
        path = tmp_path / "notes.md"
        path.write_text("x")
        assert refused(path).where == str(path)
