"""Ways to carry a person out in a file that a stage wrote: each is a function that spoils a study. Used by test_smuggling."""

from __future__ import annotations

import base64
import codecs
import gzip
import json
import shutil
import zipfile
import zlib
from pathlib import Path

import h5py
import nbformat
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pybigtools
from PIL import Image, PngImagePlugin
from safetensors.numpy import save_file

from tests.toy_study import DOOR, EXTRACTION, FIGURES, HUNT, LAYER, NOTEBOOK, with_figures, write, write_figure, write_notebook

ID = "SIM00007"
CODES = [ord(c) for c in ID]
POOLED, LAYERS, HEADLINE = f"{EXTRACTION}/pooled.h5", f"{HUNT}/layers.csv", f"{HUNT}/headline.json"
TRACKS, SAE = "08_dna/tracks", "03_sae_training/seeds/0"
CLAIM = {
    "claim": "a layer predicts better than shuffled labels",
    "value": 0.7,
    "low": 0.6,
    "high": 0.8,
    "n": 60,
    "of": "people",
    "null": 0.5,
    "rule": "above 0.5",
    "verdict": "holds",
    "note": "",
}
NATO = "sierra india mike zero zero zero zero seven"
MORSE = "... .. -- ----- ----- ----- ----- --..."

#: An id in every spelling that was thought of, each as the text of a cell.
SPELLINGS = {
    "plain": ID,
    "lower case": ID.lower(),
    "with a suffix": f"{ID}_1",
    "letters around": f"x{ID}x",
    "digits around": f"1{ID}1",
    "Cyrillic letters": "\u0405\u0406\u041c00007",
    "Greek letters": "S\u0399\u039c00007",
    "full width": "".join(chr(ord(c) + 0xFEE0) for c in ID),
    "mathematical letters": "\U0001d412\U0001d408\U0001d40c00007",
    "Arabic digits": "SIM\u0660\u0660\u0660\u0660\u0667",
    "zero width between": "\u200b".join(ID),
    "soft hyphens": "\u00ad".join(ID),
    "combining marks": "\u0332".join(ID),
    "right to left": f"\u202e{ID[::-1]}",
    "tag characters": "layer" + "".join(chr(0xE0000 + ord(c)) for c in ID),
    "hexadecimal": ID.encode().hex(),
    "hexadecimal, spaced": ID.encode().hex(" "),
    "base64": base64.b64encode(ID.encode()).decode(),
    "base64, shifted": base64.b64encode(f"x{ID}".encode()).decode(),
    "base32": base64.b32encode(ID.encode()).decode(),
    "base85": base64.b85encode(ID.encode()).decode(),
    "rot13": codecs.encode(ID, "rot13"),
    "backwards": ID[::-1],
    "percent encoded": "".join(f"%{c:02x}" for c in CODES),
    "entities": "".join(f"&#{c};" for c in CODES),
    "escapes": "".join(f"\\x{c:02x}" for c in CODES),
    "spaced": " ".join(ID),
    "dotted": ".".join(ID),
    "in parts": "SIM 00 007",
    "decimal codes": " ".join(map(str, CODES)),
    "octal codes": " ".join(f"{c:o}" for c in CODES),
    "binary codes": " ".join(f"{c:08b}" for c in CODES),
    "places of letters": "19 9 13 0 0 0 0 7",
    "Morse": MORSE,
    "spelled": NATO,
    "digits as words": "sim zero zero zero zero seven",
    "leet": "51M00007",
    "O for zero": "SIMOOOO7",
    "trailing blanks": "dosage" + "".join("\t" if c % 2 else "  " for c in CODES),
    "capitals of words": "Score In Model 00007",
    "compressed": base64.b64encode(zlib.compress(ID.encode())).decode(),
    "emoji": "\U0001f9ec7 dosage",
}


def in_cell(text: str):
    def smuggle(study: Path) -> None:
        write(study / LAYERS, [LAYER | {"predictor": text}])

    return smuggle


def in_json(content: str):
    def smuggle(study: Path) -> None:
        (study / HEADLINE).write_text(content)

    return smuggle


