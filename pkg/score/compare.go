package score

import (
	"cmp"
	"math"
	"slices"

	"sextant/pkg/plan"
	"sextant/pkg/spec"
)

// Comparison is one metric of two models on the rows that both have: of a variant beside the untouched model, or of any two.
type Comparison struct {
	Model        string   `json:"model"`    // the variant
	Baseline     string   `json:"baseline"` // the untouched model
	Dataset      string   `json:"dataset"`  // or a group
	Metric       string   `json:"metric"`
	Unit         Unit     `json:"unit"`
	N            int      `json:"n"`                       // rows that both have; of a group, members
	Only         int      `json:"only,omitempty"`          // rows that the variant alone has
	OnlyBaseline int      `json:"only_baseline,omitempty"` // rows that the untouched model alone has
	Other        int      `json:"other,omitempty"`         // rows of both that were not asked the same: other labels or gold answers
	Note         string   `json:"note,omitempty"`          // what else is not the same: the prompt
	Further      bool     `json:"further,omitempty"`       // not the dataset's main metric
	Change       *float64 `json:"change"`                  // percent: the difference, in points; perplexity: the ratio; nil without a row
	StdErr       *float64 `json:"stderr"`                  // of Change; nil where none is defined
	Low          *float64 `json:"low"`                     // of the 95 % interval
	High         *float64 `json:"high"`
	Detectable   *float64 `json:"detectable,omitempty"` // the smallest change that a two-sided test of level 5 % finds with Power
	Better       int      `json:"better,omitempty"`     // percent: rows that the variant alone has right, or on which it is better
	Worse        int      `json:"worse,omitempty"`      // rows that the untouched model alone has right, or on which it is better
	P            *float64 `json:"p,omitempty"`          // percent: of the exact McNemar test, or of Test
	Test         string   `json:"test,omitempty"`       // percent: what else P is of, "sign" or "bootstrap"
	Members      []string `json:"members,omitempty"`    // groups: the datasets in it
	Missing      []string `json:"missing,omitempty"`    // groups: those of them that cannot be compared
}

// Differs says that the interval leaves out "no change".
func (c Comparison) Differs() bool {
	none := 0.0
	if c.Unit == Perplexity {
		none = 1
	}
	return c.Low != nil && c.High != nil && (*c.Low > none || *c.High < none)
}

// baselines gives for each variant of a plan that is not the untouched model which variant is; none where the plan has it not.
func baselines(p *plan.Plan) map[string]string {
	untouched, out := map[string]string{}, map[string]string{}
	for _, v := range p.Variants {
		if v.Position == "" {
			untouched[v.Model] = v.ID
		}
	}
	for _, v := range p.Variants {
		if base, ok := untouched[v.Model]; ok && v.Position != "" {
			out[v.ID] = base
		}
	}
	return out
}

// compare gives a comparison for each score whose variant has a baseline, in the order of the scores, then those of the groups.
func (s *Scores) compare(p *plan.Plan, all map[key]sheet) {
	base := baselines(p)
	done := map[key]Comparison{}
	for _, x := range s.Scores {
		b, ok := base[x.Model]
		if !ok {
			continue
		}
		d, _ := p.Dataset(x.Dataset)
		c := contrast(x, b, pair(all[key{x.Model, x.Dataset, x.Metric}], all[key{b, x.Dataset, x.Metric}], false), d)
		if !x.Further {
			done[key{x.Model, x.Dataset, ""}] = c
		}
		s.Comparisons = append(s.Comparisons, c)
	}
	for _, g := range s.Groups {
		if b, ok := base[g.Model]; ok && g.Unit == Percent {
			s.Comparisons = append(s.Comparisons, s.compareGroup(g, b, done))
		}
	}
}

// contrast compares a score with the baseline of that name.
func contrast(x Score, baseline string, p paired, d spec.Dataset) Comparison {
	c := Comparison{Model: x.Model, Baseline: baseline, Dataset: x.Dataset, Metric: x.Metric, Unit: x.Unit, Further: x.Further}
	p.compare(&c, scaleOf(d, p))
	return c
}

