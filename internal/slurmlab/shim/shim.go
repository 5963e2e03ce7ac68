// Package shim emulates a Slurm cluster for tests of what a real one cannot be made to do, or not in a test's time: time-outs after the job
// was created, lost and reused job ids, records that vanish, split brains, clusters of 10,000 elements.
//
// Install puts sbatch, squeue, sacct, scancel, scontrol and sinfo in front of PATH. They are thin clients of an emulator in the test process,
// which answers in the words of Slurm 22.05.8, recorded from a real one. Jobs are real processes of this machine, or pretended ones.
package shim

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// Options describe the cluster and what is wrong with it. All may be changed while it runs, with Set.
type Options struct {
	Nodes      int    // node1 to nodeN, default 4
	CPUs, GPUs int    // of a node, default 64 and 8; -1: none
	Version    string // default 22.05.8; its first two numbers also decide what commands know

	// Second is how long one of Slurm's own seconds lasts: time limits, KillWait, time-outs, MinJobAge. Default 10 ms. Stamps are real time.
	Second       time.Duration
	StartDelay   time.Duration // from eligible to running
	Partitions   []string      // default llmeval, spot; the first is the default one
	QOS          []string      // default normal, auto, spot, reserved; "*" accepts any, as a cluster without accounting does
	Accounts     []string      // default eval
	Quotatype    bool          // sbatch knows --quotatype
	MaxArraySize int           // default 1001
	MaxJobCount  int           // default 10000, ended ones counted until MinJobAge
	MinJobAge    int           // of Slurm's seconds, default 300; -1: ended jobs leave squeue at once
	SubmitLimit  int           // jobs a user may have submitted; 0: no limit
	RequeueDelay int           // of Slurm's seconds, default 121
	KillWait     int           // of Slurm's seconds, default 30

	// Pretend, when set, says how an element ends instead of running it.
	Pretend func(Element) Outcome

	Faults
}

// Faults are what is wrong with the cluster at present.
type Faults struct {
	Down   bool // the controller is not there; commands retry, then give up
	Frozen bool // the controller takes requests, answers none, and carries them out when it thaws

	LoseRequests int           // so many sbatch time out and never reach the controller
	LoseAnswers  int           // so many sbatch time out though the job was created
	GhostDelay   time.Duration // such a job appears only after this
	// Errors of commands by name: so many next calls fail with a time-out of the socket.
	Errors map[string]int
	// Refuse, when set, is what every sbatch is refused with: the text after "Batch job submission failed: ".
	Refuse string

	BannerOut, BannerErr string        // lines printed around every command's output
	Slow                 time.Duration // every command takes so much longer
	Hidden               bool          // squeue answers, rc 0, with no row
	SacctLag             time.Duration // how late sacct learns of things
	SacctOff             bool          // no accounting at all
	NoChanges            bool          // users may not change their jobs
	SacctDown            bool          // the accounting daemon does not answer
}

// Element is one job, or one task of an array.
type Element struct {
	ID       string // "12" or "12_3"
	Array    int    // id of the array, or of the job
	Index    int    // -1: not of an array
	Name     string
	State    string // as squeue has it
	Exit     string // "code:signal", as sacct has it
	Node     string
	Reason   string
	Restarts int
	Starts   int // how often it was started
}

// Outcome is the end of a pretended element.
type Outcome struct {
	After time.Duration // 0: at once
	State string        // default COMPLETED
	Exit  string        // default 0:0
	Never bool          // it runs until it is cancelled
}

// Call is one call of a command.
type Call struct {
	Command string
	Args    []string
	Env     []string
	Dir     string
	Stdin   string
	At      time.Time
	Code    int
	Out     string
	Err     string
}

// Cluster is an emulated cluster.
type Cluster struct {
	Bin string // directory of the commands
	Dir string // its own files: sockets and spool

	t     testing.TB
	calls []*Call
	lock  sync.Mutex // of calls

	mu     sync.Mutex // of all below
	o      Options
	nextID int
	arrays []*array
	nodes  []*node
	thawed []func() // what a frozen controller was asked to do
	sweep  bool     // a pass of the scheduler is due
	closed bool
	procs  sync.WaitGroup
	alarm  *time.Timer
	strays []*process // of runs that the controller has given up
}

// client is the program that stands for each command, built once a test run.
var client = sync.OnceValues(func() ([]byte, error) {
	dir, err := os.MkdirTemp("", "sxclient")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "client")
	cmd := exec.Command("go", "build", "-ldflags=-s -w", "-o", path, "sextant/internal/slurmlab/shim/internal/client")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=")
	if out, err := cmd.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("building the emulated commands: %w\n%s", err, out)
	}
	return os.ReadFile(path)
})

