package worker

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"sextant/internal/goldens"
	"sextant/pkg/dataset"
	"sextant/pkg/plan"
	"sextant/pkg/result"
	"sextant/pkg/spec"
)

const pocket = "../../examples/pocket"

// given is a spec file over the pocket model and its data.
func given(t testing.TB, text string, overrides ...spec.Override) spec.Spec {
	t.Helper()
	root, err := filepath.Abs(pocket)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "eval.toml")
	head := fmt.Sprintf("data_dir = %q\n", root+"/data")
	if err := os.WriteFile(path, []byte(head+strings.ReplaceAll(text, "$POCKET", root)), 0o666); err != nil {
		t.Fatal(err)
	}
	catalog, err := dataset.NewCatalog()
	if err != nil {
		t.Fatal(err)
	}
	s, err := spec.Load(path, spec.Options{Catalog: catalog, Overrides: overrides})
	if err != nil {
		t.Fatal(err)
	}
	return *s
}

// planned makes a run directory for a spec.
func planned(t testing.TB, s spec.Spec) (result.Dir, *plan.Plan) {
	t.Helper()
	in, err := plan.Survey(s)
	if err != nil {
		t.Fatal(err)
	}
	return plannedWith(t, s, in)
}

func plannedWith(t testing.TB, s spec.Spec, in plan.Inputs) (result.Dir, *plan.Plan) {
	t.Helper()
	p, err := plan.Make(s, in)
	if err != nil {
		t.Fatal(err)
	}
	dir := result.Dir(t.TempDir())
	if err := p.Save(dir.Plan()); err != nil {
		t.Fatal(err)
	}
	return dir, p
}

// work runs every job of a plan once.
func work(t testing.TB, dir result.Dir, p *plan.Plan, attempt int) error {
	t.Helper()
	var log bytes.Buffer
	var errs []error
	for _, j := range p.Jobs {
		errs = append(errs, Run(context.Background(), Options{RunDir: string(dir), JobID: j.ID, Attempt: attempt, Log: slog.New(slog.NewTextHandler(&log, nil))}))
	}
	if t.Failed() {
		t.Log(log.String())
	}
	return errors.Join(errs...)
}

// records are a task's, from verified result files only.
func records(t testing.TB, dir result.Dir, p *plan.Plan, id string) []result.Record {
	t.Helper()
	task, ok := p.Task(id)
	if !ok {
		t.Fatalf("no task %q", id)
	}
	rows, err := result.Collect(dir, result.Query{Task: id, Digest: task.Digest, To: task.Rows, Final: true})
	if err != nil {
		t.Fatal(err)
	}
	if !rows.Complete() {
		t.Fatalf("task %s lacks the rows %v (%v)", id, rows.Missing(), rows.Bad)
	}
	return rows.Records
}

const suite = `
models = [{ abbr = "pocket", path = "$POCKET/model" }]
datasets = ["pocket_winograd", "pocket_piqa", "pocket_siqa_ppl", "pocket_cloze", "pocket_gsm", "pocket_lambada", "pocket_text"]
`

func limit(n int) spec.Override {
	return spec.Override{Key: "infer.limit", Value: n, From: "--limit"}
}

// TestSuite holds the records of every pocket dataset against the goldens of an independent implementation.
func TestSuite(t *testing.T) {
	dir, p := planned(t, given(t, suite, limit(6)))
	if err := work(t, dir, p, 1); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"winograd", "piqa", "siqa_ppl", "cloze"} {
		var golden []struct {
			SumNLL  []float64 `json:"sum_nll"`
			NTokens []int     `json:"n_tokens"`
		}
		goldens.ReadJSON(t, pocket+"/golden/items_"+name+".json", &golden)
		for i, r := range records(t, dir, p, "pocket/pocket_"+name) {
			if !slices.Equal(r.Tokens, golden[i].NTokens) || !slices.EqualFunc(r.NLL, golden[i].SumNLL, func(a, b float64) bool { return goldens.Near(a, b, 1e-3) }) {
				t.Errorf("%s row %d: %+v, want %+v", name, i, r, golden[i])
			}
		}
	}
	for _, name := range []string{"gsm", "lambada"} {
		var golden []struct {
			Text   string
			IDs    []int32
			Margin float64 `json:"min_margin"`
		}
		goldens.ReadJSON(t, pocket+"/golden/items_"+name+".json", &golden)
		for i, r := range records(t, dir, p, "pocket/pocket_"+name) {
			// The golden ends lambada's at the first word; ours goes on to its limit.
			if golden[i].Margin > 1e-3 && (!strings.HasPrefix(r.Text, golden[i].Text) || !slices.Equal(r.IDs[:len(golden[i].IDs)], golden[i].IDs)) {
				t.Errorf("%s row %d: %q %v, want %q %v", name, i, r.Text, r.IDs, golden[i].Text, golden[i].IDs)
			}
		}
	}
	var golden struct {
		Test struct {
			Windows int
			Mean    []float64 `json:"window_mean_nll"`
		}
	}
	goldens.ReadJSON(t, pocket+"/golden/ppl.json", &golden)
	windows := records(t, dir, p, "pocket/pocket_text")
	all, err := plan.Survey(given(t, strings.ReplaceAll(suite, `"pocket_winograd", "pocket_piqa", "pocket_siqa_ppl", "pocket_cloze", "pocket_gsm", "pocket_lambada", `, "")))
	if err != nil || all.Tasks[0].Rows != golden.Test.Windows || len(windows) != 6 {
		t.Errorf("%+v (%v), of which %d windows were computed; want %d, and 6", all.Tasks, err, len(windows), golden.Test.Windows)
	}
	for i, r := range windows {
		if r.Tokens[0] != 255 || !goldens.Near(r.NLL[0]/255, golden.Test.Mean[i], 1e-3) {
			t.Errorf("window %d: %+v, want a mean of %v", i, r, golden.Test.Mean[i])
		}
	}
}