// compareGroup is the mean of the members' differences, weighted as the group is. The standard error takes the members as independent, as
// the group's own does: sqrt(sum w^2 se^2) / sum w. So does the interval, which is about the mean of the middles of the members' intervals,
// with their half widths added up in the same way.
func (s Scores) compareGroup(g Score, base string, done map[key]Comparison) Comparison {
	c := Comparison{Model: g.Model, Baseline: base, Dataset: g.Dataset, Metric: g.Metric, Unit: g.Unit, Members: g.Members}
	var sum, variance, weights, middle, squares float64
	for _, m := range g.Members {
		d, ok := done[key{g.Model, m, ""}]
		if !ok || d.Change == nil || d.Low == nil || d.High == nil || d.Unit != Percent {
			c.Missing = append(c.Missing, m)
			continue
		}
		w, se := 1.0, math.NaN()
		if g.Metric == "weighted" {
			at := slices.IndexFunc(s.Scores, func(x Score) bool { return x.Model == g.Model && x.Dataset == m && !x.Further })
			w = float64(s.Scores[at].N + s.Scores[at].Missing)
		}
		if d.StdErr != nil {
			se = *d.StdErr
		}
		half := (*d.High - *d.Low) / 2
		sum, variance, weights = sum+w**d.Change, variance+w*w*se*se, weights+w
		middle, squares = middle+w*(*d.Low+*d.High)/2, squares+w*w*half*half
		c.N++
	}
	if c.N == 0 {
		return c
	}
	half := math.Sqrt(squares) / weights
	c.Change, c.Low, c.High = ptr(sum/weights), ptr(math.Max(-100, middle/weights-half)), ptr(math.Min(100, middle/weights+half))
	if se := math.Sqrt(variance) / weights; finite(se) {
		c.StdErr = &se
	}
	return c
}

// key names a score; metric is "" where the main one is meant.
type key struct{ model, dataset, metric string }

// Comparison finds the comparison of a variant on a dataset, by its main metric, or, where group is set, of a group.
func (s Scores) Comparison(model, dataset string, group bool) *Comparison {
	for i := range s.Comparisons {
		if c := &s.Comparisons[i]; c.Model == model && c.Dataset == dataset && (len(c.Members) > 0) == group {
			return c
		}
	}
	return nil
}

// Variant says what was measured under a name that Score.Model has, where a plan quantizes.
type Variant struct {
	Model      string  `json:"model"` // the variant
	Of         string  `json:"of"`    // the untouched model's abbr
	Recipe     string  `json:"recipe"`
	Position   string  `json:"position"`             // "pretrain", "packed", "fake_quant" or "transformed"
	Runs       string  `json:"runs,omitempty"`       // what the model computed with: "packed i4", "dequantized to f32"; "": its weights as they are, or not known
	Layout     string  `json:"layout,omitempty"`     // of its matrices on disk
	Bits       float64 `json:"bits,omitempty"`       // a quantized parameter takes on disk, scales and zeros included; pretrain: any parameter; 0: not known
	Quantized  int64   `json:"quantized,omitempty"`  // parameters
	Parameters int64   `json:"parameters,omitempty"` // all of them
	Bytes      int64   `json:"bytes,omitempty"`      // of the weight files; 0: not known
	Calib      string  `json:"calib,omitempty"`      // digest of the token sample
	Reason     string  `json:"reason,omitempty"`     // why it was not made
	Seconds    float64 `json:"-"`                    // the quantization took; not in scores.json, which says nothing of how fast a machine was
}

// variants lists what a plan measures, or nothing where it does not quantize.
func variants(p *plan.Plan, reasons map[string]string) []Variant {
	var out []Variant
	quantizes := false
	for _, v := range p.Variants {
		x := Variant{Model: v.ID, Of: v.Model, Recipe: v.Recipe, Position: cmp.Or(v.Position, spec.Pretrain)}
		if v.Position == "" {
			x.Parameters, x.Bytes = v.Params, v.WeightBytes
			if v.Params > 0 {
				x.Bits = 8 * float64(v.WeightBytes) / float64(v.Params)
			}
		} else {
			quantizes = true
			x.Reason = cmp.Or(reasons[v.Step], "it was not made yet")
		}
		out = append(out, x)
	}
	if !quantizes {
		return nil
	}
	return out
}
