package score

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"sextant/pkg/spec"
)

// Program is generated code together with its tests.
type Program struct {
	Language string        `json:"language"` // "python"
	Source   string        `json:"source"`
	Proof    string        `json:"proof"` // the last line that the program writes to its standard output when it has come to its end
	Limit    time.Duration `json:"limit"` // of its run, by the clock
}

// Verdict is what became of a program.
type Verdict struct {
	Passed bool     `json:"passed"`           // it ended by itself with status 0 and Proof as its last line
	Why    string   `json:"why,omitempty"`    // in a word or two where it did not: "failed", "time", "memory", "output"
	Layers []string `json:"layers,omitempty"` // what confined it, by name
}

// Runner runs one program, confined. It may be called by several goroutines at once. An error means that the program could not be run at
// all, through no fault of its own; its row is then missing with that reason. Whoever allows that generated code is run makes one.
type Runner interface {
	Run(ctx context.Context, p Program) (Verdict, error)
}

// RunsCode says whether a dataset is scored by running what the model wrote: whether a metric of it is pass@K of programs.
func RunsCode(d spec.Dataset) bool {
	sc, err := newScorer(d)
	t, ok := sc.(*texts)
	return err == nil && ok && t.code != nil
}

// Digest names the program in a file of verdicts: 32 hex digits.
func (p Program) Digest() string {
	raw, err := json.Marshal(p)
	if err != nil {
		panic("score: program: " + err.Error()) // strings and integers always marshal
	}
	sum := sha256.Sum256(raw)
	return hex.EncodeToString(sum[:16])
}

// completion stands in a gold text for the generated code.
const completion = "{completion}"

// newProgram puts generated code and the tests of its row together. A gold text that holds {completion} is the whole program, with the
// code in its place; else the gold texts follow the code, a line break before each. All of them must hold: they are tests, not alternatives.
//
// The last statement writes the proof, for a program that leaves early (sys.exit in the generated code) has status 0 and no test was run.
// It depends on the program alone, so that equal programs are run once; code that looks for it in its own file can cheat.
func newProgram(code string, golds []string, limit time.Duration) Program {
	source := code
	if len(golds) == 1 && strings.Contains(golds[0], completion) {
		source = strings.Replace(golds[0], completion, code, 1)
	} else {
		for _, g := range golds {
			source += "\n" + g
		}
	}
	sum := sha256.Sum256([]byte(source))
	proof := "sextant " + hex.EncodeToString(sum[:8])
	source += "\n__import__(\"sys\").stdout.write(\"\\n" + proof + "\\n\")\n"
	return Program{Language: "python", Source: source, Proof: proof, Limit: limit}
}

// coder is a scorer whose rows are programs.
type coder interface {
	programs(q *question) []Program
	// judge takes what verdict knows of a program: ok is false where it was not run, for the reason.
	judge(verdict func(Program) (v Verdict, ok bool, reason string))
}

var errNotRun = errors.New("its program was not run: generated code runs only with --allow-code-execution")

// execute runs the programs of all rows that have no verdict yet, each once, and hands the scorer what is known. Programs are made as they
// are run: their sources are not held.
func (o Options) execute(ctx context.Context, c coder, all func(func(*question, error) bool)) error {
	known := o.Verdicts
	if known == nil {
		known = &Verdicts{}
	}
	j := &executor{runner: o.Runner, known: known, failed: map[string]string{}, taken: map[string]bool{}}
	if o.Runner != nil {
		if err := j.runAll(ctx, c, all, o.Programs); err != nil {
			return err
		}
	}
	c.judge(func(p Program) (Verdict, bool, string) {
		d := p.Digest()
		if v, ok := known.get(d); ok {
			return v, true, ""
		}
		if reason, ok := j.failed[d]; ok {
			return Verdict{}, false, reason
		}
		return Verdict{}, false, errNotRun.Error()
	})
	return nil
}

// executor runs programs.
type executor struct {
	runner Runner
	known  *Verdicts
	taken  map[string]bool

	mu     sync.Mutex
	failed map[string]string // why a program could not be run
	kept   error             // the first error of keeping a verdict
}

func (j *executor) runAll(ctx context.Context, c coder, all func(func(*question, error) bool), workers int) error {
	if workers <= 0 {
		workers = runtime.GOMAXPROCS(0)
	}
	work := make(chan Program)
	var wg sync.WaitGroup
	for range workers {
		wg.Go(func() {
			for p := range work {
				j.run(ctx, p)
			}
		})
	}
	for q, err := range all {
		if err != nil || ctx.Err() != nil {
			continue
		}
		for _, p := range c.programs(q) {
			if d := p.Digest(); !j.taken[d] {
				j.taken[d] = true
				if _, ok := j.known.get(d); !ok {
					work <- p
				}
			}
		}
	}
	close(work)
	wg.Wait()
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("running generated code: %w", err)
	}
	return j.kept
}

func (j *executor) run(ctx context.Context, p Program) {
	v, err := j.runner.Run(ctx, p)
	if ctx.Err() != nil {
		return // what it says may be of the end of ctx
	}
	d := p.Digest()
	if err != nil {
		j.mu.Lock()
		defer j.mu.Unlock()
		j.failed[d] = "its program could not be run: " + err.Error()
		return
	}
	slices.Sort(v.Layers)
	if err := j.known.put(d, v); err != nil {
		j.mu.Lock()
		defer j.mu.Unlock()
		j.kept = cmp.Or(j.kept, err)
	}
}
