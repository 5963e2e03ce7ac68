// Package local runs jobs as processes of this machine: so many at once, each with its own GPUs and share of the CPU threads, in its own
// process group, and none outliving the submitter for long.
//
// A child has in SEXTANT_PARENT_FD the number of a descriptor that reaches end of file when its submitter is gone, however it went: the
// child then saves what it has and leaves. SEXTANT_JOB holds the job's name, by which a later submitter finds a child that is still there.
// SEXTANT_THREADS holds its CPU threads and CUDA_VISIBLE_DEVICES its GPUs.
package local
