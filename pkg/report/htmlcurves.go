package report

import (
	"cmp"
	"slices"
	"strconv"
	"strings"

	"sextant/pkg/score"
)

// Checkpoint says where in a training a model stands.
type Checkpoint struct {
	Model  string // as in the scores
	Series string // what all checkpoints of the training share; spec.Step gives it
	Step   int64
}

// curve is a main metric against the training step.
type curve struct {
	Dataset string       `json:"dataset"`
	Metric  string       `json:"metric"`
	Group   bool         `json:"group,omitempty"`
	Unit    score.Unit   `json:"unit"`
	Points  []curvePoint `json:"points"` // series after series, by step
}

type curvePoint struct {
	Model  string   `json:"model"`
	Series string   `json:"series"`
	Step   int64    `json:"step"`
	Value  float64  `json:"value"`
	Low    *float64 `json:"low"`
	High   *float64 `json:"high"`
}

// training keeps the checkpoints of the models scored whose series has two steps or more, series after series and by step, each series with
// the name that it is shown by.
func training(all []Checkpoint, models []string) []Checkpoint {
	all = slices.DeleteFunc(slices.Clone(all), func(c Checkpoint) bool { return !slices.Contains(models, c.Model) })
	steps := map[string]map[int64]bool{}
	var order []string
	for _, c := range all {
		if steps[c.Series] == nil {
			order, steps[c.Series] = append(order, c.Series), map[int64]bool{}
		}
		steps[c.Series][c.Step] = true
	}
	order = slices.DeleteFunc(order, func(s string) bool { return len(steps[s]) < 2 })
	names := seriesNames(order)
	out := slices.DeleteFunc(all, func(c Checkpoint) bool { return !slices.Contains(order, c.Series) })
	slices.SortStableFunc(out, func(a, b Checkpoint) int {
		return cmp.Or(cmp.Compare(slices.Index(order, a.Series), slices.Index(order, b.Series)), cmp.Compare(a.Step, b.Step))
	})
	for i := range out {
		out[i].Series = names[out[i].Series]
	}
	return out
}

// seriesNames shortens paths to their last elements where these tell them apart.
func seriesNames(series []string) map[string]string {
	short := func(s string) string { return s[strings.LastIndexByte(s, '/')+1:] }
	count := map[string]int{}
	for _, s := range series {
		count[short(s)]++
	}
	out := map[string]string{}
	for _, s := range series {
		if out[s] = clean(short(s)); count[short(s)] > 1 || out[s] == "" {
			out[s] = clean(s)
		}
		if out[s] == "" {
			out[s] = "checkpoints"
		}
	}
	return out
}

// curves gives one for each main metric that two checkpoints or more have.
func curves(s score.Scores, checkpoints []Checkpoint) []curve {
	var out []curve
	at := map[string]int{}
	values := entries(s)
	for _, c := range checkpoints {
		for _, e := range values {
			if e.Model != c.Model || e.Value == nil || e.Further {
				continue
			}
			group := len(e.Members) > 0
			key := strconv.FormatBool(group) + e.Dataset
			i, ok := at[key]
			if !ok {
				i = len(out)
				at[key] = i
				out = append(out, curve{Dataset: e.Dataset, Metric: e.Metric, Group: group, Unit: e.Unit})
			}
			out[i].Points = append(out[i].Points,
				curvePoint{Model: c.Model, Series: c.Series, Step: c.Step, Value: rounded(*e.Value), Low: roundedPtr(e.Low), High: roundedPtr(e.High)})
		}
	}
	return slices.DeleteFunc(out, func(c curve) bool { return len(c.Points) < 2 })
}

// curveTable is the curves as a table: a line a checkpoint, a column a metric.
func curveTable(checkpoints []Checkpoint, list []curve) (heads []head, lines [][]cell) {
	if len(list) == 0 {
		return nil, nil
	}
	heads = []head{{"series", false}, {"step", true}, {"model", false}}
	for _, c := range list {
		heads = append(heads, head{clean(c.Dataset), true})
	}
	for _, k := range checkpoints {
		l := []cell{{Text: k.Series}, {Text: strconv.FormatInt(k.Step, 10), Class: "n"}, {Text: clean(k.Model)}}
		for _, c := range list {
			x := cell{Class: "n"}
			if i := slices.IndexFunc(c.Points, func(p curvePoint) bool { return p.Model == k.Model }); i >= 0 {
				p := c.Points[i]
				x.Text, x.Sort = number(c.Unit, p.Value), strconv.FormatFloat(p.Value, 'g', -1, 64)
				if p.Low != nil && p.High != nil {
					x.Interval = interval(c.Unit, *p.Low, *p.High)
				}
			}
			l = append(l, x)
		}
		lines = append(lines, l)
	}
	return heads, lines
}
