package main

import (
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"

	"github.com/urfave/cli/v2"

	"sextant/pkg/cliargs"
	"sextant/pkg/dataset"
	"sextant/pkg/result"
	"sextant/pkg/spec"
	"sextant/pkg/worker"
)

func quantizeCommand(stderr io.Writer) *cli.Command {
	return &cli.Command{
		Name:      "quantize",
		Usage:     "make one quantized model, here and now",
		ArgsUsage: "SPEC",
		Description: "Quantizes a model of the spec by one of its [[quant]] recipes into a directory and prints what it made, as one JSON document. Stopped and called again\n" +
			"it goes on at the block it was at. It makes no exports and needs no run: submit quantize SPEC does all recipes, with many workers.\n\n" +
			"Example: worker quantize examples/pocket/quant.toml --recipe awq-w3g128 --out pocket-awq",
		Flags: append([]cli.Flag{
			&cli.StringFlag{Name: "model", Usage: "`ABBR` of the model", DefaultText: "the only one"},
			&cli.StringFlag{Name: "recipe", Usage: "`NAME` of the recipe", DefaultText: "the only one"},
			&cli.StringFlag{Name: "out", Usage: "`DIR` that is made (required)"},
		}, backendFlags()...),
		Action: func(c *cli.Context) error { return quantize(c, stderr) },
	}
}

func quantize(c *cli.Context, stderr io.Writer) error {
	args, err := arguments(c, []string{"out"}, "SPEC")
	if err != nil {
		return err
	}
	catalog, err := dataset.NewCatalog()
	if err != nil {
		return err
	}
	s, err := spec.Load(args[0], spec.Options{Catalog: catalog})
	if err != nil {
		return cliargs.Usagef("%v", err)
	}
	m, err := one("model", c.String("model"), s.Models, func(m spec.Model) string { return m.Abbr })
	if err != nil {
		return err
	}
	q, err := one("recipe", c.String("recipe"), s.Quant, func(q spec.Quant) string { return q.Name })
	if err != nil {
		return err
	}
	out, err := filepath.Abs(c.String("out"))
	if err != nil {
		return err
	}
	made, err := worker.QuantizeTo(c.Context, m, q, out, worker.Options{Backend: c.String("backend"), Threads: threads(c, os.Getenv),
		Log: slog.New(slog.NewTextHandler(stderr, nil))})
	if err != nil {
		return err
	}
	e := json.NewEncoder(c.App.Writer)
	e.SetIndent("", "  ")
	return e.Encode(quantizedView{jsonVersion, out, made})
}

// quantizedView is a quantized model.
type quantizedView struct {
	Version int    `json:"version"`
	Dir     string `json:"dir"`
	result.Manifest
}

// one finds an entry of the spec by its name, or the only one where none is given.
func one[T any](what, name string, all []T, of func(T) string) (none T, err error) {
	var names []string
	for _, x := range all {
		if of(x) == name || name == "" && len(all) == 1 {
			return x, nil
		}
		names = append(names, of(x))
	}
	if len(all) == 0 {
		return none, fmt.Errorf("the spec has no %s", what)
	}
	return none, cliargs.Usagef("quantize: --%s %q: the spec has %s", what, name, strings.Join(names, ", "))
}