def in_yaml(content: str):
    def smuggle(study: Path) -> None:
        (study / HUNT / "layer_hunting_results.yaml").write_text(content)

    return smuggle


def in_text(name: str, content: str):
    def smuggle(study: Path) -> None:
        (study / name).parent.mkdir(parents=True, exist_ok=True)
        (study / name).write_text(content)

    return smuggle


def in_claim(**cells):
    def smuggle(study: Path) -> None:
        write(study / HUNT / "claims.csv", [CLAIM | cells])

    return smuggle


def in_csv(content: str):
    def smuggle(study: Path) -> None:
        (study / LAYERS).write_text(content)

    return smuggle


HEAD = ",".join(LAYER)
ROW = ",".join(map(str, LAYER.values()))
DOCUMENTS = {
    "JSON: a value": in_json(json.dumps({"note": ID})),
    "JSON: escaped": in_json('{"note": "\\u0053IM00007"}'),
    "JSON: a name": in_json(json.dumps({ID: 1})),
    "JSON: a name in base64": in_json(json.dumps({"U0lNMDAwMDc": 1})),
    "JSON: a name twice": in_json('{"note": "U0lNMDAwMDc=", "note": "layer"}'),
    "JSON: codes in a list": in_json(json.dumps({"layers": CODES})),
    "JSON: one large number": in_json(json.dumps({"value": int.from_bytes(ID.encode(), "big")})),
    "JSON: digits of a fraction": in_json('{"value": 0.8373774848484855}'),
    "JSON: as a hash": in_json(json.dumps({"sha256": ID.encode().hex() * 4})),
    "YAML: a comment": in_yaml(f"# {ID}\na: 1\n"),
    "YAML: a comment in base64": in_yaml("# U0lNMDAwMDc=\nlayer: 1\n"),
    "YAML: binary": in_yaml("layer: !!binary U0lNMDAwMDc=\n"),
    "YAML: an anchor": in_yaml("layer: &U0lNMDAwMDc 1\n"),
    "YAML: a date": in_yaml("layer: 1983-07-07\n"),
    "text: base64": in_text("03_sae_training/decisions.md", "# Decision: go\n\nU0lNMDAwMDc=\n"),
    "text: a comment": in_text("03_sae_training/decisions.md", "# Decision: go\n<!-- 70000MIS -->\n"),
    "text: a link's target": in_text("04_annotation/columns.md", "[columns](U0lNMDAwMDc)\n"),
    "CSV: a comment": in_csv(f"# {ID}\n{HEAD}\n{ROW}\n"),
    "CSV: a column": in_csv(f"{HEAD},{ID}\n{ROW},1\n"),
    "CSV: a column in base64": in_csv(f"{HEAD},U0lNMDAwMDc\n{ROW},1\n"),
    "CSV: a line in a cell": in_csv(f'{HEAD}\n"simulated\nU0lNMDAwMDc",{ROW[10:]}\n'),
    "CSV: a row of codes": in_csv(HEAD + "\n" + "\n".join(f"simulated,dosage,baseline,{c},0.5,0.7,60" for c in CODES) + "\n"),
    "CSV: a large number": in_csv(f"{HEAD}\nsimulated,dosage,baseline,{int.from_bytes(ID.encode(), 'big')},0.5,0.7,60\n"),
    "CSV: digits of a number": in_csv(f"{HEAD}\nsimulated,dosage,baseline,0.8373774848484855,0.5,0.7,60\n"),
    "CSV: a hexadecimal number": in_csv(f"{HEAD}\nsimulated,dosage,baseline,0x53494d,0.5,0.7,60\n"),
    "CSV: an underscored number": in_csv(f"{HEAD}\nsimulated,dosage,baseline,83_73_77,0.5,0.7,60\n"),
    "claim: in its note": in_claim(note="U0lNMDAwMDc="),
    "claim: in its rule": in_claim(rule="above 0.5 of 70000MIS"),
    "claim: as its null": in_claim(null="SVM-00007 of SIM 00007"),
}

# HDF5 ----------------------------------------------------------------------------------------------------


