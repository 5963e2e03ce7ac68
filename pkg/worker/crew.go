package worker

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"sextant/pkg/model"
	"sextant/pkg/objstore"
	"sextant/pkg/pipeline"
	"sextant/pkg/plan"
	"sextant/pkg/spec"
)

// What a rank is told beside its arguments, by the process that starts it.
const (
	rankEnv  = "SLURM_PROCID"  // of the processes that srun starts
	localEnv = "SLURM_LOCALID" // of those on one node
)

// crew is the other processes of a worker: those of one more are ranks of a pipeline. They end when this one does, however it ends.
type crew struct {
	host  *pipeline.Host
	file  string // the rendezvous
	ended sync.WaitGroup
	kill  func()
}

// crewModel is what the other ranks must know of the model (pipeline.Open).
type crewModel struct {
	Files       spec.Model
	Fingerprint string
	Dequantize  bool
	Store       spec.S3
}

// muster starts the other ranks: where Slurm has given this job as many tasks, by srun, wherever the tasks are; else on this machine.
func (to *loading) muster(ctx context.Context) (c *crew, err error) {
	c = &crew{}
	near := !to.tasks()
	if c.host, err = pipeline.Listen(to.procs, near, os.Getenv); err != nil {
		return nil, err
	}
	if err = c.post(to, near); err == nil {
		err = c.start(ctx, to, near)
	}
	if err != nil {
		c.close()
		return nil, fmt.Errorf("starting the other processes of num_procs = %d: %w", to.procs, err)
	}
	return c, nil
}

// tasks says whether this process is a job's batch script in an allocation of as many tasks as there are ranks.
func (to *loading) tasks() bool {
	n, err := strconv.Atoi(os.Getenv("SLURM_NTASKS"))
	return err == nil && n == to.asked && os.Getenv("SLURM_JOB_ID") != ""
}

// post writes the rendezvous for the other ranks: a file for this user alone, as there is a secret in it.
func (c *crew) post(to *loading, near bool) error {
	at, err := c.host.Rendezvous(near, os.Getenv)
	if err != nil {
		return err
	}
	data, err := json.Marshal(at)
	if err != nil {
		return err
	}
	dir := filepath.Join(to.run, "ranks")
	if err := os.MkdirAll(dir, 0o777); err != nil {
		return err
	}
	c.file = filepath.Join(dir, rand.Text()+".json")
	return os.WriteFile(c.file, data, 0o600)
}

// start starts the processes, and watches them.
func (c *crew) start(ctx context.Context, to *loading, near bool) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	ctx, c.kill = context.WithCancel(context.WithoutCancel(ctx))
	args := []string{"rank", "--rendezvous", c.file, "--stages", strconv.Itoa(to.stages), "--backend", cmp.Or(to.backend, AutoBackend)}
	if !near {
		// The first task ends at once (see Rank): the others must not be ended with it, as a site's WaitTime would have it.
		line := []string{"--ntasks=" + strconv.Itoa(to.procs), "--kill-on-bad-exit=1", "--wait=0", "--input=none"}
		if n := os.Getenv("SLURM_CPUS_PER_TASK"); n != "" {
			line = append(line, "--cpus-per-task="+n)
		}
		return c.run(exec.CommandContext(ctx, "srun", append(append(line, self), args...)...), "srun")
	}
	for rank := 1; rank < to.procs; rank++ {
		cmd := exec.CommandContext(ctx, self, slices.Concat(args, []string{"--rank", strconv.Itoa(rank), "--threads", strconv.Itoa(to.threads)})...)
		cmd.Args[0] = os.Args[0]
		if err := c.run(cmd, fmt.Sprintf("rank %d", rank)); err != nil {
			return err
		}
	}
	return nil
}

