package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"testing"

	"sextant/pkg/report"
	"sextant/pkg/score"
)

func sweepSpec() string { return filepath.Join(filepath.Dir(pocket()), "sweep", "eval.toml") }

// sweepLimit keeps the sweep small: three recipes on two models and three datasets, as many rows of each.
const sweepLimit = "3"

// swept is what one command makes of the example of a sweep on this machine.
type swept struct{ scores, board, page, printed []byte }

var sweptHere struct {
	sync.Mutex
	*swept
}

// sweepHere runs the example of a sweep on this machine, once for all tests.
func sweepHere(t *testing.T) *swept {
	t.Helper()
	sweptHere.Lock()
	defer sweptHere.Unlock()
	if sweptHere.swept != nil {
		return sweptHere.swept
	}
	s := newSession(t)
	s.args = []string{sweepSpec(), "-w", s.work, "--limit", sweepLimit, "--max-num-workers", "2"}
	log := s.endAll()[0]
	sweptHere.swept = &swept{scores: s.file("scores.json"), board: s.file("leaderboard.json"), page: s.file("report.html"), printed: log}
	return sweptHere.swept
}

// endAll runs sessions side by side to their ends, and gives what they print.
func (s session) endAll(further ...session) (printed [][]byte) {
	s.t.Helper()
	all := append([]session{s}, further...)
	cmds, logs := make([]*exec.Cmd, len(all)), make([]*bytes.Buffer, len(all))
	for i := range all {
		cmds[i], logs[i] = all[i].start()
	}
	for i, cmd := range cmds {
		if err := cmd.Wait(); err != nil {
			s.t.Errorf("submit: %v\n%s", err, logs[i])
		}
		printed = append(printed, logs[i].Bytes())
	}
	return printed
}

// file is one of the files of a session's run.
func (s session) file(name string) []byte {
	s.t.Helper()
	files, _ := filepath.Glob(filepath.Join(s.work, "*_*", name))
	if len(files) != 1 {
		s.t.Fatalf("want one %s, got %q", name, files)
	}
	return []byte(readFile(s.t, files[0]))
}

func decode[T any](t *testing.T, data []byte) T {
	t.Helper()
	var v T
	if err := json.Unmarshal(data, &v); err != nil {
		t.Fatal(err)
	}
	return v
}

// TestSweep: one spec, one command, one leaderboard; and variants of it that have specs of their own get the same scores.
func TestSweep(t *testing.T) {
	here := sweepHere(t)
	board := decode[report.Board](t, here.board)
	if !bytes.Contains(here.page, []byte(`<section id="board"`)) {
		t.Error("the page has no leaderboard")
	}
	variants := map[string]bool{}
	for _, row := range board.Rows {
		if row.Rank == 0 || row.Value == nil {
			t.Errorf("%s has no rank: %s", row.Model, row.Reason)
		}
		variants[row.Model] = true
	}
	for _, model := range []string{"pocket-whole", "pocket-short"} {
		for _, recipe := range []string{"", "-rtn-w8", "-rtn-w4g128", "-rtn-w3g128"} {
			if !variants[model+recipe] {
				t.Errorf("the leaderboard lacks %s", model+recipe)
			}
		}
	}
	if len(board.Rows) != 8 || board.By != "overall" || len(board.Columns) != 4 {
		t.Errorf("by %q: %d models, %d columns", board.By, len(board.Rows), len(board.Columns))
	}
	if !strings.Contains(string(here.printed), "rank  model ") || !strings.Contains(string(here.printed), "Ranked by overall, the mean of 3 datasets") {
		t.Errorf("the leaderboard is not printed:\n%s", here.printed)
	}
	all := decode[score.Scores](t, here.scores)
	var alone []session
	for _, of := range []struct{ model, limit, recipe string }{{"pocket-whole", "", "bits = 8"}, {"pocket-short", "max_seq_len = 80", "bits = 3"}} {
		path := filepath.Join(t.TempDir(), "alone.toml")
		text := fmt.Sprintf("data_dir = %q\ndatasets = [\"pocket_siqa_ppl\", \"pocket_gsm\", \"pocket_lambada\"]\n[[models]]\nabbr = %q\npath = %q\n%s\n"+
			"[[quant]]\nmethod = \"rtn\"\n%s\n[[dataset]]\nabbr = \"pocket_gsm\"\ntruncate = \"left\"\n",
			filepath.Join(pocket(), "data"), of.model, filepath.Join(pocket(), "model"), of.limit, of.recipe)
		if err := os.WriteFile(path, []byte(text), 0o666); err != nil {
			t.Fatal(err)
		}
		s := newSession(t)
		s.args = []string{path, "-w", s.work, "--limit", sweepLimit}
		alone = append(alone, s)
	}
	alone[0].endAll(alone[1])
	for i, s := range alone {
		scores := decode[score.Scores](t, s.file("scores.json")).Scores
		if len(scores) != 6 {
			t.Errorf("%d scores of spec %d", len(scores), i)
		}
		for _, want := range scores {
			if got := scoreOf(all, want.Model, want.Dataset); !reflect.DeepEqual(got, want) {
				t.Errorf("in the sweep %+v\nalone %+v", got, want)
			}
		}
	}
}

func scoreOf(all score.Scores, model, dataset string) score.Score {
	for _, s := range all.Scores {
		if s.Model == model && s.Dataset == dataset {
			return s
		}
	}
	return score.Score{}
}

// TestSlurmSweep does the same on a cluster: the scores and the leaderboard are this machine's.
func TestSlurmSweep(t *testing.T) {
	t.Parallel()
	c := accounted(t)
	here := sweepHere(t)
	x := asTyped(t, c, sweepSpec(), "-p", "llmeval", "--limit", sweepLimit, "--max-num-workers", "8")
	x.submit().want(exitDone, "30/30 tasks", "Ranked by overall")
	for name, want := range map[string][]byte{"scores.json": here.scores, "leaderboard.json": here.board} {
		if got := readFile(t, filepath.Join(x.run(), name)); got != string(want) {
			t.Errorf("%s differs from this machine's\n%s\nwant\n%s", name, got, want)
		}
	}
	x.idle()
}