def hdf5(change):
    def smuggle(study: Path) -> None:
        with h5py.File(study / POOLED, "a") as f:
            change(f)

    return smuggle


def userblock(study: Path) -> None:
    with h5py.File(study / POOLED, "w", userblock_size=512) as f:
        f["resid_post.1"] = np.zeros((2, 4), np.float32)
        f.attrs["sites"] = ["resid_post.1"]
    data = bytearray((study / POOLED).read_bytes())
    data[:12] = b"U0lNMDAwMDc="
    (study / POOLED).write_bytes(data)


def appended(name: str):
    def smuggle(study: Path) -> None:
        (study / name).write_bytes((study / name).read_bytes() + b"\nU0lNMDAwMDc=")

    return smuggle


def put(name: str, values: np.ndarray):
    def change(f: h5py.File) -> None:
        if name in f:
            del f[name]
        f[name] = values

    return hdf5(change)


def virtual(f: h5py.File) -> None:
    layout = h5py.VirtualLayout((60,), "S8")
    layout[:] = h5py.VirtualSource("../private/00_dna/readout.h5", "subjects", (60,))
    f.create_virtual_dataset("resid_post.2", layout)


def external(f: h5py.File) -> None:
    f.create_dataset("resid_post.2", (2, 4), np.float32, external=[("../private/00_dna/readout.h5", 0, 32)])


def linked(f: h5py.File) -> None:
    f["resid_post.2"] = h5py.ExternalLink("../private/00_dna/readout.h5", "subjects")


def soft(f: h5py.File) -> None:
    f["resid_post.2"] = h5py.SoftLink("/U0lNMDAwMDc")


def enum(f: h5py.File) -> None:
    f.create_dataset("resid_post.2", (2,), h5py.enum_dtype({"U0lNMDAwMDc": 0}, basetype="i"))


def compound(f: h5py.File) -> None:
    f.create_dataset("resid_post.2", (2,), np.dtype([("U0lNMDAwMDc", "f4")]))


def opaque(f: h5py.File) -> None:
    f["resid_post.2"] = np.array([b"U0lNMDAw"], "V8").astype(h5py.opaque_dtype(np.dtype("V8")))


def named_type(f: h5py.File) -> None:
    f["U0lNMDAwMDc"] = np.dtype("f4")


def attribute(f: h5py.File) -> None:
    f["resid_post.1"].attrs["made"] = "U0lNMDAwMDc="


def root_attribute(f: h5py.File) -> None:
    f.attrs["study"] = "U0lNMDAwMDc="


def needed_attribute(f: h5py.File) -> None:
    f.attrs["sites"] = ["resid_post.1", "U0lNMDAwMDc="]


def unused_fill(f: h5py.File) -> None:
    f.create_dataset("resid_post.2", (2, 4), np.float64, chunks=(2, 4), fillvalue=np.frombuffer(ID.encode(), np.float64)[0])


def label(f: h5py.File) -> None:
    f["resid_post.1"].dims[0].label = "U0lNMDAwMDc"


def comment(f: h5py.File) -> None:
    h5py.h5o.set_comment(f.id, b"U0lNMDAwMDc=")


def dropped(f: h5py.File) -> None:
    f["old"] = np.frombuffer(ID.encode() * 64, np.uint8)
    f["resid_post.2"] = np.zeros((2, 4), np.float32)
    del f["old"]  # its bytes stay in the file


def low_bits(study: Path) -> None:
    """A letter in the last seven bits of each number."""
    values = np.full((2, 4), 0.5, np.float32)
    bits = values.view(np.uint32)
    bits[:] = (bits >> 7 << 7) | np.array(CODES, np.uint32).reshape(2, 4)
    put("resid_post.1", values)(study)


def private_store(study: Path) -> None:
    """What people carry, over what is the reference's: as many rows as there are units of people."""
    put("resid_post.1", np.zeros((60, 4), np.float32))(study)


