package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"sextant/pkg/bench"
	"sextant/pkg/cliargs"
	"sextant/pkg/worker"
)

func benchCommand(stderr io.Writer) *cli.Command {
	return &cli.Command{
		Name:      "bench",
		Usage:     "measure how fast a model is evaluated here, beside what the machine can do at best",
		ArgsUsage: "[MODEL]",
		Description: "MODEL is a directory with config.json and safetensors; --shape takes random weights of a known size instead, which lie in memory\n" +
			"alone. The works are " + strings.Join(bench.Usual(), ", ") + ": a prompt; tokens\n" +
			"generated one sequence at a time and 16 at once; the ranking of 4 choices after 600 shared and 100 own tokens, and the same with\n" +
			"nothing to share; a rolling perplexity. Only when named: " + strings.Join(bench.Works()[len(bench.Usual()):], ", ") + ": prompts\n" +
			"packed into passes; 64 sequences at once; windows of 2048 tokens; one layer's attention alone. Each is told with its\n" +
			"bound, arithmetic or memory, and its share of the best that this machine was seen to do. --json is for programs;\n" +
			"docs/json.md has its fields. The run takes minutes with large models: --work, --repeat and --rows make it shorter.\n\n" +
			"Example: worker bench --shape llama-160m --dtype bf16 --threads 2",
		Flags: append([]cli.Flag{
			&cli.StringFlag{Name: "shape", Usage: "random weights of the `SHAPE`: " + strings.Join(bench.Shapes(), ", ")},
			&cli.StringFlag{Name: "dtype", Value: "bf16", Usage: "`DTYPE` of the random weights: " + strings.Join(bench.DTypes(), ", ")},
			&cli.StringFlag{Name: "quantize", Usage: "round the layers' weights to nearest: `FORMAT` i8 or i4gN, 4 bits in groups of N; the output matrix to i8"},
			&cli.StringFlag{Name: "save", Usage: "only write the random weights to `DIR`, for another program to load"},
			&cli.StringSliceFlag{Name: "work", Usage: "measure only these `WORKS`, comma-separated", DefaultText: "the usual ones"},
			&cli.IntFlag{Name: "tokens", Usage: "`TOKENS` of a pass at most", DefaultText: "what a worker's engine takes"},
			&cli.IntFlag{Name: "prompt", Value: 512, Usage: "`TOKENS` of the prompt"},
			&cli.IntFlag{Name: "gen", Value: 128, Usage: "`TOKENS` generated for each sequence"},
			&cli.IntFlag{Name: "rows", Value: 32, Usage: "`ROWS` that are ranked; a sixteenth of them where nothing is shared"},
			&cli.IntFlag{Name: "windows", Value: 4, Usage: "`WINDOWS` of a rolling perplexity"},
			&cli.IntFlag{Name: "repeat", Value: 5, Usage: "`SAMPLES` of each work"},
			&cli.DurationFlag{Name: "min-time", Value: 500 * time.Millisecond, Usage: "a sample lasts `DURATION` at least"},
			jsonFlag("print one JSON document"),
			&cli.StringFlag{Name: "record", Usage: "also write the figures into the table \"bench\" of the Markdown `FILE`"},
			&cli.StringFlag{Name: "table", Usage: "measure nothing: take rows from standard input into the `TABLE` of the file of --record"},
		}, backendFlags()...),
		Action: func(c *cli.Context) error { return runBench(c, stderr) },
	}
}

func runBench(c *cli.Context, stderr io.Writer) error {
	if c.IsSet("table") {
		return takeRows(c)
	}
	o, err := benchOptions(c)
	if err != nil {
		return err
	}
	if dir := c.String("save"); dir != "" {
		if err := bench.Save(dir, o.Shape, o.DType); err != nil {
			return cliargs.Usagef("bench: --save: %v", err)
		}
		return nil
	}
	file := c.String("record")
	if file != "" { // before the minutes of measuring
		if err := record(file, "bench", nil); err != nil {
			return err
		}
	}
	o.Progress = func(text string) { fmt.Fprintln(stderr, "worker bench:", text) }
	r, err := bench.Run(c.Context, o)
	if err != nil {
		return err
	}
	if file != "" {
		if err := record(file, "bench", r.Rows(asked(c))); err != nil {
			return err
		}
	}
	if !c.Bool("json") {
		return r.Table(c.App.Writer)
	}
	enc := json.NewEncoder(c.App.Writer)
	enc.SetIndent("", "  ")
	return enc.Encode(r)
}

