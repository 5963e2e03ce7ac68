import { DuckDBInstance } from '@duckdb/node-api';
const c = await (await DuckDBInstance.create(':memory:')).connect();
await c.run(`create table t as select * from (values
 (1::bigint, 'Which is red?', ['an apple','the sky'], {'source':'own','n':3}, 'A', 0.5::double, true),
 (2, 'Wo ist Köln? 你好', ['am Rhein','an der Elbe','am Main'], {'source':'eigen','n':null}, 'A', 1.25, false),
 (3, 'Empty list?', [], {'source':null,'n':0}, 'B', -2, null)) v(id, question, choices, meta, answer, weight, flag)`);
for (const z of ['snappy', 'gzip']) await c.run(`copy t to 'duckdb-${z}.parquet' (format parquet, compression '${z}')`);
await c.run(`copy t to 'duckdb-v2.parquet' (format parquet, compression 'zstd', parquet_version 'v2')`);
