// Package worker carries out jobs of a plan: it loads the model once, renders the rows of each of a job's shards, runs the engine on those
// that no file of the run holds yet, appends each record to the attempt's checkpoint as soon as it is final, and commits the shard's
// result file.
//
// What a process may do it claims by tickets (result.Ticket), so that nothing is done twice: the one it was started for, before that those
// it had before the scheduler started it anew, and, when it drains, open ones of the same pool, until none is left, the time left is short,
// or something is wrong with this process or its machine. How each ended is left in its attempt's end.json. Processes that the scheduler
// has given up may live on: attempts share no file, each takes over the rows that others have saved, and the first result stays.
//
// A ticket whose job is a quantization loads nothing and has no rows: pkg/quant makes the variant's directory, and goes on from the blocks that
// earlier attempts have left in its work directory. Its one record names what lies in the directories by their fingerprints (config, tokenizer,
// tensors by samples); a worker of such a variant opens the directory only when its manifest is of the planned quantization, its small files are
// what they were, and the fingerprint is that of the record. Two attempts at once do not harm each other: the later has the work directory, the
// earlier one finds out and ends, and what both write is the same. A ticket that comes after a job without results is left alone (exit code 75).
//
// A row that cannot be computed fails its shard after the others of it are done, and a fault of one shard does not stop the others. What went
// wrong is written beside the shard's checkpoint (failure.json) and summed up in the exit code: 0 done, 64 bad input or model, 75 try again,
// 1 anything else.
package worker
