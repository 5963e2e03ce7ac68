package result

import (
	"path/filepath"
	"strconv"
)

// Dir is a run directory. Its methods are the one place that knows the names of the files in it.
//
//	plan.json  jobs.jsonl  lock  cancel
//	attempts/ID/N/{job.json,log,progress.json,rows.jsonl,failure.json,end.json}
//	offers/N.json  claims/JOB.N
//	results/SHARD.jsonl
//	variants/ID/  variants/.ID.{work/,tokens,manifest.json,runs.json}  exports/ID/LAYOUT/
//	scripts/JOB.sbatch  slurm/
//
// ID is a job (job.json, log, progress.json, failure.json of the job as a whole) or a shard (rows.jsonl, failure.json of that shard).
// A job of one shard has the shard's ID, so the two meet in one directory.
type Dir string

func (d Dir) join(elem ...string) string {
	return filepath.Join(append([]string{string(d)}, elem...)...)
}

// Plan is the plan being carried out.
func (d Dir) Plan() string { return d.join("plan.json") }

// OldPlan is the n-th plan that was replaced, from 1.
func (d Dir) OldPlan(n int) string { return d.join("plan." + strconv.Itoa(n) + ".json") }

// Journal holds what was asked of the scheduler and what became of it.
func (d Dir) Journal() string { return d.join("jobs.jsonl") }

// Lock is held by the submit that works on the run.
func (d Dir) Lock() string { return d.join("lock") }

// Results holds the verified files.
func (d Dir) Results() string { return d.join("results") }

// Result is a shard's result file.
func (d Dir) Result(shard string) string { return d.join("results", shard+".jsonl") }

// Attempts holds what attempts leave.
func (d Dir) Attempts() string { return d.join("attempts") }

// Attempt is the directory of the n-th attempt of a job or a shard, from 1.
func (d Dir) Attempt(id string, n int) string { return d.join("attempts", id, strconv.Itoa(n)) }

// Rows is the checkpoint of a shard's attempt.
func (d Dir) Rows(shard string, n int) string {
	return filepath.Join(d.Attempt(shard, n), "rows.jsonl")
}

// Job is what a job's attempt was asked to do.
func (d Dir) Job(job string, n int) string { return filepath.Join(d.Attempt(job, n), "job.json") }

// Log is what a job's attempt wrote to its standard output and error.
func (d Dir) Log(job string, n int) string { return filepath.Join(d.Attempt(job, n), "log") }

// Progress is how far a job's attempt is. See type Progress.
func (d Dir) Progress(job string, n int) string {
	return filepath.Join(d.Attempt(job, n), "progress.json")
}

// Failure is why an attempt of a shard, or of a job as a whole, failed. See type Failure.
func (d Dir) Failure(id string, n int) string { return filepath.Join(d.Attempt(id, n), "failure.json") }

// End is how a job's attempt ended, as its worker saw it. See type End.
func (d Dir) End(job string, n int) string { return filepath.Join(d.Attempt(job, n), "end.json") }

// Claims holds the claims.
func (d Dir) Claims() string { return d.join("claims") }

// Claim is the file whose maker has the ticket.
func (d Dir) Claim(t Ticket) string { return d.join("claims", t.String()) }

// Offer is an offer by its name.
func (d Dir) Offer(name string) string { return d.join("offers", name) }

// CancelRequest is there when the run's jobs must end and none be submitted.
func (d Dir) CancelRequest() string { return d.join("cancel") }

// Scripts holds the batch scripts, complete and runnable by hand.
func (d Dir) Scripts() string { return d.join("scripts") }

// DLC holds what the scheduler of DLC keeps: which jobs it made, how they ended.
func (d Dir) DLC() string { return d.join("dlc") }

// Slurm holds what the Slurm scheduler keeps: its arrays, their logs.
func (d Dir) Slurm() string { return d.join("slurm") }
