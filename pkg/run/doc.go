// Package run carries out a plan in a run directory. It is built around one pure function: Reconcile takes the plan and what was observed
// (rows done, jobs alive, failures) and says for each shard what to do next. Execute observes, reconciles and applies until nothing is
// left to do; killed at any point and called again it goes on from what is on disk.
//
// What is true is what verified result files and checkpoints hold; what a scheduler says only decides when to look again. The journal
// (jobs.jsonl) remembers what was asked of the scheduler, so that jobs of a submit that died are known to the next.
//
// A job that comes after others (plan.Job.After: an evaluation after the quantization that makes its model) gets no ticket before their
// results are there, and is given up with them. Only a submit that will not stay to see them come (Options.Detach, on a cluster) makes the
// tickets at once and has the scheduler hold the workers back until those of the first jobs have ended, however they did. Such a worker,
// like one that the scheduler begins too soon, looks for the results itself before it claims a ticket: without them it leaves the ticket
// alone and ends, which counts against nobody, and who gathers the run makes another. So nothing waits on a node and nothing spins: each
// round of workers that come too early follows a failed attempt of the first job, and those are counted.
//
// The result of a quantization is good as long as the directory that it made is there, too, or nobody needs it any more.
package run
