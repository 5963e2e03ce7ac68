package cliargs

import (
	"bytes"
	"slices"
	"strings"
	"testing"

	"github.com/urfave/cli/v2"
	"pgregory.net/rapid"
)

type seen struct {
	part, job  string
	slurm, top bool
	n          int
	ids        []string
	args       []string
}

func app(s *seen) *cli.App {
	flags := []cli.Flag{&cli.StringFlag{Name: "partition", Aliases: []string{"p"}}, &cli.BoolFlag{Name: "slurm"},
		&cli.IntFlag{Name: "n"}, &cli.StringSliceFlag{Name: "id"}}
	read := func(c *cli.Context) error {
		s.part, s.slurm, s.n, s.ids, s.args = c.String("partition"), c.Bool("slurm"), c.Int("n"), c.StringSlice("id"), c.Args().Slice()
		s.job, s.top = c.String("job"), c.Bool("top")
		return nil
	}
	a := &cli.App{Name: "submit", Version: "1", Flags: append(flags, &cli.BoolFlag{Name: "top"}), Action: read, Writer: &bytes.Buffer{}, ErrWriter: &bytes.Buffer{},
		Commands: []*cli.Command{{Name: "resume", Aliases: []string{"r"}, Flags: []cli.Flag{&cli.StringFlag{Name: "job"}, &cli.BoolFlag{Name: "slurm"}}, Action: read,
			Subcommands: []*cli.Command{{Name: "deep", Flags: []cli.Flag{&cli.StringFlag{Name: "job"}}, Action: read}}}}}
	Harden(a)
	return a
}

func TestReorder(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{"eval.toml --slurm -p llm", "--slurm -p llm eval.toml"},
		{"--slurm -p llm eval.toml", "--slurm -p llm eval.toml"},
		{"eval.toml -p=llm x", "-p=llm eval.toml x"},
		{"eval.toml -n -1", "-n -1 eval.toml"},
		{"eval.toml -- --slurm", "eval.toml --slurm"},
		{"-- --slurm eval.toml", "-- --slurm eval.toml"},
		{"- --slurm", "--slurm -"},
		{"--top resume dir --job 7 --slurm", "--top resume --job 7 --slurm dir"},
		{"resume deep x --job 7", "resume deep --job 7 x"},
		{"r dir --job 7", "r --job 7 dir"},
		{"eval.toml resume --slurm", "--slurm eval.toml resume"},
		{"eval.toml --bogus --slurm", "--bogus --slurm eval.toml"},
		{"eval.toml -p", "-p eval.toml"},
		{"eval.toml --help", "--help eval.toml"},
		{"", ""},
	} {
		got, err := Reorder(app(&seen{}), append([]string{"submit"}, strings.Fields(c.in)...))
		if err != nil || strings.Join(got[1:], " ") != c.want {
			t.Errorf("%q: got %q (%v), want %q", c.in, got[1:], err, c.want)
		}
	}
	if _, err := Reorder(app(&seen{}), []string{"submit", "e.toml", "-p", "--slurm"}); !IsUsage(err) || !strings.Contains(err.Error(), "-p needs a value") {
		t.Errorf("a flag taken as a value: %v", err)
	}
}

// What a command sees does not depend on where the flags stand among the positionals.
func TestReorderAnyPlace(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		groups := rapid.Permutation([][]string{{"--slurm"}, {"-p", "llm"}, {"--n=4"}, {"--id", "a"}, {"e.toml"}, {"x"}}).Draw(t, "order")
		args := append([]string{"submit"}, slices.Concat(groups...)...)
		var s seen
		a := app(&s)
		got, err := Reorder(a, args)
		if err == nil {
			err = a.Run(got)
		}
		if err != nil {
			t.Fatal(err)
		}
		slices.Sort(s.args)
		if s.part != "llm" || !s.slurm || s.n != 4 || !slices.Equal(s.ids, []string{"a"}) || !slices.Equal(s.args, []string{"e.toml", "x"}) {
			t.Fatalf("%v gave %+v", args, s)
		}
	})
}

func TestUsageErrorsAreValues(t *testing.T) {
	for _, c := range []struct{ args, want string }{
		{"submit --bogus", "not defined: -bogus"},
		{"submit resume --bogus", "not defined: -bogus"},
		{"submit --n x", "invalid value"},
	} {
		err := app(&seen{}).Run(strings.Fields(c.args))
		if !IsUsage(err) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", c.args, err)
		}
	}
	a := &cli.App{Name: "worker", Commands: []*cli.Command{{Name: "run", Action: func(c *cli.Context) error {
		if err := Require(c, "job"); err != nil {
			return err
		}
		_, err := Positional(c, "DIR")
		return err
	}, Flags: []cli.Flag{&cli.StringFlag{Name: "job"}}}}}
	Harden(a)
	for args, want := range map[string]string{"worker": "needs a command: run", "worker walk": `unknown command "walk"`,
		"worker run --job 1": "missing argument DIR", "worker run --job 1 a b": `unexpected argument "b"`, "worker run --job 1 a": "",
		"worker run a": "run needs --job"} {
		err := a.Run(strings.Fields(args))
		if want == "" && err != nil || want != "" && (!IsUsage(err) || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: %v, want %q", args, err, want)
		}
	}
}