const two = `
models = [{ abbr = "pocket", path = "$POCKET/model", batch_size = 4 }]
datasets = ["pocket_piqa", "pocket_gsm"]
`

// resultBytes are the records of all tasks as they stand in the files.
func resultBytes(t testing.TB, dir result.Dir, p *plan.Plan) string {
	t.Helper()
	var all []result.Record
	for _, task := range p.Tasks {
		all = append(all, records(t, dir, p, task.ID)...)
	}
	data, err := json.Marshal(all)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// TestResume kills an attempt after each of some rows, in the middle of a line: the next one computes only what is missing, and the results
// are the same bytes as those of an undisturbed run, whatever the shards.
func TestResume(t *testing.T) {
	dir, p := planned(t, given(t, two, limit(5)))
	if err := work(t, dir, p, 1); err != nil {
		t.Fatal(err)
	}
	want := resultBytes(t, dir, p)
	for _, size := range []int{1, 60, 2000} {
		s := given(t, two, limit(5), spec.Override{Key: "infer.max_partition_size", Value: size, From: "-"})
		next, q := planned(t, s)
		left := map[string]int{}
		for _, sh := range q.Shards {
			task, _ := q.Task(sh.Task)
			left[sh.ID] = tear(t, next.Rows(sh.ID, 1), result.Header{Task: task.ID, Digest: task.Digest, From: sh.From, To: sh.To}, records(t, dir, p, task.ID)[sh.From:sh.To])
		}
		if err := work(t, next, q, 2); err != nil {
			t.Fatal(err)
		}
		if got := resultBytes(t, next, q); got != want {
			t.Errorf("partition size %d:\n%s\nwant\n%s", size, got, want)
		}
		for _, sh := range q.Shards {
			_, again, err := result.ReadCheckpoint(next.Rows(sh.ID, 2))
			if err != nil && !errors.Is(err, os.ErrNotExist) || len(again) != left[sh.ID] {
				t.Errorf("shard %s: %d rows computed again (%v), want %d", sh.ID, len(again), err, left[sh.ID])
			}
		}
	}
}

// tear leaves a checkpoint of the first half of the records and part of the next. It returns how many are missing.
func tear(t testing.TB, path string, h result.Header, all []result.Record) int {
	t.Helper()
	cp, err := result.CreateCheckpoint(path, h)
	if err != nil {
		t.Fatal(err)
	}
	half := len(all) / 2
	for _, r := range all[:half] {
		if err := cp.Append(r); err != nil {
			t.Fatal(err)
		}
	}
	if err := cp.Close(); err != nil {
		t.Fatal(err)
	}
	line, _ := json.Marshal(all[half])
	f, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.Write(line[:len(line)-3]); err != nil {
		t.Fatal(err)
	}
	return len(all) - half
}

// stopAfter is a log that ends a context when the model is loaded.
type stopAfter struct {
	slog.Handler
	stop func()
}

func (h stopAfter) Handle(_ context.Context, r slog.Record) error {
	if r.Message == "model loaded" {
		h.stop()
	}
	return nil
}

func TestStopped(t *testing.T) {
	dir, p := planned(t, given(t, two, limit(3)))
	ctx, cancel := context.WithCancelCause(context.Background())
	h := stopAfter{slog.NewTextHandler(&bytes.Buffer{}, nil), func() { cancel(fmt.Errorf("%w by the signal terminated", ErrStopped)) }}
	err := Run(ctx, Options{RunDir: string(dir), JobID: p.Jobs[0].ID, Attempt: 1, Log: slog.New(h)})
	if !errors.Is(err, ErrStopped) || ExitCode(err) != ExitRetry {
		t.Errorf("stopped: %v, exit %d", err, ExitCode(err))
	}
	if _, err := result.ReadFailure(dir.Failure(p.Jobs[0].ID, 1)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("being stopped is no failure of the job, but one was left: %v", err)
	}
	if err := work(t, dir, p, 2); err != nil {
		t.Error(err)
	}
	resultBytes(t, dir, p)
	if pr, err := result.ReadProgress(dir.Progress(p.Jobs[0].ID, 2)); err != nil || pr.Rows == 0 || pr.Tokens == 0 {
		t.Errorf("progress %+v (%v)", pr, err)
	}
}

// TestStages holds the records of a model in several stages to be those of one.
func TestStages(t *testing.T) {
	var want []result.Record
	for _, gpus := range []string{"0", "2", "3"} {
		dir, p := planned(t, given(t, strings.Replace(suite, `/model"`, `/model", run_cfg = { num_gpus = `+gpus+` }`, 1), limit(4)))
		var log bytes.Buffer
		for _, j := range p.Jobs {
			err := Run(context.Background(), Options{RunDir: string(dir), JobID: j.ID, Backend: "cpu", Threads: 3, Log: slog.New(slog.NewTextHandler(&log, nil))})
			if err != nil {
				t.Fatal(err)
			}
		}
		var got []result.Record
		for _, task := range p.Tasks {
			got = append(got, records(t, dir, p, task.ID)...)
		}
		if want == nil {
			want = got
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%s stages: other records than in one", gpus)
		}
		if n := strings.Count(log.String(), "layers "); gpus != "0" && fmt.Sprint(n) != gpus {
			t.Errorf("%d stages, want %s:\n%s", n, gpus, log.String())
		}
	}
}
