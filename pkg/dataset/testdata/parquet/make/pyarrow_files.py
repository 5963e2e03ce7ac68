# Writes the pyarrow files beside this script: the rows of every *.parquet here, as Hugging Face's datasets library writes them and in
# other shapes. Run with pyarrow; duckdb.mjs writes the duckdb-* files.
import pyarrow as pa, pyarrow.parquet as pq

rows = [
    dict(id=1, question="Which is red?", choices=["an apple", "the sky"], meta=dict(source="own", n=3), answer="A", weight=0.5, flag=True),
    dict(id=2, question="Wo ist Köln? 你好", choices=["am Rhein", "an der Elbe", "am Main"], meta=dict(source="eigen", n=None), answer="A", weight=1.25, flag=False),
    dict(id=3, question="Empty list?", choices=[], meta=dict(source=None, n=0), answer="B", weight=-2.0, flag=None),
]
schema = pa.schema([("id", pa.int64()), ("question", pa.string()), ("choices", pa.list_(pa.string())),
                    ("meta", pa.struct([("source", pa.string()), ("n", pa.int32())])), ("answer", pa.string()), ("weight", pa.float64()), ("flag", pa.bool_())])
t = pa.Table.from_pylist(rows, schema=schema)
pq.write_table(t, "pyarrow-default.parquet")
pq.write_table(t, "pyarrow-zstd-v2.parquet", compression="zstd", data_page_version="2.0", version="2.6", row_group_size=2)
pq.write_table(t, "pyarrow-plain.parquet", compression="none", use_dictionary=False, row_group_size=1)
large = pa.schema([pa.field(f.name, pa.large_string() if f.type == pa.string() else pa.large_list(pa.large_string()) if f.name == "choices" else f.type) for f in schema])
pq.write_table(t.cast(large), "pyarrow-large.parquet", compression="gzip")
