package worker

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"math"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"sextant/pkg/plan"
	"sextant/pkg/result"
)

// recipes are of a method that transforms and of one that does not.
const recipes = `
models = [{ abbr = "pocket", path = "$POCKET/model" }]
datasets = ["pocket_winograd"]
[[quant]]
name = "awq"
method = "awq"
group = 64
awq = { grid = 4, clip = false }
calib = { file = { path = "$CALIB" }, cut = "windows", samples = 8, seq_len = 32 }
save = ["awq"]
[[quant]]
name = "rtn8"
method = "rtn"
bits = 8
[eval]
positions = ["pretrain", "packed", "fake_quant", "transformed"]
`

// quantPlanned plans the recipes. Their text is a file of the test's own.
func quantPlanned(t testing.TB) (dir result.Dir, p *plan.Plan, text string) {
	t.Helper()
	quickly(t)
	b, err := os.ReadFile(pocket + "/data/text/valid.txt")
	if err != nil {
		t.Fatal(err)
	}
	text = filepath.Join(t.TempDir(), "calib.txt")
	if err := os.WriteFile(text, b, 0o666); err != nil {
		t.Fatal(err)
	}
	dir, p = planned(t, given(t, strings.ReplaceAll(recipes, "$CALIB", text), limit(4)))
	return dir, p, text
}

const (
	awqStep  = "pocket-awq--quantize"
	rtnStep  = "pocket-rtn8--quantize"
	awqShard = "pocket-awq--pocket_winograd--0-4"
)

// made gives the bytes of a variant's files, but for the manifest, which tells the time it took.
func made(t testing.TB, dir string) map[string]string {
	t.Helper()
	files := map[string]string{}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		b, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		files[e.Name()] = string(b)
	}
	delete(files, "manifest.json")
	return files
}

// ticket does one job's ticket as a worker of a cluster would, and gives its log.
func ticket(dir result.Dir, job string, attempt int) (string, error) {
	return drain(dir, fmt.Sprint("w", attempt), result.Ticket{Job: job, Attempt: attempt}, func(o *Options) { o.Drain = false })
}