HDF5 = {
    "HDF5: an attribute": hdf5(attribute),
    "HDF5: an attribute of the file": hdf5(root_attribute),
    "HDF5: an attribute that is read": hdf5(needed_attribute),
    "HDF5: a userblock": userblock,
    "HDF5: bytes after its end": appended(POOLED),
    "HDF5: a string": put("resid_post.2", np.array([b"U0lNMDAwMDc="])),
    "HDF5: names of an enum": hdf5(enum),
    "HDF5: names of fields": hdf5(compound),
    "HDF5: opaque bytes": hdf5(opaque),
    "HDF5: a named type": hdf5(named_type),
    "HDF5: an external link": hdf5(linked),
    "HDF5: a soft link": hdf5(soft),
    "HDF5: a virtual dataset": hdf5(virtual),
    "HDF5: bytes of another file": hdf5(external),
    "HDF5: a fill value": hdf5(unused_fill),
    "HDF5: a label": hdf5(label),
    "HDF5: a comment": hdf5(comment),
    "HDF5: what was deleted": hdf5(dropped),
    "HDF5: a dataset's name": put("resid_U0lNMDAwMDc", np.zeros((2, 4), np.float32)),
    "HDF5: a group's name": put("resid_post.2/U0lNMDAwMDc", np.zeros((2, 4), np.float32)),
    "HDF5: codes": put("resid_post.1", np.array(CODES, np.float32).reshape(2, 4)),
    "HDF5: codes by column": put("resid_post.1", np.array(CODES, np.float32).reshape(4, 2).T.copy()),
    "HDF5: bytes of whole numbers": put("resid_post.1", np.frombuffer(ID.encode() * 2, np.int32).reshape(2, 2)),
    "HDF5: bytes of fractions": put("resid_post.1", np.frombuffer(ID.encode(), np.float32).reshape(2, 1)),
    "HDF5: bytes of half precision": put("resid_post.1", np.frombuffer(ID.encode(), np.float16).reshape(2, 2)),
    "HDF5: the last bits": low_bits,
    "HDF5: units of people": private_store,
}

# Parquet, tensors, tracks --------------------------------------------------------------------------------

BACKGROUND = {
    "contig": ["sim1"],
    "pos": [3],
    "ref": ["A"],
    "alt": ["C"],
    "region": ["all"],
    "distance": [5.0],
    "edit": ["ins 1"],
    "context": ["TCC>TTC"],
    "latent_change": [0.5],
    "embedding_change": [0.5],
    "random_change": [0.5],
    "twin_change": [0.5],
    "motif_change": [0.5],
    "likelihood_change": [0.5],
    "nearness": [0.5],
}


def parquet(change):
    """change: a table of Arrow -> what is written."""

    def smuggle(study: Path) -> None:
        path = study / "08_dna/background.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(change(pa.table(BACKGROUND)), path)

    return smuggle


def column(name: str, value):
    return parquet(lambda table: table.set_column(table.column_names.index(name), name, pa.array([value])))


def column_note(table: pa.Table) -> pa.Table:
    return table.cast(pa.schema([table.schema.field(0).with_metadata({"made": "U0lNMDAwMDc="}), *list(table.schema)[1:]]))


def category(table: pa.Table) -> pa.Table:
    made = pa.DictionaryArray.from_arrays(pa.array([0], pa.int8()), pa.array(["all", "U0lNMDAwMDc="]))
    return table.set_column(4, "region", made)


def pandas_note(study: Path) -> None:
    frame = pd.DataFrame(BACKGROUND)
    frame.attrs["made"] = "U0lNMDAwMDc="
    (study / "08_dna").mkdir(exist_ok=True)
    frame.to_parquet(study / "08_dna/background.parquet")


def after_parquet(study: Path) -> None:
    """Bytes between the last column and the footer, which readers skip."""
    parquet(lambda table: table)(study)
    path = study / "08_dna/background.parquet"
    data = path.read_bytes()
    foot = int.from_bytes(data[-8:-4], "little") + 8
    path.write_bytes(data[:-foot] + b"U0lNMDAwMDc=" + data[-foot:])