// Commands are those that are emulated.
var Commands = []string{"sbatch", "squeue", "sacct", "scancel", "scontrol", "sinfo"}

// Install starts a cluster and puts its commands first in PATH until the test ends. No process of a job outlives the test.
func Install(t testing.TB, o Options) *Cluster {
	t.Helper()
	dir, err := os.MkdirTemp("", "sx") // short: a socket's path may have 107 bytes
	if err != nil {
		t.Fatal(err)
	}
	c := &Cluster{t: t, Dir: dir, Bin: filepath.Join(dir, "bin"), nextID: 1, o: o.filled()}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	if err := c.link(); err != nil {
		t.Fatal(err)
	}
	for i := range c.o.Nodes {
		c.nodes = append(c.nodes, newNode(fmt.Sprint("node", i+1), c.o))
	}
	l, err := net.Listen("unix", filepath.Join(dir, "socket"))
	if err != nil {
		t.Fatal(err)
	}
	go c.accept(l)
	t.Setenv("PATH", c.Bin+string(os.PathListSeparator)+os.Getenv("PATH"))
	t.Cleanup(func() {
		_ = l.Close()
		c.stop()
	})
	return c
}

func (c *Cluster) link() error {
	if err := os.Mkdir(c.Bin, 0o755); err != nil {
		return err
	}
	program, err := client()
	if err != nil {
		return err
	}
	first := filepath.Join(c.Bin, Commands[0])
	if err := writeProgram(first, program); err != nil {
		return err
	}
	for _, name := range Commands[1:] {
		if err := os.Link(first, filepath.Join(c.Bin, name)); err != nil {
			return err
		}
	}
	return nil
}

func (o Options) filled() Options {
	for v, def := range map[*int]int{&o.Nodes: 4, &o.CPUs: 64, &o.GPUs: 8, &o.MaxArraySize: 1001, &o.MaxJobCount: 10000,
		&o.MinJobAge: 300, &o.RequeueDelay: 121, &o.KillWait: 30} {
		if *v == 0 {
			*v = def
		}
	}
	o.CPUs, o.GPUs, o.MinJobAge = max(o.CPUs, 0), max(o.GPUs, 0), max(o.MinJobAge, 0)
	for v, def := range map[*[]string][]string{&o.Partitions: {"llmeval", "spot"}, &o.QOS: {"normal", "auto", "spot", "reserved"}, &o.Accounts: {"eval"}} {
		if *v == nil {
			*v = def
		}
	}
	if o.Second == 0 {
		o.Second = 10 * time.Millisecond
	}
	if o.Version == "" {
		o.Version = "22.05.8"
	}
	return o
}

// knows says that the cluster's Slurm is at least of that version, "24.05".
func (o Options) knows(version string) bool { return o.Version >= version }

func (o Options) seconds(n int) time.Duration { return time.Duration(n) * o.Second }

// Set changes the cluster's options while it runs. What a frozen controller was asked is done when it thaws.
func (c *Cluster) Set(change func(*Options)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	change(&c.o)
	if !c.o.Frozen && !c.o.Down {
		for _, do := range c.thawed {
			do()
		}
		c.thawed = nil
	}
	c.kick()
}

func (c *Cluster) options() Options {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.o
}

// Calls returns the calls so far of a command, or with "" of all.
func (c *Cluster) Calls(command string) []Call {
	c.lock.Lock()
	defer c.lock.Unlock()
	var out []Call
	for _, call := range c.calls {
		if command == "" || call.Command == command {
			out = append(out, *call)
		}
	}
	return out
}

// Busiest returns the most calls of any command that fell into one window of time.
func (c *Cluster) Busiest(window time.Duration) int {
	calls, most := c.Calls(""), 0
	for i, from := 0, 0; i < len(calls); i++ {
		for calls[i].At.Sub(calls[from].At) > window {
			from++
		}
		most = max(most, i-from+1)
	}
	return most
}

// Leaked returns what calls of sbatch had in arguments, standard input or environment that holds one of the texts, and every SBATCH_ variable.
func (c *Cluster) Leaked(secrets ...string) []string {
	var out []string
	for _, call := range c.Calls("sbatch") {
		for _, kv := range call.Env {
			if strings.HasPrefix(kv, "SBATCH_") {
				out = append(out, kv)
			}
		}
		for _, text := range slices.Concat(call.Args, call.Env, []string{call.Stdin}) {
			for _, s := range secrets {
				if strings.Contains(text, s) {
					out = append(out, text)
				}
			}
		}
	}
	return out
}
