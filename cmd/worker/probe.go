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

	"github.com/urfave/cli/v2"

	"sextant/pkg/cliargs"
	"sextant/pkg/worker"
)

func logitsCommand() *cli.Command {
	return &cli.Command{
		Name:      "logits",
		Usage:     "print a model's logits for a list of tokens",
		ArgsUsage: "MODEL",
		Description: "MODEL is a directory with config.json and safetensors. Prints a JSON list of lists, [tokens][vocabulary], or writes it as\n" +
			"little-endian float32 with --raw, to compare with any other implementation.\n\n" +
			"Example: worker logits examples/pocket/model --ids 1,447,528 --raw logits.f32",
		Flags: append([]cli.Flag{
			&cli.StringFlag{Name: "ids", Usage: "comma-separated token `IDS` (required)"},
			&cli.StringFlag{Name: "raw", Usage: "write float32 [tokens, vocabulary] to `FILE`"},
			jsonFlag("print one JSON document, with the list and the tokens in it"),
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
	if c.Bool("json") && c.IsSet("raw") {
		return cliargs.Usagef("logits: --json prints, and --raw writes a file; leave one of them out")
	}
	if c.String("raw") == "" {
		return printLogits(c.App.Writer, p, ids, c.Bool("json"))
	}
	f, err := os.Create(c.String("raw"))
	if err != nil {
		return cliargs.Usagef("logits: --raw: %v", err)
	}
	w := bufio.NewWriter(f)
	err = p.Logits(ids, func(row []float32) error { return binary.Write(w, binary.LittleEndian, row) })
	return errors.Join(err, w.Flush(), f.Close())
}

// logitsView is a model's logits for a list of tokens.
type logitsView struct {
	Version int          `json:"version"`
	IDs     []int32      `json:"ids"`    // the tokens
	Logits  [][]*float32 `json:"logits"` // [tokens][vocabulary]; null: no number
}

// printLogits writes a JSON list of lists, by itself or as that of a logitsView, row for row as it comes; what is no number is null there.
func printLogits(out io.Writer, p worker.Probe, ids []int32, whole bool) error {
	w := bufio.NewWriter(out)
	start, end := "[", "]"
	if whole {
		list, err := json.Marshal(ids)
		if err != nil {
			return err
		}
		start, end = fmt.Sprintf("{\"version\":%d,\"ids\":%s,\"logits\":[", jsonVersion, list), "]}"
	}
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
	fmt.Fprintln(w, end)
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
		Description: "MODEL is a model's directory or a tokenizer's file. Prints a JSON list of ids.\n\n" +
			"Example: worker tokenize examples/pocket/model --text 'One day Anna' --prompt",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "text", Usage: "the `TEXT`"},
			&cli.StringFlag{Name: "file", Usage: "read the text from `FILE`; -: standard input"},
			&cli.BoolFlag{Name: "prompt", Usage: "as a prompt: special tokens in the text count, BOS and EOS as the tokenizer adds them", DisableDefaultText: true},
			jsonFlag("print one JSON document, with the list in it"),
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
			ids = append([]int32{}, ids...)
			if c.Bool("json") {
				return json.NewEncoder(c.App.Writer).Encode(tokensView{jsonVersion, ids})
			}
			return json.NewEncoder(c.App.Writer).Encode(ids)
		},
	}
}

// tokensView is a text in tokens.
type tokensView struct {
	Version int     `json:"version"`
	IDs     []int32 `json:"ids"`
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
