package main

import (
	"cmp"
	"fmt"
	"io"
	"strings"

	"sextant/pkg/cliargs"
	"sextant/pkg/dataset"
	"sextant/pkg/plan"
	"sextant/pkg/spec"
	"sextant/pkg/tokenizer"

	"github.com/urfave/cli/v2"
)

// datasetDetail is a dataset, and a row of it as the model is given it.
type datasetDetail struct {
	Version int `json:"version"`
	datasetView
	Prompt  string       `json:"prompt"` // six hex digits of its configuration
	FewShot spec.FewShot `json:"few_shot"`
	Post    []string     `json:"post,omitempty"` // post-processors of what is generated, in order
	Row     *rowView     `json:"row,omitempty"`  // not of a rolling dataset
}

// rowView is a row.
type rowView struct {
	Row      int        `json:"row"`             // its number, from 0
	Examples int        `json:"examples"`        // in its context
	Gold     []string   `json:"gold"`            // answers that count as right
	Parts    []partView `json:"parts"`           // of the prompts
	Limit    int        `json:"limit,omitempty"` // tokens that the model may be given; absent: no model was named
	Fits     string     `json:"fits,omitempty"`  // whether the row keeps to it, in words
}

// partView is a prompt, or a continuation of one.
type partView struct {
	Name   string `json:"name"`
	Text   string `json:"text"`
	Tokens int    `json:"tokens,omitempty"` // of the whole sequence that ends with it
}

// reader is the model that a prompt is shown for.
type reader struct {
	roles *dataset.Roles
	tok   *tokenizer.Tokenizer
	limit int // tokens of a sequence
}

// readerOf opens the model that --model names; nil: none.
func readerOf(c *cli.Context, s *shelf) (*reader, error) {
	name := c.String("model")
	if name == "" {
		return nil, nil
	}
	m := spec.Model{Abbr: name, Path: name}
	if s.spec != nil {
		for _, of := range s.spec.Models {
			if of.Abbr == name {
				m = of
			}
		}
	}
	f, err := plan.OpenModel(&m)
	if err != nil {
		return nil, badInput{err}
	}
	defer f.Checkpoint.Close()
	roles, err := plan.RolesOf(&m)
	if err != nil {
		return nil, badInput{err}
	}
	return &reader{roles: roles, tok: f.Tokenizer, limit: cmp.Or(m.MaxSeqLen, f.Checkpoint.Config().MaxPositions)}, nil
}

// showDataset prints a dataset in full, and what the model is given for one row, part by part.
func (e env) showDataset(c *cli.Context, s *shelf, d spec.Dataset) error {
	d = d.WithDefaults()
	set, err := dataset.Open(d, 0)
	if err != nil {
		return badInput{err}
	}
	to, err := readerOf(c, s)
	if err != nil {
		return err
	}
	if to == nil {
		to = &reader{}
	}
	rows := set.Len()
	v := datasetDetail{Version: jsonVersion, datasetView: describe(d), Prompt: dataset.PromptHash(d, to.roles), FewShot: d.FewShot, Post: d.Post}
	v.Rows, v.Found = &rows, 1
	if d.Mode != spec.Rolling {
		item, err := set.Item(c.Int("row"), to.roles)
		if err != nil {
			return cliargs.Usagef("%w", err)
		}
		row := to.row(d, item)
		v.Row = &row
	}
	if c.Bool("json") {
		return e.printJSON(v)
	}
	v.print(e.stdout)
	if d.Mode == spec.Rolling {
		doc := set.Documents()[0]
		_, err = fmt.Fprintf(e.stdout, "rolling perplexity (%s, %d tokens a window) of %d bytes, %d words, beginning\n%.200s\n",
			d.Rolling.Convention, d.Rolling.SeqLen, doc.Bytes, doc.Words, doc.Text)
	}
	return err
}