func readBytes(t testing.TB, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// TestQuantize carries out a plan with two recipes and holds the variants against each other.
func TestQuantize(t *testing.T) {
	dir, p, _ := quantPlanned(t)
	if err := work(t, dir, p, 1); err != nil {
		t.Fatal(err)
	}
	nll := map[string]float64{}
	for _, v := range p.Variants {
		for _, r := range records(t, dir, p, v.ID+"/pocket_winograd") {
			nll[v.ID] += r.NLL[0] + r.NLL[1]
		}
	}
	for _, c := range []struct {
		a, b string
		most float64
		same bool
	}{
		{"pocket-awq", "pocket-awq-fake_quant", 1e-4, true}, {"pocket-rtn8", "pocket-rtn8-fake_quant", 1e-4, true},
		{"pocket-awq-transformed", "pocket", 1e-3, true}, {"pocket-awq", "pocket", 0.05, false}, {"pocket-rtn8", "pocket", 0.01, false},
	} {
		d := math.Abs(nll[c.a]-nll[c.b]) / nll[c.b]
		if d > c.most || !c.same && d == 0 {
			t.Errorf("%s and %s: %v and %v", c.a, c.b, nll[c.a], nll[c.b])
		}
	}
	step := records(t, dir, p, "pocket-awq/quantize")
	if v, _ := p.Variant("pocket-awq"); len(step) != 1 || step[0].Digest != v.Fingerprint || strings.Count(step[0].Text, "\n") != 2 ||
		!strings.Contains(step[0].Text, "pocket-awq-transformed ") {
		t.Errorf("the record of the quantization: %+v", step)
	}
	for id, way := range map[string]string{"pocket-awq": "packed i4", "pocket-rtn8": "packed i8", "pocket-awq-fake_quant": "dequantized to f32", "pocket-awq-transformed": ""} {
		v, _ := p.Variant(id)
		if ways := dir.ReadRuns(id, v.Fingerprint); strings.Join(ways, "; ") != way {
			t.Errorf("%s ran %q, want %q", id, ways, way)
		}
	}
	if m, err := result.ReadManifest(dir.Export("", "pocket-awq", "awq")); err != nil || m.Layout != "awq" {
		t.Errorf("the export: %+v, %v", m, err)
	}
	var last result.Progress
	last, err := result.ReadProgress(dir.Progress(awqStep, 1))
	if end, e := result.ReadEnd(dir.End(awqStep, 1)); err != nil || e != nil || last.Blocks == 0 || last.Began != 1 || end.Rows != 1 || end.Tokens == 0 || end.LoadSeconds <= 0 {
		t.Errorf("progress %+v, %v, end %+v, %v", last, err, end, e)
	}
	before := made(t, dir.Variant("pocket-awq"))
	if log, err := ticket(dir, awqStep, 2); err != nil || !maps.Equal(before, made(t, dir.Variant("pocket-awq"))) {
		t.Errorf("a second attempt: %v\n%s", err, log)
	}
	if end, err := result.ReadEnd(dir.End(awqStep, 2)); err != nil || end.Tokens != 0 {
		t.Errorf("what was there is measured as if it had been made: %+v, %v", end, err)
	}
}

// TestNotYet leaves tickets alone that come after what is not there, and takes them as soon as it is.
func TestNotYet(t *testing.T) {
	dir, p, _ := quantPlanned(t)
	j, _ := p.Job(awqShard)
	if err := dir.AddOffer(result.Offer{Pool: j.Pool(), Tickets: []result.Ticket{{Job: awqShard, Attempt: 1}}}); err != nil {
		t.Fatal(err)
	}
	for _, drains := range []bool{true, false} {
		log, err := drain(dir, "early", result.Ticket{Job: awqShard, Attempt: 1}, func(o *Options) { o.Drain = drains })
		_, none := os.Stat(dir.Failure(awqShard, 1))
		if claims := claimants(t, dir); ExitCode(err) != ExitRetry || len(claims) > 0 || !errors.Is(none, fs.ErrNotExist) || !strings.Contains(log, "not yet") {
			t.Errorf("drain %v: %v, claims %v\n%s", drains, err, claims, log)
		}
	}
	if _, err := drain(dir, "", result.Ticket{Job: awqShard}, nil); ExitCode(err) != ExitRetry || !strings.Contains(err.Error(), "comes after "+awqStep) {
		t.Errorf("by hand: %v", err)
	}
	if _, err := ticket(dir, awqStep, 1); err != nil {
		t.Fatal(err)
	}
	if log, err := drain(dir, "later", result.Ticket{Job: awqShard, Attempt: 1}, nil); err != nil {
		t.Errorf("%v\n%s", err, log)
	}
	records(t, dir, p, "pocket-awq/pocket_winograd")
}

// TestQuantizeStopped stops a quantization behind its second block, by a signal or a panic, and at its end; the next attempt goes on and makes
// the same files.
func TestQuantizeStopped(t *testing.T) {
	dir, _, _ := quantPlanned(t)
	if _, err := ticket(dir, awqStep, 1); err != nil {
		t.Fatal(err)
	}
	want := []map[string]string{made(t, dir.Variant("pocket-awq")), made(t, dir.Variant("pocket-awq-transformed"))}
	outcome := readBytes(t, dir.Result(awqStep))
	for name, c := range map[string]struct {
		point string
		nth   int
		stop  func(context.CancelCauseFunc)
		code  int
	}{
		"signal":    {"quant:block-done", 2, func(c context.CancelCauseFunc) { c(ErrStopped) }, ExitRetry},
		"panic":     {"quant:block-done", 2, func(context.CancelCauseFunc) { panic("broken") }, ExitOther},
		"published": {"worker:quantized", 1, func(context.CancelCauseFunc) { panic("broken") }, ExitOther},
	} {
		t.Run(name, func(t *testing.T) {
			dir, p, _ := quantPlanned(t)
			ctx, cancel := context.WithCancelCause(context.Background())
			defer cancel(nil)
			hook(t, c.point, c.nth, func() { c.stop(cancel) })
			err := Run(ctx, Options{RunDir: string(dir), JobID: awqStep, Attempt: 1, Threads: 1})
			if ExitCode(err) != c.code {
				t.Errorf("exit code %d, want %d: %v", ExitCode(err), c.code, err)
			}
			if _, err := os.Stat(dir.Result(awqStep)); err == nil {
				t.Error("it has left a result")
			}
			if log, err := ticket(dir, awqStep, 2); err != nil {
				t.Fatalf("%v\n%s", err, log)
			}
			for i, id := range []string{"pocket-awq", "pocket-awq-transformed"} {
				if !maps.Equal(made(t, dir.Variant(id)), want[i]) {
					t.Errorf("the files of %s differ from those of a run that was not stopped", id)
				}
			}
			if got := readBytes(t, dir.Result(awqStep)); got != outcome {
				t.Errorf("result\n%s, want\n%s", got, outcome)
			}
			if _, err := os.Stat(dir.VariantWork("pocket-awq")); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("the work directory is left: %v", err)
			}
			records(t, dir, p, "pocket-awq/quantize")
		})
	}
}

// TestQuantizeTwice lets two attempts at one quantization at once: what comes of it is what one alone makes, and the attempt after them finds it.
func TestQuantizeTwice(t *testing.T) {
	dir, _, _ := quantPlanned(t)
	if _, err := ticket(dir, awqStep, 1); err != nil {
		t.Fatal(err)
	}
	want := made(t, dir.Variant("pocket-awq"))
	dir, p, _ := quantPlanned(t)
	var wg sync.WaitGroup
	var errs [3]error
	for i := range errs {
		wg.Go(func() { _, errs[i] = ticket(dir, awqStep, i+1) })
	}
	wg.Wait()
	t.Logf("%v", errs)
	if log, err := ticket(dir, awqStep, 4); err != nil || !maps.Equal(made(t, dir.Variant("pocket-awq")), want) {
		t.Errorf("%v\n%s", err, log)
	}
	records(t, dir, p, "pocket-awq/quantize")
}

