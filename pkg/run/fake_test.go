package run

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"sextant/internal/points"
	"sextant/internal/smalldisk"
	"sextant/pkg/plan"
	"sextant/pkg/result"
	"sextant/pkg/spec"
	"sextant/scheduler/local"
)

// The test binary plays the worker (called as "run --run ...") and, under submitEnv, the submit.
const (
	fakeEnv   = "SEXTANT_FAKE"        // what the worker does: "delay=2ms at=TASK:ROW:ACTION:TIMES"
	submitEnv = "SEXTANT_FAKE_SUBMIT" // the work directory of the submit to play
	worldEnv  = "SEXTANT_FAKE_WORLD"  // "LIMIT WORKERS"
	deathEnv  = "SEXTANT_FAKE_DEATH"  // "POINT:N": die when the point is reached for the n-th time
)

func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == "run" {
		os.Exit(fakeWorker(os.Args[2:]))
	}
	if dir := os.Getenv(submitEnv); dir != "" {
		os.Exit(fakeSubmit(dir))
	}
	smalldisk.Enter()
	// The tests wait for nothing but fsync on a slow disk.
	if info, err := os.Stat("/dev/shm"); err == nil && info.IsDir() && os.Getenv("TMPDIR") == "" {
		if err := os.Setenv("TMPDIR", "/dev/shm"); err != nil {
			panic(err)
		}
	}
	// Under the race detector every process would sleep a second before it exits.
	if err := os.Setenv("GORACE", "atexit_sleep_ms=0"); err != nil {
		panic(err)
	}
	os.Exit(m.Run())
}

// smallWorld is a plan of two tasks of one model, m/ppl of 30 rows and m/gen of 40, at 1 and 10 units a row.
func smallWorld(limit, workers int) *plan.Plan {
	s := spec.Spec{
		Models:   []spec.Model{{Abbr: "m", RunCfg: spec.RunCfg{NumProcs: 1}}},
		Datasets: []spec.Dataset{{Abbr: "ppl", Mode: spec.PPL}, {Abbr: "gen", Mode: spec.Gen}},
		Infer:    spec.Infer{MaxPartitionSize: limit, MaxNumWorkers: workers, GenTaskCoef: 10, Retry: 2},
		Local:    spec.Local{Worker: os.Args[0]},
	}
	in := plan.Inputs{Variants: []plan.Variant{{ID: "m", Model: "m", Fingerprint: "f"}}, Tasks: []plan.TaskInput{
		{Variant: "m", Dataset: "ppl", Rows: 30, Labels: 1, Data: "d1"}, {Variant: "m", Dataset: "gen", Rows: 40, Data: "d2"}}}
	p, err := plan.Make(s, in)
	if err != nil {
		panic(err)
	}
	return p
}

// want is what a run of smallWorld must gather.
func want(p *plan.Plan) map[string][]result.Record {
	records := map[string][]result.Record{}
	for _, t := range p.Tasks {
		for row := range t.Rows {
			records[t.ID] = append(records[t.ID], fakeRecord(t, row))
		}
	}
	return records
}

func fakeRecord(t plan.Task, row int) result.Record {
	return result.Record{Row: row, Digest: fmt.Sprintf("%s-%d", t.Settings[:8], row), Text: fmt.Sprintf("%s %d", t.ID, row), NLL: []float64{float64(row) / 7}}
}

// fake is a worker at work.
type fake struct {
	dir     result.Dir
	plan    *plan.Plan
	job     plan.Job
	attempt int
	delay   time.Duration
	at      []string // TASK, ROW, ACTION, TIMES
}

func fakeWorker(args []string) int {
	flags := map[string]string{}
	for i := 0; i+1 < len(args); i += 2 {
		flags[args[i]] = args[i+1]
	}
	go leaveWithParent()
	f := &fake{dir: result.Dir(flags["--run"])}
	var err error
	if f.attempt, err = strconv.Atoi(flags["--attempt"]); err != nil {
		return say(err)
	}
	for _, word := range strings.Fields(os.Getenv(fakeEnv)) {
		key, value, _ := strings.Cut(word, "=")
		switch key {
		case "delay":
			f.delay, _ = time.ParseDuration(value)
		case "at":
			f.at = strings.Split(value, ":")
		}
	}
	if f.plan, err = plan.Load(f.dir.Plan()); err != nil {
		return say(err)
	}
	if f.job, err = plan.LoadJob(f.dir, f.plan, flags["--job"], f.attempt); err != nil {
		return say(err)
	}
	for _, id := range f.job.Shards {
		if err := f.shard(id); err != nil {
			return say(err)
		}
	}
	return 0
}

