// Package run carries out a plan in a run directory. It is built around one pure function: Reconcile takes the plan and what was observed
// (rows done, jobs alive, failures) and says for each shard what to do next. Execute observes, reconciles and applies until nothing is
// left to do; killed at any point and called again it goes on from what is on disk.
//
// What is true is what verified result files and checkpoints hold; what a scheduler says only decides when to look again. The journal
// (jobs.jsonl) remembers what was asked of the scheduler, so that jobs of a submit that died are known to the next.
package run
