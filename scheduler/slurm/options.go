package slurm

import "time"

// Options say what jobs ask of the cluster and how the scheduler behaves.
type Options struct {
	Dir     string // the scheduler's own files: arrays and their logs
	Scripts string // directory of the batch scripts
	Tag     string // readable part of the jobs' names, of A-Z a-z 0-9 _ -
	About   string // what this is, for a comment in the scripts: one line
	Workers int    // jobs that may run at once, over all arrays
	Ask     Ask

	PollMin, PollMax time.Duration // between two looks at the queue, at first and in the end
	Grace            time.Duration // how long a job that the cluster does not know is waited for, default 60 s
}

// Ask is what jobs ask of the cluster. A value that is not given is left to the cluster.
type Ask struct {
	Partition, Quotatype, QOS, Account, Reservation string

	Time string // as sbatch takes it; it wins over Job.Limit
	Mem  string // as sbatch takes it; it wins over Job.Memory when that is less
	CPUs int    // of a process; 0: Job.Threads, else the cluster's default

	GPUOption string // how GPUs are asked for: gres, gpus, gpus-per-node, none
	GPUType   string

	Constraint, Nodelist, Exclude, Comment string
	Extra                                  []string // further options, "--name=value"

	Prologue   string            // shell lines before the command
	Env        map[string]string // exported on the node; ${NAME} in a value is expanded there
	SignalLead int               // seconds before the time limit at which the job gets SIGUSR1; 0: no signal
	NoRequeue  bool
}
