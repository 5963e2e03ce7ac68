package slurm

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"sextant/scheduler"
	"sextant/scheduler/batch"
)

// saying is a block of testdata/refusals.txt.
type saying struct {
	command, said, tells string
	code                 int
	class                error
	doubt                bool
}

var sayingLine = regexp.MustCompile(`^(\w+) (-?\d+) (busy|down|never|refused)(,doubt)?: (.+)$`)

func readSayings(t testing.TB) (all []saying) {
	t.Helper()
	data, err := os.ReadFile("testdata/refusals.txt")
	if err != nil {
		t.Fatal(err)
	}
	classes := map[string]error{"busy": scheduler.ErrBusy, "down": scheduler.ErrDown, "never": scheduler.ErrUnsatisfiable}
	for _, block := range strings.Split(string(data), "\n== ")[1:] {
		head, said, _ := strings.Cut(block, "\n")
		m := sayingLine.FindStringSubmatch(head)
		if m == nil {
			t.Fatalf("cannot read %q", head)
		}
		code, _ := strconv.Atoi(m[2])
		all = append(all, saying{command: m[1], said: strings.TrimSuffix(said, "\n"), tells: m[5], code: code, class: classes[m[3]], doubt: m[4] != ""})
	}
	return all
}

func TestExplain(t *testing.T) {
	ask := Ask{Partition: "llmeval", Quotatype: "auto", Account: "eval", Reservation: "r1", GPUType: "h100", Time: "1-0"}
	around := []string{"%s", "Welcome to the cluster!\n*** Access denied? Invalid qos? Ask us. ***\n\n%s\n",
		"%s\nmodule: error: Permission denied\n\xff\x1b[0m\n"}
	for _, r := range readSayings(t) {
		for _, banner := range around {
			if r.said == "" && banner != "%s" {
				continue
			}
			e := &batch.CommandError{Command: r.command, Code: r.code, Text: fmt.Sprintf(banner, r.said), Err: errors.New("exit")}
			err := ask.explain(fmt.Errorf("submitting: %w", e))
			for _, class := range []error{scheduler.ErrBusy, scheduler.ErrDown, scheduler.ErrUnsatisfiable} {
				if errors.Is(err, class) != (class == r.class) {
					t.Errorf("%q: class %v is %v; %v", e.Text, class, errors.Is(err, class), err)
				}
			}
			text := err.Error()
			if !strings.Contains(text, r.tells) || strings.ContainsAny(text, "\n\r\x1b{}") || !strings.HasPrefix(text, r.command) {
				t.Errorf("%q: says %q, want %q", e.Text, text, r.tells)
			}
			for _, err := range []error{e, err} {
				if inDoubt(err) != r.doubt {
					t.Errorf("%q: in doubt %v", e.Text, inDoubt(err))
				}
			}
			var again *batch.CommandError
			if !errors.As(err, &again) || explain(err).Error() != err.Error() {
				t.Errorf("%q: it is no command's error any more, or explained twice", e.Text)
			}
		}
	}
}

func TestExplainOthers(t *testing.T) {
	plain := errors.New("no space left")
	if explain(plain) != plain || explain(nil) != nil || inDoubt(nil) || inDoubt(plain) {
		t.Error("an error that is no command's is not left alone")
	}
	absent := &batch.CommandError{Command: "sbatch", Code: -1, Err: &exec.Error{Name: "sbatch", Err: exec.ErrNotFound}}
	if err := explain(absent); !strings.Contains(err.Error(), "PATH") || inDoubt(err) {
		t.Errorf("no sbatch: %v, in doubt %v", err, inDoubt(err))
	}
	for _, end := range []error{context.Canceled, context.DeadlineExceeded} {
		err := explain(&batch.CommandError{Command: "sbatch", Code: -1, Err: errors.Join(end, errors.New("signal: killed"))})
		if !errors.Is(err, end) || !inDoubt(err) || errors.Is(err, scheduler.ErrDown) != (end == context.DeadlineExceeded) {
			t.Errorf("%v: %v", end, err)
		}
	}
	if err := explain(&batch.CommandError{Command: "sbatch", Code: 1, Text: "sbatch: error: Batch job submission failed: Invalid qos specification",
		Err: plain}); strings.Contains(err.Error(), "{") {
		t.Error(err)
	}
}

// FuzzExplain holds that whatever a command says, the user gets one line.
func FuzzExplain(f *testing.F) {
	for _, r := range readSayings(f) {
		f.Add(r.said, r.code)
	}
	f.Fuzz(func(t *testing.T, said string, code int) {
		e := &batch.CommandError{Command: "sbatch", Code: code, Text: said, Err: errors.New("exit status")}
		err := explain(e)
		if text := err.Error(); text == "" || strings.ContainsAny(text, "\n\r\x00\x1b") || len(text) > 4000 {
			t.Errorf("%q", text)
		}
		if inDoubt(err) != inDoubt(e) {
			t.Error("explaining changes the doubt")
		}
	})
}