def tensors(change: dict[str, np.ndarray], note: dict[str, str] | None = None, **config):
    def smuggle(study: Path) -> None:
        folder = study / SAE
        folder.mkdir(parents=True)
        (folder / "cfg.json").write_text(json.dumps({"architecture": "topk", "d_in": 4, "d_sae": 2} | config))
        whole = {
            "W_enc": np.zeros((4, 2), np.float32),
            "W_dec": np.ones((2, 4), np.float32),
            "b_dec": np.zeros(4, np.float32),
            "b_enc": np.zeros(2, np.float32),
        }
        save_file(whole | change, folder / "sae_weights.safetensors", metadata=note)

    return smuggle


def after_tensors(study: Path) -> None:
    tensors({})(study)
    path = study / SAE / "sae_weights.safetensors"
    size = int.from_bytes(path.read_bytes()[:8], "little")
    data = path.read_bytes()
    head = data[8 : 8 + size].rstrip() + b" " * 64 + b"\t" * 7
    path.write_bytes(len(head).to_bytes(8, "little") + head + data[8 + size :])


def bigwig(name: str, chromosome: str):
    def smuggle(study: Path) -> None:
        path = study / TRACKS / name
        path.parent.mkdir(parents=True)
        writer = pybigtools.open(str(path), "w")
        writer.write({chromosome: 100}, iter([(chromosome, 0, 1, 0.5)]))
        writer.close()

    return smuggle


BINARY = {
    "Parquet: a note": parquet(lambda table: table.replace_schema_metadata({"made": "U0lNMDAwMDc="})),
    "Parquet: a column's note": parquet(column_note),
    "Parquet: attrs of pandas": pandas_note,
    "Parquet: an unused category": parquet(category),
    "Parquet: bytes before its foot": after_parquet,
    "Parquet: a cell": column("region", "U0lNMDAwMDc="),
    "Parquet: a context": column("context", "SIM>007"),
    "Parquet: bytes in a cell": column("region", b"U0lNMDAwMDc="),
    "Parquet: a list in a cell": column("distance", CODES),
    "Parquet: a column": parquet(lambda table: table.append_column("U0lNMDAwMDc", pa.array([1]))),
    "tensors: a note": tensors({}, {"made": "U0lNMDAwMDc="}),
    "tensors: one more": tensors({"scores": np.zeros(60, np.float32)}),
    "tensors: a name": tensors({"U0lNMDAwMDc": np.zeros(2, np.float32)}),
    "tensors: a shape": tensors({"b_dec": np.zeros(60, np.float32)}),
    "tensors: codes": tensors({"W_dec": np.array(CODES, np.float32).reshape(2, 4)}),
    "tensors: blanks in the head": after_tensors,
    "tensors: of bytes": tensors({"b_enc": np.frombuffer(ID.encode(), np.int32)}),
    "tensors: another model's name": tensors({}, model_name="U0lNMDAwMDc="),
    "bigWig: a chromosome": bigwig("latent_3.bw", "U0lNMDAwMDc"),
    "bigWig: its name": bigwig("people.bw", "sim1"),
    "bigWig: bytes after its end": lambda study: (bigwig("latent_3.bw", "sim1")(study), appended(f"{TRACKS}/latent_3.bw")(study)),
    "BED: a name": in_text(f"{TRACKS}/latent_3.bed", "sim1\t1\t2\tU0lNMDAwMDc\t5\t.\n"),
    "BED: one more field": in_text(f"{TRACKS}/latent_3.bed", "sim1\t1\t2\tlatent_3\t5\t.\tU0lN\n"),
    "BED: a comment": in_text(f"{TRACKS}/latent_3.bed", "#U0lNMDAwMDc=\nsim1\t1\t2\tlatent_3\t5\t.\n"),
    "bedGraph: its title": in_text(
        f"{TRACKS}/latent_3.bedGraph", 'track type=bedGraph name="70000MIS" visibility=full autoScale=on\nsim1\t1\t2\t0.5\n'
    ),
    "XML: a comment": in_text(f"{TRACKS}/session.xml", "<Session><!-- U0lNMDAwMDc= --></Session>\n"),
}

# Notebooks, pictures, names, manifests -------------------------------------------------------------------


