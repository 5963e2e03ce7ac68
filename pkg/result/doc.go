// Package result holds what a run leaves on disk and how it is trusted: the shard's result file (records, footer, atomic commit), the
// row-by-row checkpoint of an attempt, and the store that finds the good rows of a task among them. Both submit and the workers use it.
//
// A result file is one header line, one record a line in row order, and one footer line with the number of records and the SHA-256 of
// every byte before it. It appears under its name by a rename, complete or not at all. A checkpoint has the same header and records, in
// the order they were computed, and no footer: it is trusted line by line up to the first line that is not whole.
package result