func say(err error) int {
	fmt.Fprintln(os.Stderr, err)
	return 1
}

func leaveWithParent() {
	fd, err := strconv.Atoi(os.Getenv("SEXTANT_PARENT_FD"))
	if err != nil {
		return
	}
	_, _ = os.NewFile(uintptr(fd), "parent").Read(make([]byte, 1))
	os.Exit(75)
}

func (f *fake) shard(id string) error {
	s, _ := f.plan.Shard(id)
	t, _ := f.plan.Task(s.Task)
	_ = result.CommitJSON(f.dir.Progress(f.job.ID, f.attempt), result.Progress{Shard: id, Phase: "run"})
	rows, err := result.Collect(f.dir, result.Query{Task: t.ID, Digest: t.Digest, From: s.From, To: s.To})
	if err != nil {
		return err
	}
	h := result.Header{Task: t.ID, Digest: t.Digest, From: s.From, To: s.To}
	cp, err := result.CreateCheckpoint(f.dir.Rows(id, f.attempt), h)
	if err != nil {
		return err
	}
	defer cp.Close()
	records := rows.Records
	for _, row := range rows.Missing() {
		f.act(t.ID, id, row)
		time.Sleep(f.delay)
		r := fakeRecord(t, row)
		if err := cp.Append(r); err != nil {
			return err
		}
		records = append(records, r)
	}
	slices.SortFunc(records, func(a, b result.Record) int { return cmp.Compare(a.Row, b.Row) })
	return result.Write(f.dir.Result(id), h, records)
}

// act does what the test asked for at this row, as often as it was asked for.
func (f *fake) act(task, shard string, row int) {
	if len(f.at) < 4 || f.at[0] != task || f.at[1] != strconv.Itoa(row) {
		return
	}
	times, _ := strconv.Atoi(f.at[3])
	for i := range times + 1 {
		if i == times {
			return
		}
		mark, err := os.OpenFile(filepath.Join(string(f.dir), fmt.Sprintf("acted.%d", i)), os.O_CREATE|os.O_EXCL, 0o666)
		if err == nil {
			mark.Close()
			break
		}
	}
	fail := func(kind result.FailureKind, code int) {
		_ = result.CommitJSON(f.dir.Failure(shard, f.attempt), result.Failure{Kind: kind, Reason: fmt.Sprintf("row %d is %s", row, kind), Row: &row})
		os.Exit(code)
	}
	switch f.at[2] {
	case "input":
		fail(result.FailInput, 64)
	case "retry":
		fail(result.FailRetry, 75)
	case "disk":
		fail(result.FailDisk, 75)
	case "exit64":
		fmt.Fprintln(os.Stderr, "the model is bad")
		os.Exit(64)
	case "exit0":
		os.Exit(0)
	case "panic":
		panic("something broke")
	case "kill":
		_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
		select {}
	}
}

// fakeSubmit is a whole submit: it opens the run and executes it, and dies where it is told to.
func fakeSubmit(dir string) int {
	if point, nth, ok := strings.Cut(os.Getenv(deathEnv), ":"); ok {
		left, _ := strconv.Atoi(nth)
		points.Hook = func(p string) {
			if p == "run:"+point {
				if left--; left == 0 {
					_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
				}
			}
		}
	}
	var limit, workers int
	if _, err := fmt.Sscan(os.Getenv(worldEnv), &limit, &workers); err != nil {
		return say(err)
	}
	r, err := Open(dir, smallWorld(limit, workers), Options{})
	if err != nil {
		return say(err)
	}
	defer r.Close()
	s, err := local.New(local.Options{Workers: workers, Grace: time.Second})
	if err != nil {
		return say(err)
	}
	defer s.Close()
	out, err := Execute(context.Background(), r, s, nil)
	if err != nil {
		return say(err)
	}
	if err := json.NewEncoder(os.Stdout).Encode(out); err != nil || len(out.Failures) > 0 {
		return 3
	}
	return 0
}

// rowsIn counts how often each row stands in a checkpoint, over all attempts of all runs below a directory.
func rowsIn(t *testing.T, workDir string) map[string]int {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(workDir, "*", "attempts", "*", "*", "rows.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	count := map[string]int{}
	for _, path := range files {
		h, records, err := result.ReadCheckpoint(path)
		if err != nil {
			t.Error(err)
		}
		for _, r := range records {
			count[fmt.Sprint(h.Task, " ", r.Row)]++
		}
	}
	return count
}
