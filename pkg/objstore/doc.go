// Package objstore reads what lies in S3 and Ceph: models, tokenizers and datasets at s3://bucket/key/ or profile:s3://bucket/key/.
//
// Every object that is read has an entry in a cache on the node (cache.go): a sparse file of its size, and beside it a table with a checksum for
// each block of 16 KiB, 0 where the block is not there. Blocks are fetched in parallel by ranges, in the order in which they are wanted, and are there
// for all processes of the node at once. Two that want the same object at the same time share the work: who fetches a part holds a lock on its words of
// the table, which ends with the process. So a process that is killed leaves blocks, never harm: the next one goes on with what is missing.
//
// Nothing that is not there can be read. An object is mapped without any right of access, and a range becomes readable when Need has found each
// of its blocks there, with the checksum that it had when it was received. Every request says which version it wants, by the ETag.
//
// Keys are read where they are used, of a file, and appear in no error, no file of a run and no command line.
package objstore