def notebook(change):
    """change: the executed notebook, spoiled in place."""

    def smuggle(study: Path) -> None:
        book = nbformat.read(study / NOTEBOOK, as_version=4)
        change(book)
        nbformat.write(book, study / NOTEBOOK)

    return smuggle


def figure(name: str, change):
    """change: a stored figure's file -> the same, spoiled."""

    def smuggle(study: Path) -> None:
        with_figures(study.parents[1])
        change(study.parents[1] / "figures/toy" / name)

    return smuggle


def png_chunk(kind: str):
    def change(path: Path) -> None:
        note = PngImagePlugin.PngInfo()
        if kind == "iTXt":
            note.add_itxt("Comment", "U0lNMDAwMDc=")
        else:
            note.add_text("Comment", "U0lNMDAwMDc=", zip=kind == "zTXt")
        Image.new("L", (2, 2)).save(path, pnginfo=note)

    return change


def exif(path: Path) -> None:
    image = Image.new("L", (2, 2))
    made = image.getexif()
    made[0x010E] = "U0lNMDAwMDc="
    image.save(path, exif=made)


def pixels(path: Path) -> None:
    Image.fromarray(np.array(CODES, np.uint8).reshape(2, 4)).save(path)


def after(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b"U0lNMDAwMDc=")


def double(path: Path) -> None:
    stream = zlib.compress(zlib.compress(ID.encode()))
    path.write_bytes(
        path.read_bytes() + b"\n9 0 obj\n<</Filter [/FlateDecode /FlateDecode]>>\nstream\n" + stream + b"\nendstream\nendobj\n"
    )


def outline(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b"\n9 0 obj\n<</Title (U0lNMDAwMDc=) /Parent 8 0 R>>\nendobj\n")


def points(study: Path) -> None:
    """A point a person, with the numbers beside it."""
    with_figures(study.parents[1])
    write(study.parents[1] / "figures/toy/fig2_layers.csv", [LAYER | {"value": i / 60} for i in range(60)])


def archive(study: Path) -> None:
    with zipfile.ZipFile(study / HUNT / "more.zip", "w") as file:
        file.writestr("layers.csv", "arm\n")
        file.comment = b"U0lNMDAwMDc="


def packed(study: Path) -> None:
    with gzip.GzipFile(study / f"{LAYERS}.gz", "wb") as file:
        file.write(ID.encode())


def linked_file(study: Path) -> None:
    (study / HUNT / "claims.csv").symlink_to(study / "private/02_layer_hunting/scores.csv")