// asked is the command line, as far as it says what is measured.
func asked(c *cli.Context) string {
	words := []string{"worker bench"}
	if c.NArg() > 0 {
		words = append(words, filepath.Base(c.Args().First()))
	}
	for _, f := range c.Command.Flags {
		switch name := f.Names()[0]; {
		case name == "json" || name == "record" || !c.IsSet(name):
		case name == "work":
			words = append(words, "--work", strings.Join(c.StringSlice(name), ","))
		default:
			words = append(words, "--"+name, fmt.Sprint(c.Value(name)))
		}
	}
	return strings.Join(words, " ")
}

// takeRows is what scripts record their figures with.
func takeRows(c *cli.Context) error {
	if c.String("record") == "" || c.NArg() > 0 || c.String("shape") != "" {
		return cliargs.Usagef("bench: --table goes with --record, and with no model")
	}
	data, err := io.ReadAll(c.App.Reader)
	if err != nil {
		return fmt.Errorf("reading rows: %w", err)
	}
	var rows []string
	for line := range strings.Lines(string(data)) {
		if line = strings.TrimSpace(line); line != "" {
			rows = append(rows, line)
		}
	}
	return record(c.String("record"), c.String("table"), rows)
}

func record(file, table string, rows []string) error {
	doc, err := os.ReadFile(file)
	if err != nil {
		return cliargs.Usagef("bench: --record: %v", err)
	}
	out, err := bench.MergeRows(string(doc), table, rows)
	if err != nil {
		return cliargs.Usagef("bench: --record %s: %v", file, err)
	}
	return os.WriteFile(file, []byte(out), 0o666)
}

// benchOptions reads the command line; what of it can hold on no machine is a usage error.
func benchOptions(c *cli.Context) (bench.Options, error) {
	o := bench.Options{Shape: c.String("shape"), DType: c.String("dtype"), Quantize: c.String("quantize"), Works: c.StringSlice("work"),
		Prompt: c.Int("prompt"), Gen: c.Int("gen"), Rows: c.Int("rows"), Windows: c.Int("windows"),
		Tokens: c.Int("tokens"), Repeat: c.Int("repeat"), MinTime: c.Duration("min-time"), Backend: c.String("backend"),
		Threads: threads(c, os.Getenv), Memory: worker.Memory()}
	switch {
	case c.NArg() == 0 && o.Shape == "":
		return o, cliargs.Usagef("bench: missing argument MODEL, or --shape with one of %s", strings.Join(bench.Shapes(), ", "))
	case c.NArg() > 0 && o.Shape != "":
		return o, cliargs.Usagef("bench: --shape is instead of a MODEL: %q is too much", c.Args().First())
	case c.IsSet("save") && o.Quantize != "":
		return o, cliargs.Usagef("bench: --save writes weights as they are, without --quantize")
	case c.NArg() > 0 && (c.IsSet("dtype") || c.IsSet("save")):
		return o, cliargs.Usagef("bench: --dtype and --save go with --shape: a MODEL has its weights")
	case c.NArg() > 0:
		args, err := cliargs.Positional(c, "MODEL")
		if err != nil {
			return o, err
		}
		o.Path = args[0]
	}
	if err := checkBackend(c); err != nil {
		return o, err
	}
	o.Backend, _ = worker.ChooseBackend(o.Backend)
	if err := o.Check(); err != nil {
		return o, cliargs.Usagef("bench: %v", err)
	}
	return o, nil
}
