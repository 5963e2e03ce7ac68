package report

import (
	"fmt"
	"math"
	"strings"

	"sextant/pkg/score"
)

// chart is a perplexity against the size of the variants that have both.
type chart struct {
	Dataset string  `json:"dataset"`
	Metric  string  `json:"metric"`
	Note    string  `json:"note,omitempty"`
	Points  []point `json:"points"`
}

type point struct {
	Model string   `json:"model"`
	Bytes int64    `json:"bytes"`
	Value float64  `json:"value"`
	Low   *float64 `json:"low"` // of the 95 % interval; null where there is none
	High  *float64 `json:"high"`
}

// charts gives one for each perplexity with two points at least, in the order of the scores.
func charts(s score.Scores) []chart {
	var out []chart
	at := map[string]int{}
	for _, v := range s.Variants {
		for _, x := range s.Scores {
			if x.Model != v.Model || x.Unit != score.Perplexity || x.Value == nil || v.Bytes <= 0 {
				continue
			}
			i, ok := at[x.Dataset]
			if !ok {
				i = len(out)
				at[x.Dataset] = i
				out = append(out, chart{Dataset: x.Dataset, Metric: x.Metric, Note: x.Note})
			}
			p := point{Model: v.Model, Bytes: v.Bytes, Value: *x.Value}
			if low, high, ok := x.Interval(); ok {
				p.Low, p.High = &low, &high
			}
			out[i].Points = append(out[i].Points, p)
		}
	}
	kept := out[:0]
	for _, c := range out {
		if len(c.Points) > 1 {
			kept = append(kept, c)
		}
	}
	return kept
}

// The size of a plot's inside, in characters.
const (
	plotWidth  = 60
	plotHeight = 12
)

// marks name the points of a plot.
const marks = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"

func (c chart) title() string {
	text := c.Metric
	if c.Note != "" {
		text += " (" + c.Note + ")"
	}
	return clean(fmt.Sprintf("%s: %s against size", c.Dataset, text))
}

// plot draws the chart with characters: size to the right, the perplexity upwards on a logarithmic scale, a letter a variant and the letters
// below. A letter whose place is taken stands in the next free one to the right, or to the left at the edge.
func (c chart) plot() string {
	low, high := c.Points[0], c.Points[0]
	for _, p := range c.Points {
		low.Bytes, high.Bytes = min(low.Bytes, p.Bytes), max(high.Bytes, p.Bytes)
		low.Value, high.Value = min(low.Value, p.Value), max(high.Value, p.Value)
	}
	grid := make([][]byte, plotHeight)
	for i := range grid {
		grid[i] = []byte(strings.Repeat(" ", plotWidth))
	}
	for i, p := range c.Points {
		x := part(float64(p.Bytes-low.Bytes), float64(high.Bytes-low.Bytes), plotWidth)
		y := part(math.Log(p.Value/low.Value), math.Log(high.Value/low.Value), plotHeight)
		set(grid[plotHeight-1-y], x, mark(i))
	}
	ticks := map[int]string{0: number(score.Perplexity, high.Value), plotHeight - 1: number(score.Perplexity, low.Value)}
	gutter := max(width(ticks[0]), width(ticks[plotHeight-1]))
	var b strings.Builder
	for i, line := range grid {
		fmt.Fprintf(&b, "%*s |%s\n", gutter, ticks[i], line)
	}
	fmt.Fprintf(&b, "%*s +%s\n", gutter, "", strings.Repeat("-", plotWidth))
	left, right := mebibytes(low.Bytes), mebibytes(high.Bytes)+" MiB"
	fmt.Fprintf(&b, "%*s  %s%*s\n", gutter, "", left, plotWidth-len(left), right)
	for i, p := range c.Points {
		fmt.Fprintf(&b, "  %c  %*s MiB  %*s  %s\n", mark(i), len(mebibytes(high.Bytes)), mebibytes(p.Bytes),
			gutter, number(score.Perplexity, p.Value), clean(p.Model))
	}
	return trimLines(strings.TrimSuffix(b.String(), "\n"))
}

// part is where v of all stands among n places; the middle where there is no span.
func part(v, all float64, n int) int {
	if !(all > 0) {
		return n / 2
	}
	return int(math.Round(v / all * float64(n-1)))
}

func mark(i int) byte {
	if i >= len(marks) {
		return '#'
	}
	return marks[i]
}

func set(line []byte, x int, m byte) {
	for i := x; i < len(line); i++ {
		if line[i] == ' ' {
			line[i] = m
			return
		}
	}
	for i := x - 1; i >= 0; i-- {
		if line[i] == ' ' {
			line[i] = m
			return
		}
	}
}
