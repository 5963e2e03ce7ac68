// Package worker carries out one job of a plan: it loads the model once, renders the rows of each of the job's shards, runs the engine on those
// that no file of the run holds yet, appends each record to the attempt's checkpoint as soon as it is final, and commits the shard's
// result file.
//
// A row that cannot be computed fails its shard after the others of it are done, and a fault of one shard does not stop the others. What went
// wrong is written beside the shard's checkpoint (failure.json) and summed up in the exit code: 0 done, 64 bad input or model, 75 try again,
// 1 anything else.
package worker