def copied(name: str):
    def smuggle(study: Path) -> None:
        (study / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(study / "private/00_dna/readout.h5", study / name)

    return smuggle


def in_params(text: str):
    """A parameter of the door, which seal() writes into its manifest."""

    def smuggle(study: Path) -> dict[str, str]:
        return {"data_label": text}

    return smuggle


def dates(study: Path) -> None:
    write_notebook(study / f"{FIGURES}/{FIGURES}.ipynb", "1983-07-07 00:00:07")


def sequence(text: str):
    return in_cell(f"peak in {text}")


WINDOW = "ACGTTGCAACGTTGCAACGTTGCA"
OTHERS = {
    "notebook: an output": notebook(lambda book: book.cells[1].outputs[0].update(text="U0lNMDAwMDc=")),
    "notebook: metadata": notebook(lambda book: book.metadata.update(made="U0lNMDAwMDc=")),
    "notebook: a cell's metadata": notebook(lambda book: book.cells[1].metadata.update(made="U0lNMDAwMDc=")),
    "notebook: a cell's id": notebook(lambda book: book.cells[1].update(id="U0lNMDAwMDc")),
    "notebook: an attachment": notebook(lambda book: book.cells[0].update(attachments={"x": {"image/png": "U0lNMDAwMDc="}})),
    "notebook: its code": notebook(lambda book: book.cells[1].update(source="x = 'U0lNMDAwMDc='")),
    "notebook: its prose": notebook(lambda book: book.cells[0].update(source="70000MIS is odd")),
    "notebook: widget state": notebook(lambda book: book.metadata.update(widgets={"state": {"x": {"value": "U0lNMDAwMDc="}}})),
    "notebook: of no stage": dates,
    "PNG: text": figure("fig2_layers.png", png_chunk("tEXt")),
    "PNG: packed text": figure("fig2_layers.png", png_chunk("zTXt")),
    "PNG: international text": figure("fig2_layers.png", png_chunk("iTXt")),
    "PNG: EXIF": figure("fig2_layers.png", exif),
    "PNG: pixels": figure("fig2_layers.png", pixels),
    "PNG: bytes after its end": figure("fig2_layers.png", after),
    "PDF: its title": figure("fig2_layers.pdf", lambda path: write_figure(path, "AUROC", {"Title": "U0lNMDAwMDc="})),
    "PDF: drawn": figure("fig2_layers.pdf", lambda path: write_figure(path, "70000MIS", {})),
    "PDF: drawn as mathematics": figure("fig2_layers.pdf", lambda path: write_figure(path, "$S_{I}M_{00007}$", {})),
    "PDF: an outline": figure("fig2_layers.pdf", outline),
    "PDF: packed twice": figure("fig2_layers.pdf", double),
    "PDF: bytes after its end": figure("fig2_layers.pdf", after),
    "figure: a point a person": points,
    "figure: its table": figure("fig2_layers.csv", lambda path: write(path, [LAYER | {"predictor": "U0lNMDAwMDc="}])),
    "TeX: a comment": figure("numbers.tex", lambda path: path.write_text("% U0lNMDAwMDc=\n")),
    "name: of a file": in_text(f"{HUNT}/{ID}.csv", "a\n1\n"),
    "name: of a file, in base64": in_text(f"{TRACKS}/latent_U0lNMDAwMDc.bed", "sim1\t1\t2\tlatent_3\t5\t.\n"),
    "name: of a folder": in_text("03_sae_training/U0lNMDAwMDc/cfg.json", "{}\n"),
    "file: a list of people": in_text(f"{TRACKS}/people.txt", f"{ID}\n"),
    "file: an archive": archive,
    "file: packed": packed,
    "file: a link": linked_file,
    "file: a private one": copied(f"{HUNT}/readout.h5"),
    "file: a private one over a public": copied(POOLED),
    "sequence: in a cell": sequence(WINDOW),
    "sequence: dotted": sequence(".".join(WINDOW)),
    "sequence: as RNA": sequence(WINDOW.replace("T", "U")),
    "sequence: in short words": sequence(" ".join(WINDOW[i : i + 8] for i in range(0, 24, 8))),
    "sequence: of codes": sequence("0123321001233210"),
    "sequence: a file": in_text(f"{DOOR}/sequences.txt", WINDOW + "\n"),
    "manifest: a parameter": in_params("U0lNMDAwMDc="),
    "manifest: a parameter backwards": in_params("70000MIS"),
}

#: Counts of 1 to 20 people said where nothing blanks them.
FEW = {
    "count: in words": in_claim(note="7 cases were left out"),
    "count: of how many": in_claim(note="2/60 people"),
    "count: as a share": in_claim(note="3 % of people"),
    "count: spelled": in_claim(note="seven people"),
    "count: a fraction": in_claim(note="7.0 people"),
    "count: after the word": in_claim(note="people: 7"),
    "count: JSON, as text": in_json('{"n_cases": "7"}'),
    "count: JSON, broken": in_json('{"n_cases": 7.0}'),
    "count: JSON, of how many": in_json('{"n_cases": "2/60"}'),
    "count: YAML, in words": in_yaml("note: seven people\n"),
    "count: as a broken number": in_csv(f"{HEAD}\nsimulated,dosage,baseline,0.6,0.5,0.7,7.5\n"),
    "count: in digits of another alphabet": in_csv(f"{HEAD}\nsimulated,dosage,baseline,0.6,0.5,0.7,\u0667\n"),
    "count: with an exponent": in_csv(f"{HEAD}\nsimulated,dosage,baseline,0.6,0.5,0.7,7e0\n"),
}
CASES = {f"text: {name}": in_cell(text) for name, text in SPELLINGS.items()} | DOCUMENTS | HDF5 | BINARY | OTHERS | FEW