// TestQuantizeRefused tells what kind of fault it is when something is not as it was planned.
func TestQuantizeRefused(t *testing.T) {
	t.Run("other text", func(t *testing.T) {
		dir, _, text := quantPlanned(t)
		if err := os.WriteFile(text, []byte(strings.Repeat("Quite another text. ", 1000)), 0o666); err != nil {
			t.Fatal(err)
		}
		_, err := ticket(dir, awqStep, 1)
		if f, ferr := result.ReadFailure(dir.Failure(awqStep, 1)); ExitCode(err) != ExitInput || ferr != nil || f.Kind != result.FailInput || !strings.Contains(f.Reason, "changed") {
			t.Errorf("%v, %+v, %v", err, f, ferr)
		}
	})
	dir, p, _ := quantPlanned(t)
	for _, step := range []string{awqStep, rtnStep} {
		if _, err := ticket(dir, step, 1); err != nil {
			t.Fatal(err)
		}
	}
	packed, rtn := dir.Variant("pocket-awq"), dir.Variant("pocket-rtn8")
	weights := filepath.Join(rtn, "model-00002-of-00007.safetensors")
	for i, c := range []struct {
		name, job string
		spoil     func() error
		code      int
		want      string
	}{
		{"a changed configuration", awqShard, func() error { return os.WriteFile(filepath.Join(packed, "config.json"), []byte("{}"), 0o666) }, ExitInput, "is not what it was"},
		{"another quantization", awqShard, func() error {
			return result.CommitJSON(result.ManifestFile(packed), result.Manifest{Fingerprint: "0123456789"})
		}, ExitInput, "holds another quantization"},
		{"nothing there", awqShard, func() error { return os.RemoveAll(packed) }, ExitRetry, "is not there"},
		{"changed weights", "pocket-rtn8--pocket_winograd--0-4", func() error {
			b, err := os.ReadFile(weights)
			if err != nil {
				return err
			}
			b[len(b)-5] ^= 0x10
			return os.WriteFile(weights, b, 0o666)
		}, ExitInput, "was changed"},
	} {
		if err := c.spoil(); err != nil {
			t.Fatal(err)
		}
		if _, err := ticket(dir, c.job, i+1); ExitCode(err) != c.code || !strings.Contains(fmt.Sprint(err), c.want) {
			t.Errorf("%s: code %d, want %d and %q: %v", c.name, ExitCode(err), c.code, c.want, err)
		}
	}
	fingerprint := p.Variants[1].Fingerprint
	for i, spoil := range []func() error{
		func() error { return nil }, // it is not there
		func() error { return os.WriteFile(filepath.Join(packed, "config.json"), []byte("{}"), 0o666) },
		func() error { return os.Remove(result.ManifestFile(packed)) },
		func() error {
			return result.CommitJSON(result.ManifestFile(packed), result.Manifest{Fingerprint: "other"})
		},
		func() error { return os.Truncate(filepath.Join(packed, "model-00001-of-00007.safetensors"), 10) },
	} {
		if err := spoil(); err != nil {
			t.Fatal(err)
		}
		log, err := ticket(dir, awqStep, i+2)
		if m, bad := result.CheckVariant(packed, fingerprint); err != nil || bad != nil || m.Fingerprint != fingerprint {
			t.Errorf("%d: made again: %v, %v\n%s", i, err, bad, log)
		}
	}
	if _, err := ticket(dir, awqShard, 9); err != nil {
		t.Error(err)
	}
}

// TestSampleIsKept has a variant made again after the text is gone, from the tokens that the first attempt has left. Damaged tokens are not used.
func TestSampleIsKept(t *testing.T) {
	dir, _, text := quantPlanned(t)
	again := func(attempt int) (map[string]string, error) {
		for _, id := range []string{"pocket-awq", "pocket-awq-transformed"} {
			if err := os.RemoveAll(dir.Variant(id)); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := ticket(dir, awqStep, attempt); err != nil {
			return nil, err
		}
		return made(t, dir.Variant("pocket-awq")), nil
	}
	want, err := again(1)
	if err != nil {
		t.Fatal(err)
	}
	tokens, err := os.ReadFile(dir.Sample("pocket-awq"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(text, text+".away"); err != nil {
		t.Fatal(err)
	}
	if got, err := again(2); err != nil || !maps.Equal(got, want) {
		t.Errorf("without the text: %v", err)
	}
	tokens[len(tokens)-4] ^= 1
	if err := os.WriteFile(dir.Sample("pocket-awq"), tokens, 0o666); err != nil {
		t.Fatal(err)
	}
	if _, err := again(3); ExitCode(err) != ExitInput || !strings.Contains(fmt.Sprint(err), "calib.txt") {
		t.Errorf("with damaged tokens and no text: %v", err)
	}
	if err := os.Rename(text+".away", text); err != nil {
		t.Fatal(err)
	}
	if got, err := again(4); err != nil || !maps.Equal(got, want) {
		t.Errorf("with damaged tokens: %v", err)
	}
}
