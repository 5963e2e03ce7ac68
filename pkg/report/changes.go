package report

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/jedib0t/go-pretty/v6/text"

	"sextant/pkg/score"
	"sextant/pkg/spec"
)

// summaryWidth is how wide the before/after table of summary.txt may be before it goes on below.
const summaryWidth = 160

// changes is the before/after table of a run that quantizes: one line a variant, columns in blocks that stay together.
type changes struct {
	names  []string // of the variants
	breaks []int    // lines after which another model's begin
	blocks []block
}

// block is columns of the table: a header and a cell a variant each.
type block struct {
	heads  []string
	left   []bool     // texts stand to the left
	cells  [][]string // [column][variant]
	scores bool       // of a dataset or group
}

func (b *block) add(head string, left bool, cells []string) {
	b.heads, b.left, b.cells = append(b.heads, head), append(b.left, left), append(b.cells, cells)
}

// newChanges lays the table out: sizes first, then the perplexities, the benchmarks and their groups, each with its change. nil: the run
// does not quantize.
func newChanges(s score.Scores) *changes {
	if len(s.Variants) == 0 {
		return nil
	}
	c := &changes{}
	for i, v := range s.Variants {
		c.names = append(c.names, clean(v.Model))
		if i > 0 && v.Of != s.Variants[i-1].Of {
			c.breaks = append(c.breaks, i-1)
		}
	}
	c.blocks = append(c.blocks, sizes(s.Variants))
	if runs := runs(s.Variants); runs != nil {
		c.blocks = append(c.blocks, *runs)
	}
	for _, unit := range []score.Unit{score.Perplexity, score.Percent} {
		for _, list := range [][]score.Score{s.Scores, s.Groups} {
			c.addScores(s, list, unit)
		}
	}
	return c
}

// only leaves, of the datasets and groups, one, and counts the others.
func (c *changes) only(name string) (others int) {
	c.blocks = slices.DeleteFunc(c.blocks, func(b block) bool {
		if !b.scores || b.heads[0] == name {
			return false
		}
		others++
		return true
	})
	return others
}

// addScores adds a block a dataset or group of the unit.
func (c *changes) addScores(s score.Scores, list []score.Score, unit score.Unit) {
	var seen []string
	for _, x := range list {
		if x.Unit != unit || slices.Contains(seen, x.Dataset) {
			continue
		}
		seen = append(seen, x.Dataset)
		values, moved := make([]string, len(s.Variants)), make([]string, len(s.Variants))
		for i, v := range s.Variants {
			at := slices.IndexFunc(list, func(o score.Score) bool { return o.Model == v.Model && o.Dataset == x.Dataset })
			if at < 0 {
				continue
			}
			o := list[at]
			o.StdErr = nil // the table above has it
			values[i] = value(o)
			if d := s.Comparison(v.Model, x.Dataset, len(x.Members) > 0); d != nil {
				moved[i] = change(*d)
			}
		}
		b := block{scores: true}
		b.add(clean(x.Dataset), false, values)
		if slices.ContainsFunc(moved, func(m string) bool { return m != "" }) {
			b.add("vs pretrain", true, moved)
		}
		c.blocks = append(c.blocks, b)
	}
}

// sizes is the block of what the variants are. A "-" has its note: see variantNotes.
func sizes(variants []score.Variant) block {
	n := len(variants)
	bits, mib, ratio, seconds := make([]string, n), make([]string, n), make([]string, n), make([]string, n)
	for i, v := range variants {
		bits[i], mib[i] = "-", "-"
		if v.Bytes > 0 {
			mib[i] = mebibytes(v.Bytes)
			if base := pretrainOf(variants, v); base != nil && base.Bytes > 0 {
				ratio[i] = fmt.Sprintf("%.3fx", float64(v.Bytes)/float64(base.Bytes))
			}
		}
		if v.Bits > 0 {
			bits[i] = strconv.FormatFloat(v.Bits, 'f', 2, 64)
		}
		switch {
		case v.Position == spec.Pretrain:
		case v.Seconds <= 0:
			seconds[i] = "-"
		case v.Seconds < 100:
			seconds[i] = strconv.FormatFloat(v.Seconds, 'f', 1, 64)
		default:
			seconds[i] = strconv.FormatFloat(v.Seconds, 'f', 0, 64)
		}
	}
	var b block
	b.add("bits", false, bits)
	b.add("MiB", false, mib)
	b.add("size", false, ratio)
	b.add("seconds", false, seconds)
	return b
}

