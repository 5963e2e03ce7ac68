package main

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/urfave/cli/v2"

	"sextant/pkg/bench"
)

func TestBench(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "model")
	var out, errs bytes.Buffer
	if code := run(context.Background(), strings.Fields("worker bench --shape tiny --dtype f16 --save "+dir), &out, &errs); code != 0 || out.Len() > 0 {
		t.Fatalf("exit %d: %s%s", code, out.String(), errs.String())
	}
	args := "worker bench " + dir + " --json --work prefill,decode-1 --repeat 2 --prompt 32 --gen 4 --min-time 1ms --threads 1"
	if code := run(context.Background(), strings.Fields(args), &out, &errs); code != 0 {
		t.Fatalf("exit %d: %s", code, errs.String())
	}
	var r bench.Report
	dec := json.NewDecoder(&out)
	dec.DisallowUnknownFields()
	if err := dec.Decode(&r); err != nil {
		t.Fatal(err)
	}
	if r.Version != bench.Version || len(r.Works) != 2 || r.Works[0].Units != 32 || r.Works[1].Units != 4 || len(r.Works[1].Samples) != 2 ||
		r.Model.DType != "f16" || r.Machine.Threads != 1 || r.Model.Random {
		t.Errorf("%+v", r)
	}
	if want := "worker bench: round 2 of 2: decode-1\nworker bench: round 2 of 2: decode-1: "; !strings.Contains(errs.String(), want) ||
		!strings.HasSuffix(errs.String(), " tokens/s\n") {
		t.Errorf("stderr is without %q, or its end:\n%s", want, errs.String())
	}
}

// --record writes a row a work, with the command that makes it anew: its flags in the order of the help. --table takes those of others.
func TestBenchRecord(t *testing.T) {
	file := filepath.Join(t.TempDir(), "doc.md")
	doc := "Text.\n<!-- rows: bench, key: 3 -->\n" + strings.Repeat("| a ", 8) + "|\n" + strings.Repeat("|---", 8) + "|\n<!-- end of rows -->\n" +
		"<!-- rows: peers, key: 1 -->\n| a | b |\n|---|---|\n| x | old |\n<!-- end of rows -->\n"
	if err := os.WriteFile(file, []byte(doc), 0o666); err != nil {
		t.Fatal(err)
	}
	const args = "--shape tiny --work prefill,decode-1 --prompt 32 --gen 4 --repeat 1 --min-time 1ms --threads 1"
	var out, errs bytes.Buffer
	if code := run(context.Background(), strings.Fields("worker bench "+args+" --json --record "+file), &out, &errs); code != 0 {
		t.Fatalf("exit %d: %s", code, errs.String())
	}
	app := &cli.App{Reader: strings.NewReader("| x | new |\n\n| y | more |\n"), Commands: []*cli.Command{benchCommand(&errs)}}
	if err := app.Run([]string{"worker", "bench", "--record", file, "--table", "peers"}); err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	text, found := strings.CutSuffix(string(got), "| x | new |\n| y | more |\n<!-- end of rows -->\n")
	if !found || !strings.HasPrefix(text, "Text.\n") || strings.Count(text, "`worker bench "+args+"` |\n") != 4 {
		t.Errorf("got\n%s", got)
	}
}

func TestBenchRefused(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o666); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		args string
		code int
		text string
	}{
		{"", 2, "missing argument MODEL, or --shape with one of llama-160m, "},
		{"m --shape tiny", 2, `--shape is instead of a MODEL: "m"`},
		{"m n", 2, `unexpected argument "n"`},
		{"m --dtype f32", 2, "go with --shape"},
		{"--shape llama-3b", 2, `no shape "llama-3b"; there are llama-160m, `},
		{"--shape tiny --dtype int8", 2, `cannot be "int8"; they can be bf16, f16, f32`},
		{"--shape tiny --work walk", 2, `no work "walk"; there are prefill, `},
		{"--shape tiny --repeat 0", 2, "repeat is 0: want 1 to"},
		{"--shape tiny --min-time 0s", 2, "a sample of 0s"},
		{"--shape tiny --backend tpu", 2, `no backend "tpu"`},
		{"--shape tiny --save " + file, 2, "--save: mkdir"},
		{"--table peers", 2, "--table goes with --record"},
		{"m --table peers --record " + file, 2, "and with no model"},
		{"--shape tiny --record " + file, 2, "no line <!-- rows: bench, key: N -->"},
		{"/nowhere", 64, "/nowhere"},
	} {
		var out, errs bytes.Buffer
		code := run(context.Background(), append([]string{"worker", "bench"}, strings.Fields(c.args)...), &out, &errs)
		if code != c.code || !strings.Contains(errs.String(), c.text) || out.Len() > 0 {
			t.Errorf("worker bench %s: exit %d\nstdout: %s\nstderr: %s\nwant exit %d and %q", c.args, code, out.String(), errs.String(), c.code, c.text)
		}
	}
}
