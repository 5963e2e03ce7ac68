package dlc

import "time"

// Options say what jobs ask of DLC and how the scheduler behaves.
type Options struct {
	Dir     string // the scheduler's own files: its books, exit codes, fetched logs. The containers must see it at this path
	Scripts string // directory of the jobs' scripts; the same holds
	About   string // what this is, for a comment in the scripts: one line
	Workers int    // jobs that may be with DLC at once
	Ask     Ask

	// Watching says that another process may be at work with the same Dir: what that one holds back is pending, not lost.
	Watching bool

	PollMin, PollMax time.Duration // between two looks, at first and in the end; default 20 s and 120 s
	Gap              time.Duration // least time between two commands, default 500 ms
	Settle           time.Duration // how long a job whose answer was lost is looked for, default 2 min
}

// Ask is what jobs ask of DLC. A value that is not given is left to DLC.
type Ask struct {
	Program   string // the command, default "dlc"
	Config    string // its file of keys and endpoint, --config; this package never opens it
	JobCmd    string // "create": dlc create job --kind PyTorchJob; "submit": dlc submit pytorchjob
	Workspace string
	Resource  string // quota
	Image     string
	Sources   []string // ids of the data sources that are mounted

	Priority    int // 1 to 9
	CPU         int // at least, of a worker; eight a GPU where that is more
	Memory      int // GiB, at least, of a worker; 128 a GPU where that is more
	SharedMem   int // GiB
	Preemptible bool
	MaxMinutes  int      // a job is ended after this; 0: never
	Extra       []string // further options, "--name=value"

	Prologue string            // shell lines before the command
	Env      map[string]string // exported in the container; ${NAME} in a value is expanded there
}

// The defaults of Options.
const (
	defaultPollMin = 20 * time.Second
	defaultPollMax = 120 * time.Second
	defaultGap     = 500 * time.Millisecond
	defaultSettle  = 2 * time.Minute
)

// What a worker gets for each of its GPUs at least, as OpenCompass asks it.
const (
	cpusPerGPU   = 8
	memoryPerGPU = 128 // GiB
)

// maxGPUs is how many GPUs a worker may have: no machine that DLC offers has more.
const maxGPUs = 16

// What DLC takes: the bytes of all parameters of CreateJob, those that it adds itself too, and the characters of a display name, which are
// A-Z a-z 0-9 _ . - and at most 256. They are fewer here, for files are named by it too.
const (
	maxRequest = 65536
	maxName    = 200
)