// runs is the block of what the variants computed with; nil: nothing is known.
func runs(variants []score.Variant) *block {
	var cells []string
	for _, v := range variants {
		cells = append(cells, clean(v.Runs))
	}
	if !slices.ContainsFunc(cells, func(c string) bool { return c != "" }) {
		return nil
	}
	return &block{heads: []string{"runs"}, left: []bool{true}, cells: [][]string{cells}}
}

func mebibytes(bytes int64) string { return strconv.FormatFloat(float64(bytes)/(1<<20), 'f', 2, 64) }

// pretrainOf is the untouched model of a variant, if it is measured.
func pretrainOf(variants []score.Variant, v score.Variant) *score.Variant {
	for i := range variants {
		if variants[i].Of == v.Of && variants[i].Position == spec.Pretrain {
			return &variants[i]
		}
	}
	return nil
}

// change renders a comparison: "-1.33 [-2.41, -0.26] ≠" in points, "1.0123x [1.0101, 1.0145] ≠" of perplexities, "*" after it where rows
// were left out, and "-" where there is nothing to compare.
func change(c score.Comparison) string {
	if c.Change == nil {
		return "-"
	}
	form := func(v float64) string { return fmt.Sprintf("%+.2f", v) }
	one := form
	if c.Unit == score.Perplexity {
		form = func(v float64) string { return number(score.Perplexity, v) }
		one = func(v float64) string { return form(v) + "x" }
	}
	text := one(*c.Change)
	if c.Low != nil && c.High != nil {
		text += fmt.Sprintf(" [%s, %s]", form(*c.Low), form(*c.High))
	}
	if c.Differs() {
		text += " ≠"
	}
	if c.Only+c.OnlyBaseline+c.Other+len(c.Missing) > 0 {
		text += "*"
	}
	return text
}

// table renders the blocks side by side, as many as fit the columns, and the others below, or "" where not even one fits.
func (c *changes) table(columns int) string {
	var parts []string
	for from := 0; from < len(c.blocks); {
		to := len(c.blocks)
		part := c.render(c.blocks[from:to])
		for ; widest(part) > columns; part = c.render(c.blocks[from:to]) {
			if to--; to == from {
				return ""
			}
		}
		parts = append(parts, part)
		from = to
	}
	return strings.Join(parts, "\n")
}

// text is the table, or where it does not fit the list.
func (c *changes) text(columns int) string {
	if table := c.table(columns); table != "" {
		return table
	}
	return c.list(columns)
}

func (c *changes) render(blocks []block) string {
	t := table.NewWriter()
	t.SetStyle(plainStyle)
	head := table.Row{"variant"}
	var config []table.ColumnConfig
	for _, b := range blocks {
		for i, h := range b.heads {
			head = append(head, h)
			if !b.left[i] {
				config = append(config, table.ColumnConfig{Number: len(head), Align: text.AlignRight, AlignHeader: text.AlignRight})
			}
		}
	}
	t.AppendHeader(head)
	t.SetColumnConfigs(config)
	for i, name := range c.names {
		r := table.Row{name}
		for _, b := range blocks {
			for _, column := range b.cells {
				r = append(r, column[i])
			}
		}
		t.AppendRow(r)
		if slices.Contains(c.breaks, i) {
			t.AppendSeparator()
		}
	}
	return trimLines(t.Render())
}