// run starts a command whose end is that of all ranks, if it comes before theirs.
func (c *crew) run(cmd *exec.Cmd, name string) error {
	cmd.Stdout, cmd.Stderr = os.Stderr, os.Stderr
	for _, kv := range os.Environ() { // only this process has what they name
		if !strings.HasPrefix(kv, "SEXTANT_PARENT_FD=") {
			cmd.Env = append(cmd.Env, kv)
		}
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	c.ended.Go(func() {
		err := cmd.Wait()
		c.host.Fail(fmt.Errorf("%s: %w: it ended: %w", name, pipeline.ErrRank, cmp.Or(err, errors.New("exit status 0"))))
	})
	return nil
}

// leaveTime is how long the other processes have to end by themselves.
const leaveTime = 10 * time.Second

// close ends the other ranks and waits for them.
func (c *crew) close() {
	if c == nil {
		return
	}
	failed := false
	select {
	case <-c.host.Dead():
		failed = true
	default:
	}
	c.host.Close()
	if c.file != "" {
		_ = os.Remove(c.file) // they have read it, or are gone
	}
	if c.kill == nil {
		return
	}
	if failed { // nobody has a use for what the others are at
		c.kill()
	}
	late := time.AfterFunc(leaveTime, c.kill)
	c.ended.Wait()
	late.Stop()
	c.kill()
}

// joinTime is how long the other ranks may take to come. A step of Slurm may have to wait for the nodes to be ready.
const joinTime = 3 * time.Minute

// together loads the model in all ranks: each stage of each has its part.
func (l *loaded) together(ctx context.Context, to loading) (err error) {
	if l.crew, err = to.muster(ctx); err != nil {
		return err
	}
	host := l.crew.host
	joining, stop := context.WithTimeoutCause(ctx, joinTime, fmt.Errorf("%w: not all came within %v", pipeline.ErrRank, joinTime))
	defer stop()
	others, err := host.Join(joining)
	if err != nil {
		return err
	}
	mine, err := l.speeds()
	if err != nil {
		return err
	}
	devices, speeds := seats(append([][]float64{mine}, others...), l.ck.Config().Layers)
	parts, share, err := model.Parts(l.ck, speeds)
	if err != nil {
		return err
	}
	what, err := json.Marshal(crewModel{to.files, to.fingerprint, to.dequantize, to.store})
	if err != nil {
		return err
	}
	opens := make([]pipeline.Open, len(others))
	at := devices[0]
	for i := range opens {
		opens[i] = pipeline.Open{Model: what, Parts: parts[at : at+devices[i+1]], Shares: share[at : at+devices[i+1]]}
		at += devices[i+1]
	}
	if err := host.Open(joining, opens); err != nil {
		return err
	}
	l.keep(devices[0])
	if err := l.fill(ctx, to, parts[:devices[0]], share[:devices[0]]); err != nil {
		return err
	}
	if err := host.Opened(ctx); err != nil {
		return err
	}
	l.pipe = host.Pipeline(l.models(), len(parts))
	return nil
}

// seats takes devices from those ranks that have most until there is a layer for each. It gives how many each rank has then, and the speeds of all.
// There are as many layers as ranks at least.
func seats(ranks [][]float64, layers int) (devices []int, speeds []float64) {
	n := 0
	for _, r := range ranks {
		n += len(r)
	}
	for ; n > layers; n-- {
		most := 0
		for i, r := range ranks {
			if len(r) > len(ranks[most]) {
				most = i
			}
		}
		ranks[most] = ranks[most][:len(ranks[most])-1]
	}
	for _, r := range ranks {
		devices, speeds = append(devices, len(r)), append(speeds, r...)
	}
	return devices, speeds
}

// RankOptions say which rank of a worker a process is.
type RankOptions struct {
	Rendezvous string // the file that rank 0 wrote
	Rank       int    // 0: as SLURM_PROCID says
	Stages     int    // devices
	Backend    string
	Threads    int
	Limits     Limits
	Log        *slog.Logger
}

// Rank is the life of a process of a worker of several that is not the first: it loads its part of the model, and does its part of the passes until
// rank 0 ends it, or is gone. Rank 0 of srun's is the process that called srun: there is nothing to do for it here.
func Rank(ctx context.Context, o RankOptions) error {
	getenv := func(name string) int { n, _ := strconv.Atoi(os.Getenv(name)); return n }
	base := o.Rank
	if o.Rank == 0 {
		if o.Rank, base = getenv(rankEnv), getenv(localEnv); o.Rank == 0 {
			return nil
		}
	}
	data, err := os.ReadFile(o.Rendezvous)
	if err != nil {
		return fmt.Errorf("reading where the ranks meet: %w", err)
	}
	var at pipeline.Rendezvous
	if err := json.Unmarshal(data, &at); err != nil {
		return fmt.Errorf("reading where the ranks meet: %q: %w", o.Rendezvous, err)
	}
	m := &member{o: o, to: loading{backend: o.Backend, threads: o.Threads, stages: o.Stages, limit: o.Limits.Memory,
		device: base * o.Stages, log: o.Log.With("rank", o.Rank)}}
	defer m.l.close()
	m.l.threads = o.Threads
	if m.l.stages, m.l.backend, err = m.to.openStages(o.Stages); err != nil {
		return err
	}
	// Told to stop, it goes on until rank 0, which was told so too, ends it: it must not look like a rank that is gone.
	ctx = context.WithoutCancel(ctx)
	objstore.Until(ctx)
	speeds, err := m.l.speeds()
	if err != nil {
		return err
	}
	return pipeline.Serve(ctx, at, pipeline.Seat{Rank: o.Rank, Speeds: speeds}, m)
}

// member is a rank's side of pipeline.Member.
type member struct {
	o  RankOptions
	to loading
	l  loaded
}

func (m *member) Load(ctx context.Context, open pipeline.Open) ([]*model.Model, error) {
	var what crewModel
	if err := json.Unmarshal(open.Model, &what); err != nil {
		return nil, err
	}
	plan.UseStore(spec.Spec{S3: what.Store})
	f, err := plan.OpenModel(&what.Files)
	if err != nil {
		return nil, err
	}
	m.l.ck = f.Checkpoint
	if f.Fingerprint != what.Fingerprint {
		return nil, fmt.Errorf("%q is another model here than where rank 0 is", what.Files.Path)
	}
	m.to.dequantize = what.Dequantize
	m.l.keep(len(open.Parts))
	if err := m.l.fill(ctx, m.to, open.Parts, open.Shares); err != nil {
		return nil, err
	}
	m.to.log.Info("part of the model loaded", "stages", m.l.layout(), "backend", m.l.backend)
	return m.l.models(), nil
}

func (m *member) Measure(ask pipeline.Measure) (pipeline.Measure, error) {
	return m.l.room(Options{Limits: m.o.Limits}, ask)
}

// threadsEach are those of each rank on this machine, when its processes share so many; 0: all that this one may run on.
func threadsEach(threads, procs int) int {
	return max(1, cmp.Or(threads, runtime.GOMAXPROCS(0))/procs)
}