// row renders a row for the model.
func (r *reader) row(d spec.Dataset, it *dataset.Item) rowView {
	v := rowView{Row: it.Row, Examples: it.Examples(), Gold: it.Gold}
	longest := func(examples int) (most int, parts []partView) {
		for i, p := range it.Prompts(examples) {
			n := r.count(p, "")
			most = max(most, n)
			of := func(what string, label int) string { return what + " of label " + it.Labels[label] }
			name := "prompt"
			if own := d.Mode == spec.PPL || len(p.Continuations) < len(it.Labels); own {
				name = of(name, i)
			}
			parts = append(parts, partView{name, p.Text, n})
			for j, continuation := range p.Continuations {
				n := r.count(p, continuation)
				most = max(most, n)
				parts = append(parts, partView{of("continuation", i+j), continuation, n})
			}
		}
		return most, parts
	}
	most, parts := longest(it.Examples())
	v.Parts = parts
	if r.tok == nil {
		return v
	}
	v.Limit = r.limit
	if d.Mode == spec.Gen {
		v.Limit -= d.Gen.MaxOutLen
	}
	n := it.Examples()
	for most > v.Limit && n > 0 {
		n--
		most, _ = longest(n)
	}
	switch {
	case most > v.Limit && d.Truncate == "left":
		v.Fits = fmt.Sprintf("cut: without examples it has %d tokens, of which the first %d are left out", most, most-v.Limit)
	case most > v.Limit:
		v.Fits = fmt.Sprintf("too long: without examples it has %d tokens; truncate = \"left\" would cut it", most)
	case n < it.Examples():
		v.Fits = fmt.Sprintf("with %d of %d examples: %d tokens", n, it.Examples(), most)
	default:
		v.Fits = fmt.Sprintf("whole: %d tokens", most)
	}
	return v
}

func (r *reader) count(p dataset.Prompt, continuation string) int {
	switch {
	case r.tok == nil:
		return 0
	case p.Rendered:
		return len(r.tok.EncodeRendered(p.Text + continuation))
	}
	return len(r.tok.EncodePrompt(p.Text + continuation))
}

func (v *datasetDetail) print(w io.Writer) {
	line := func(what, text string) {
		if text != "" {
			fmt.Fprintf(w, "%-12s %s\n", what, text)
		}
	}
	line(v.Name, v.Description)
	line("source", v.Source)
	line("metric", strings.Join(append([]string{v.Metric}, v.Metrics...), ", "))
	line("post", strings.Join(v.Post, " | "))
	line("few-shot", shots(v.FewShot))
	line("version", v.Prompt+" (of the prompt, as in summaries)")
	for _, f := range v.Files {
		line(f.Role, f.Path+map[bool]string{true: "", false: " (not found)"}[f.Found])
	}
	if v.Row == nil {
		return
	}
	fmt.Fprintf(w, "row %d of %d, mode %s, %d in-context examples, gold %s\n", v.Row.Row, *v.Rows, v.Mode, v.Row.Examples, strings.Join(v.Row.Gold, " | "))
	if v.Row.Limit > 0 {
		fmt.Fprintf(w, "limit %d tokens, %s\n", v.Row.Limit, v.Row.Fits)
	}
	for _, p := range v.Row.Parts {
		tokens := ""
		if v.Row.Limit > 0 {
			tokens = fmt.Sprintf(" (%s)", count(p.Tokens, "token"))
		}
		fmt.Fprintf(w, "--- %s%s\n%s\n", p.Name, tokens, p.Text)
	}
}

// shots says in words where examples come from.
func shots(f spec.FewShot) string {
	switch f.Kind {
	case "fixed":
		return fmt.Sprintf("%s of the train split: %s", count(len(f.IDs), "row"), strings.Trim(fmt.Sprint(f.IDs), "[]"))
	case "random":
		return fmt.Sprintf("%d random rows of the train split, seed %d", f.K, f.Seed)
	}
	return "none"
}