// list is the layout for what no table fits: a head a variant, a line a block.
func (c *changes) list(columns int) string {
	var b strings.Builder
	for i, name := range c.names {
		if i > 0 {
			b.WriteString("\n")
		}
		b.WriteString(wrap(name+":", columns, "    "))
		for k, block := range c.blocks {
			var words []string
			for j, head := range block.heads {
				switch cell := block.cells[j][i]; {
				case cell == "":
				case k == 0:
					words = append(words, head+" "+cell)
				case j == 0:
					words = append(words, head+": "+cell)
				default:
					words = append(words, cell)
				}
			}
			if len(words) > 0 {
				b.WriteString(wrap("- "+strings.Join(words, ", "), columns, "  "))
			}
		}
	}
	return b.String()
}

// markdown renders all blocks as one table.
func (c *changes) markdown() string {
	head, rule := []string{"variant"}, "| --- "
	for _, b := range c.blocks {
		head = append(head, b.heads...)
		for _, left := range b.left {
			if left {
				rule += "| --- "
			} else {
				rule += "| ---: "
			}
		}
	}
	var out strings.Builder
	out.WriteString(markdownRow(head, false) + rule + "|\n")
	for i, name := range c.names {
		cells := []string{name}
		for _, b := range c.blocks {
			for _, column := range b.cells {
				cells = append(cells, column[i])
			}
		}
		out.WriteString(markdownRow(cells, false))
	}
	return out.String()
}

// variantNotes are the lines below the tables of a run that quantizes: how to read them, and why there is no number where one is missing.
func variantNotes(s score.Scores) (head, out []string) {
	if len(s.Variants) == 0 {
		return nil, nil
	}
	head = append(head, "bits are those of a quantized parameter on disk, scales and zeros included; size is relative to the untouched model's; "+
		"seconds are the quantization's.")
	if len(s.Comparisons) > 0 {
		head = append(head, "vs pretrain is on the same rows, with its 95 % interval: points of percents, a ratio of perplexities; "+
			"≠ where the interval leaves out no change.")
	} else {
		head = append(head, "The untouched models are not in this run (eval.positions), so there is nothing to compare with.")
	}
	for _, v := range s.Variants {
		switch {
		case v.Position == spec.Pretrain && (v.Bytes <= 0 || v.Bits <= 0):
			out = append(out, fmt.Sprintf("- %s: its size is not known", clean(v.Model)))
		case v.Position != spec.Pretrain && (v.Bytes <= 0 || v.Bits <= 0):
			out = append(out, fmt.Sprintf("- %s: not made: %s", clean(v.Model), reason(v.Reason)))
		case v.Position != spec.Pretrain && v.Seconds <= 0:
			out = append(out, fmt.Sprintf("- %s: what its quantization took is not known", clean(v.Model)))
		}
	}
	for _, c := range s.Comparisons {
		if unscored(s, c) {
			continue // which has its note
		}
		name := clean(fmt.Sprintf("%s/%s vs %s", c.Model, c.Dataset, c.Baseline))
		switch {
		case c.Change == nil && len(c.Members) > 0:
			out = append(out, fmt.Sprintf("- %s: no member can be compared", name))
		case c.Change == nil && c.N > 0:
			out = append(out, fmt.Sprintf("- %s: the ratio is too large or undefined", name))
		case c.Change == nil:
			out = append(out, fmt.Sprintf("- %s: there is no row that both have", name))
		case len(c.Missing) > 0:
			out = append(out, fmt.Sprintf("* %s: not compared: %s", name, clean(strings.Join(c.Missing, ", "))))
		case c.Only+c.OnlyBaseline > 0:
			out = append(out, fmt.Sprintf("* %s: on the %d rows that both have, without %d of the one and %d of the other", name, c.N, c.Only, c.OnlyBaseline))
		}
	}
	return head, out
}

// unscored says that the variant itself has no value where it was to be compared.
func unscored(s score.Scores, c score.Comparison) bool {
	list := s.Scores
	if len(c.Members) > 0 {
		list = s.Groups
	}
	return slices.ContainsFunc(list, func(x score.Score) bool { return x.Model == c.Model && x.Dataset == c.Dataset && x.Value == nil })
}

func trimLines(text string) string {
	var b strings.Builder
	for l := range strings.Lines(text + "\n") {
		b.WriteString(strings.TrimRight(l, " \n") + "\n")
	}
	return b.String()
}
