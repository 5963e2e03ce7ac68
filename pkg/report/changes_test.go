package report

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"strings"
	"testing"

	"sextant/pkg/plan"
	"sextant/pkg/result"
	"sextant/pkg/score"
	"sextant/pkg/spec"
)

// quantBench is one dataset of a made-up run that quantizes: how many rows are planned, how far the variants move (rows that each turns from
// right to wrong, or the loss that it adds to a window), and how many rows each has.
type quantBench struct {
	d     spec.Dataset
	rows  int
	moved []float64
	have  []int // nil: all
}

// quantRun scores a made-up run of variants the way a real one is scored.
func quantRun(t testing.TB, variants []plan.Variant, groups []spec.Group, benches []quantBench, reasons map[string]string) score.Scores {
	t.Helper()
	p := &plan.Plan{Variants: variants, Spec: spec.Spec{Groups: groups}}
	recs := map[string][]result.Record{}
	for i, v := range variants {
		if v.Step == v.ID+"/quantize" {
			p.Tasks = append(p.Tasks, plan.Task{ID: v.Step, Kind: plan.Quantize, Variant: v.ID, Rows: 1})
		}
		for k, b := range benches {
			if i == 0 {
				p.Spec.Datasets = append(p.Spec.Datasets, b.d)
			}
			id := v.ID + "/" + b.d.Abbr
			p.Tasks = append(p.Tasks, plan.Task{ID: id, Variant: v.ID, Dataset: b.d.Abbr, Rows: b.rows, Prompt: fmt.Sprintf("%06x", 0xa1b2c3+k*4369)})
			have := b.rows
			if b.have != nil {
				have = b.have[i]
			}
			for row := range have {
				recs[id] = append(recs[id], quantRecord(b, row, b.moved[i]))
			}
		}
	}
	s, err := score.Compute(p, func(id string) ([]result.Record, error) { return recs[id], nil }, reasons)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// quantRecord is right in four rows of five, but in the first rows that moved; every fifth row gets better with each tenth that gets worse.
func quantRecord(b quantBench, row int, moved float64) result.Record {
	if b.d.Mode == spec.Rolling {
		loss := 1.6 + 0.1*float64(row%5) + moved*(1+0.2*float64(row%3))
		return result.Record{Row: row, NLL: []float64{255 * loss}, Tokens: []int{255}}
	}
	right := row%5 != 0
	if float64(row) < moved {
		right = !right
	}
	r := result.Record{Row: row, Labels: []string{"a", "b"}, NLL: []float64{1, 2}, Tokens: []int{4, 4}, Text: "a", Gold: []string{"b"}}
	if right {
		r.Gold[0] = "a"
	}
	return r
}

func variant(model, recipe, position string) plan.Variant {
	v := plan.Variant{ID: model, Model: model, Recipe: "pretrain", Params: 1_000_000, WeightBytes: 2_000_000}
	if recipe != "" {
		v = plan.Variant{ID: model + "-" + recipe, Model: model, Recipe: recipe, Position: position, Step: model + "-" + recipe + "/quantize"}
		if position != spec.Packed {
			v.ID += "-" + position
		}
	}
	return v
}

func manifest(bits float64, seconds float64) result.Manifest {
	return result.Manifest{Layout: "compressed-tensors", Bits: bits, Quantized: 900_000, Parameters: 1_000_000,
		Bytes: int64(900_000*bits/8) + 200_000, Seconds: seconds}
}

// quantScene is a whole run of two models and three recipes.
func quantScene(t testing.TB) score.Scores {
	s := quantRun(t, []plan.Variant{
		variant("pocket", "", ""), variant("pocket", "rtn-w8", spec.Packed), variant("pocket", "awq-w4g128", spec.Packed),
		variant("pocket", "awq-w4g128", spec.FakeQuant), variant("pocket", "rtn-w2g128", spec.Packed),
		variant("small", "", ""), variant("small", "rtn-w8", spec.Packed),
	}, []spec.Group{{Name: "ranking", Members: []string{"*_ppl"}}}, []quantBench{
		{d: ppl("winograd_ppl"), rows: 300, moved: []float64{0, 0, 4, 4, 120, 10, 15}},
		{d: ppl("piqa_ppl"), rows: 500, moved: []float64{0, 1, 21, 21, 300, 50, 55}},
		{d: gen("gsm"), rows: 200, moved: []float64{0, 0, 11, 12, 160, 0, 0}},
		{d: textPPL, rows: 40, moved: []float64{0, 0.0001, 0.02, 0.0201, 1.5, 0.5, 0.501}},
	}, nil)
	s.Fill(map[string]result.Manifest{"pocket-rtn-w8": manifest(8.03, 0.8), "pocket-awq-w4g128": manifest(4.16, 12.34), "pocket-rtn-w2g128": manifest(2.14, 150),
		"small-rtn-w8": manifest(8.03, 0.4)},
		map[string]string{"pocket-rtn-w8": "packed i8", "pocket-awq-w4g128": "packed i4", "pocket-awq-w4g128-fake_quant": "dequantized to f32",
			"pocket-rtn-w2g128": "packed i4", "small-rtn-w8": "packed i8"})
	return s
}

// quantPartScene is a run of which one quantization failed, rows lack, and one model's untouched variant is not measured.
func quantPartScene(t testing.TB) score.Scores {
	s := quantRun(t, []plan.Variant{
		variant("base", "", ""), variant("base", "gptq-w4g128", spec.Packed), variant("base", "awq-w4g64", spec.Packed), variant("chat", "awq-w4g64", spec.Packed),
	}, []spec.Group{{Name: "all", Members: []string{"gsm", "piqa_ppl"}}}, []quantBench{
		{d: ppl("piqa_ppl"), rows: 100, moved: []float64{0, 0, 3, 9}, have: []int{100, 0, 97, 100}},
		{d: gen("gsm"), rows: 50, moved: []float64{0, 0, 0, 0}, have: []int{0, 0, 50, 50}},
		{d: textPPL, rows: 40, moved: []float64{0, 0, 0.01, 0.02}, have: []int{40, 0, 30, 40}},
	}, map[string]string{"base-gptq-w4g128/quantize": "the Hessian of layers.0.mlp.down_proj is not positive:\n raise gptq.damp"})
	s.Fill(map[string]result.Manifest{"base-awq-w4g64": manifest(4.31, 31), "chat-awq-w4g64": manifest(4.31, 0)}, nil)
	return s
}

// TestChangesAreThoseOfTheScores holds the cells of the table against the numbers they are made of.
func TestChangesAreThoseOfTheScores(t *testing.T) {
	s := quantScene(t)
	out := Text(s)
	for _, c := range s.Comparisons {
		if !strings.Contains(out, change(c)) {
			t.Errorf("%s/%s: the table lacks %q", c.Model, c.Dataset, change(c))
		}
		if c.Differs() != strings.Contains(change(c), "≠") {
			t.Errorf("%s/%s: %q", c.Model, c.Dataset, change(c))
		}
	}
	for _, tt := range []struct {
		c    score.Comparison
		want string
	}{
		{score.Comparison{Unit: score.Percent, Change: ptr(-1.333), Low: ptr(-2.41), High: ptr(-0.26)}, "-1.33 [-2.41, -0.26] ≠"},
		{score.Comparison{Unit: score.Percent, Change: ptr(0.5), Low: ptr(-1.0), High: ptr(2.0), Only: 1}, "+0.50 [-1.00, +2.00]*"},
		{score.Comparison{Unit: score.Perplexity, Change: ptr(1.0123), Low: ptr(1.01), High: ptr(1.0145)}, "1.0123x [1.0100, 1.0145] ≠"},
		{score.Comparison{Unit: score.Perplexity, Change: ptr(2.5e7)}, "2.5000e+07x"},
		{score.Comparison{Unit: score.Percent}, "-"},
	} {
		if got := change(tt.c); got != tt.want {
			t.Errorf("%+v shows %q, want %q", tt.c, got, tt.want)
		}
	}
}

func ptr(v float64) *float64 { return &v }

// TestTableGoesOnBelow holds that each block of columns is there once, with the variants' names, within the width.
func TestTableGoesOnBelow(t *testing.T) {
	c := newChanges(quantScene(t))
	for _, columns := range []int{80, 100, 160, 1000} {
		out := c.text(columns)
		if widest(out) > columns {
			t.Errorf("%d columns, want at most %d:\n%s", widest(out), columns, out)
		}
		for _, head := range []string{" text ", " gsm ", " winograd_ppl ", " ranking "} {
			if strings.Count(out, head) != 1 {
				t.Errorf("%d columns: %q is there %d times:\n%s", columns, head, strings.Count(out, head), out)
			}
		}
		if n, want := strings.Count(out, "pocket-awq-w4g128-fake_quant"), strings.Count(out, "variant"); n != want {
			t.Errorf("%d columns: a variant is there %d times in %d parts", columns, n, want)
		}
	}
	if list := c.text(40); !strings.Contains(list, "pocket-awq-w4g128:\n- bits 4.16, MiB 0.64, size 0.334x,") || strings.Contains(list, "variant") {
		t.Errorf("no list on 40 columns:\n%s", list)
	}
}

// TestEveryDashOfTheChangesHasItsNote holds that each "-" is of something unknown, and a note says why.
func TestEveryDashOfTheChangesHasItsNote(t *testing.T) {
	s := quantPartScene(t)
	notes := strings.Join(newView(s).notes, "\n")
	for _, want := range []string{
		"- base-gptq-w4g128: not made: the Hessian of layers.0.mlp.down_proj is not positive: raise gptq.damp",
		"- base-gptq-w4g128/piqa_ppl: 100 rows without a result",
		"- base-awq-w4g64/gsm vs base: there is no row that both have",
		"* base-awq-w4g64/piqa_ppl vs base: on the 97 rows that both have, without 0 of the one and 3 of the other",
		"* base-awq-w4g64/all vs base: not compared: gsm",
		"- base-gptq-w4g128/all: not scored: gsm, piqa_ppl",
		"- chat-awq-w4g64: what its quantization took is not known",
	} {
		if !strings.Contains(notes, want) {
			t.Errorf("the notes lack %q:\n%s", want, notes)
		}
	}
	c := newChanges(s)
	for i, name := range c.names {
		for _, b := range c.blocks {
			for k, cells := range b.cells {
				if cells[i] == "-" && !strings.Contains(notes, "- "+name) {
					t.Errorf("%s, %s: a dash without a note", name, b.heads[k])
				}
			}
		}
	}
	if strings.Contains(notes, "base-gptq-w4g128/gsm vs") {
		t.Errorf("two notes of one dash:\n%s", notes)
	}
	s.Comparisons = nil
	if notes := strings.Join(newView(s).notes, "\n"); !strings.Contains(notes, "nothing to compare with") {
		t.Errorf("no note without comparisons:\n%s", notes)
	}
}

// TestPlot holds that every point stands where its numbers say.
func TestPlot(t *testing.T) {
	at := func(bytes int64, value float64) point { return point{Model: "m", Bytes: bytes << 20, Value: value} }
	c := chart{Dataset: "text", Metric: "perplexity", Points: []point{at(10, 2), at(70, 32), at(40, 8), at(40, 8), at(70, 32)}}
	lines := strings.Split(c.plot(), "\n")
	find := func(mark string) (x, y int) {
		for y, line := range lines[:plotHeight] {
			if x := strings.Index(line[9:], mark); x >= 0 {
				return x, plotHeight - 1 - y
			}
		}
		t.Fatalf("no %q:\n%s", mark, c.plot())
		return 0, 0
	}
	for _, tt := range []struct {
		mark string
		x, y float64
	}{{"a", 0, 0}, {"b", 59, 11}, {"c", 29.5, 5.5}, {"d", 30.5, 5.5}, {"e", 58, 11}} {
		if x, y := find(tt.mark); math.Abs(float64(x)-tt.x) > 0.5 || math.Abs(float64(y)-tt.y) > 0.5 {
			t.Errorf("%s is at %d, %d, want %v, %v:\n%s", tt.mark, x, y, tt.x, tt.y, c.plot())
		}
	}
	if !strings.HasPrefix(lines[0], "32.0000 |") || !strings.HasPrefix(lines[11], " 2.0000 |a") || lines[14] != "  a  10.00 MiB   2.0000  m" {
		t.Errorf("\n%s", c.plot())
	}
	flat := chart{Points: []point{at(10, 2), at(10, 2)}}
	if out := flat.plot(); !strings.Contains(out, "ab") {
		t.Errorf("two points in one place:\n%s", out)
	}
	many := chart{}
	for i := range 200 {
		many.Points = append(many.Points, at(10, 2+float64(i%2)*1e-12))
	}
	if out := many.plot(); !strings.Contains(out, "#") || strings.Contains(out, "NaN") {
		t.Errorf("\n%s", out)
	}
}

// TestSeries holds the series of summary.json, and that the perplexity of a variant that was not made has no point.
func TestSeries(t *testing.T) {
	data, err := JSON(quantScene(t))
	if err != nil {
		t.Fatal(err)
	}
	var got struct {
		Variants []struct {
			Model   string
			Seconds float64
		}
		Comparisons []struct {
			Change  *float64
			Differs *bool
		}
		Charts []struct {
			Dataset string
			Points  []struct {
				Model            string
				Bytes            int64
				Value, Low, High float64
			}
		}
	}
	if err := json.Unmarshal(data, &got); err != nil {
		t.Fatal(err)
	}
	if len(got.Charts) != 1 || len(got.Charts[0].Points) != 7 || got.Charts[0].Dataset != "text" || got.Variants[2].Seconds != 12.34 || len(got.Comparisons) != 25 {
		t.Fatalf("%+v", got)
	}
	for _, p := range got.Charts[0].Points {
		if p.Bytes <= 0 || !(p.Low < p.Value && p.Value < p.High) {
			t.Errorf("%+v", p)
		}
	}
	if list := charts(quantPartScene(t)); len(list) != 1 || len(list[0].Points) != 3 {
		t.Errorf("%+v", list)
	}
	for name, s := range scenes(t) {
		if !strings.HasPrefix(name, "quant") && (newChanges(s) != nil || charts(s) != nil) {
			t.Errorf("%s: variants where nothing was quantized", name)
		}
	}
	first, _ := CSV(quantScene(t))
	second, _ := CSV(quantScene(t))
	if !bytes.Equal(first, second) {
		t.Error("the same scores give other bytes")
	}
}
