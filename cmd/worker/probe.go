package main

import (
	"bufio"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"strconv"
	"strings"
	"text/tabwriter"

	"github.com/urfave/cli/v2"

	"sextant/kernels"
	"sextant/pkg/cliargs"
	"sextant/pkg/worker"
)

func logitsCommand() *cli.Command {
	return &cli.Command{
		Name:      "logits",
		Usage:     "print a model's logits for a list of tokens",
		ArgsUsage: "MODEL",
		Description: "MODEL is a directory with config.json and safetensors. Prints JSON [tokens][vocabulary], or writes it as\n" +
			"little-endian float32 with --raw, to compare with any other implementation.\n\n" +
			"Example: worker logits examples/pocket/model --ids 1,447,528 --raw logits.f32",
		Flags: append([]cli.Flag{
			&cli.StringFlag{Name: "ids", Usage: "comma-separated token `IDS` (required)"},
			&cli.StringFlag{Name: "raw", Usage: "write float32 [tokens, vocabulary] to `FILE`"},
		}, backendFlags()...),
		Action: logits,
	}
}

func logits(c *cli.Context) error {
	args, err := arguments(c, []string{"ids"}, "MODEL")
	if err != nil {
		return err
	}
	ids, err := parseIDs(c.String("ids"))
	if err != nil {
		return err
	}
	p := worker.Probe{Path: args[0], Backend: c.String("backend"), Threads: threads(c, os.Getenv)}
	if c.String("raw") == "" {
		return printLogits(c.App.Writer, p, ids)
	}
	f, err := os.Create(c.String("raw"))
	if err != nil {
		return cliargs.Usagef("logits: --raw: %v", err)
	}
	w := bufio.NewWriter(f)
	err = p.Logits(ids, func(row []float32) error { return binary.Write(w, binary.LittleEndian, row) })
	return errors.Join(err, w.Flush(), f.Close())
}

// printLogits writes a JSON list of lists; what is no number is null there.
func printLogits(out io.Writer, p worker.Probe, ids []int32) error {
	w := bufio.NewWriter(out)
	start := "["
	err := p.Logits(ids, func(row []float32) error {
		b := append([]byte(start), '[')
		start = ",\n"
		for i, x := range row {
			if i > 0 {
				b = append(b, ',')
			}
			if f := float64(x); math.IsNaN(f) || math.IsInf(f, 0) {
				b = append(b, "null"...)
			} else {
				b = strconv.AppendFloat(b, f, 'g', -1, 32)
			}
		}
		_, err := w.Write(append(b, ']'))
		return err
	})
	if err != nil {
		return err
	}
	fmt.Fprintln(w, "]")
	return w.Flush()
}

func parseIDs(list string) ([]int32, error) {
	var ids []int32
	for _, s := range strings.Split(list, ",") {
		id, err := strconv.ParseInt(strings.TrimSpace(s), 10, 32)
		if err != nil || id < 0 {
			return nil, cliargs.Usagef("logits: --ids: %q is no token id", s)
		}
		ids = append(ids, int32(id))
	}
	return ids, nil
}

func tokenizeCommand() *cli.Command {
	return &cli.Command{
		Name:      "tokenize",
		Usage:     "print the token ids of a text",
		ArgsUsage: "MODEL",
		Description: "MODEL is a model's directory or a tokenizer's file. Prints a JSON list.\n\n" +
			"Example: worker tokenize examples/pocket/model --text 'One day Anna' --prompt",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "text", Usage: "the `TEXT`"},
			&cli.StringFlag{Name: "file", Usage: "read the text from `FILE`; -: standard input"},
			&cli.BoolFlag{Name: "prompt", Usage: "as a prompt: special tokens in the text count, BOS and EOS as the tokenizer adds them"},
		},
		Action: func(c *cli.Context) error {
			args, err := cliargs.Positional(c, "MODEL")
			if err != nil {
				return err
			}
			text, err := textOf(c)
			if err != nil {
				return err
			}
			ids, err := worker.Tokenize(args[0], text, c.Bool("prompt"))
			if err != nil {
				return err
			}
			return json.NewEncoder(c.App.Writer).Encode(append([]int32{}, ids...))
		},
	}
}

func textOf(c *cli.Context) (string, error) {
	if c.IsSet("text") == c.IsSet("file") {
		return "", cliargs.Usagef("tokenize: give the text by one of --text and --file")
	}
	if c.IsSet("text") {
		return c.String("text"), nil
	}
	read := func() ([]byte, error) { return os.ReadFile(c.String("file")) }
	if c.String("file") == "-" {
		read = func() ([]byte, error) { return io.ReadAll(os.Stdin) }
	}
	data, err := read()
	if err != nil {
		return "", cliargs.Usagef("tokenize: --file: %v", err)
	}
	return string(data), nil
}

func infoCommand() *cli.Command {
	return &cli.Command{
		Name:        "info",
		Usage:       "show what this machine offers a worker",
		Description: "Example: worker info",
		Flags:       backendFlags()[1:],
		Action: func(c *cli.Context) error {
			if _, err := cliargs.Positional(c); err != nil {
				return err
			}
			w := tabwriter.NewWriter(c.App.Writer, 0, 0, 2, ' ', 0)
			chosen := "cpu"
			for _, name := range kernels.Backends() {
				if describe(w, name, threads(c, os.Getenv)) && name == "cuda" {
					chosen = name
				}
			}
			fmt.Fprintf(w, "backend auto\t%s\n", chosen)
			fmt.Fprintf(w, "memory left\t%s\n", gibibytes(worker.Memory()))
			return w.Flush()
		},
	}
}

// mostDevices bounds the search for the last one of a backend.
const mostDevices = 64

// describe says what a backend found, or why it cannot be used; of cuda, where its library is, and each device that this process may see. It
// tells whether the first can be used.
func describe(w io.Writer, backend string, threads int) (usable bool) {
	if backend != "cuda" {
		f := kernels.Probe(backend, kernels.Options{Threads: threads})
		fmt.Fprintf(w, "backend %s\t%s\n", backend, found(f))
		return f.Err == nil
	}
	if path, err := kernels.CUDALibrary(); err == nil {
		fmt.Fprintf(w, "cuda library\t%s\n", path)
	}
	for i := range mostDevices {
		f := kernels.Probe(backend, kernels.Options{Device: i})
		if i > 0 && errors.Is(f.Err, kernels.ErrInvalid) {
			return usable // there is none of this number
		}
		usable = usable || i == 0 && f.Err == nil
		name := backend
		if f.Err == nil || i > 0 {
			name = fmt.Sprintf("%s, device %d", backend, i)
		}
		fmt.Fprintf(w, "backend %s\t%s\n", name, found(f))
		if f.Err != nil && i == 0 {
			return false // what is wrong is not this device's alone, or it is the only one
		}
	}
	return usable
}

func found(f kernels.Found) string {
	if f.Err != nil {
		return "not usable: " + f.Err.Error()
	}
	text := fmt.Sprintf("%s; %s", f.Info.Name, f.Info.Features)
	if f.Info.ComputeCapability > 0 {
		text += fmt.Sprintf("; compute capability %d.%d", f.Info.ComputeCapability/10, f.Info.ComputeCapability%10)
	} else {
		text += fmt.Sprintf("; threads %d", f.Info.Threads)
	}
	return fmt.Sprintf("%s; memory %s, free %s", text, gibibytes(f.Info.Memory), gibibytes(f.Info.Free))
}

func gibibytes(n int64) string {
	if n <= 0 {
		return "unknown"
	}
	return fmt.Sprintf("%.1f GiB", float64(n)/(1<<30))
}
