package score

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"

	"sextant/pkg/spec"

	"github.com/bmatcuk/doublestar/v4"
	"github.com/hashicorp/go-multierror"
)

// The metrics.
const (
	accuracy       = "accuracy"    // share of rows answered right
	exactMatch     = "exact_match" // accuracy under the name it has for generated text
	contains       = "contains"    // share of rows whose text holds any accepted answer
	perplexity     = "perplexity"
	mc1            = "mc1" // TruthfulQA's; these five and perplexity of mode ll: see choices.add
	mc2            = "mc2"
	accNorm        = "acc_norm"
	accBytes       = "acc_bytes"
	greedy         = "greedy"
	wordPerplexity = "word_perplexity" // what perplexity is called in a score of the lm-eval convention
)

// metrics lists the metrics of each mode but gen, its default first. Those of gen are in measures.go.
var metrics = map[spec.Mode][]string{
	spec.PPL:     {accuracy},
	spec.LL:      {accuracy, accNorm, accBytes, mc1, mc2, greedy, perplexity},
	spec.CLP:     {accuracy},
	spec.Rolling: {perplexity},
}

var modes = []string{string(spec.PPL), string(spec.LL), string(spec.CLP), string(spec.Gen), string(spec.Rolling)}

// Validate checks all that scoring will need of a spec before anything is run: metrics, post-processors, the conventions of ppl and
// rolling, and groups. The error is a *multierror.Error with every fault. A group's member that the spec does not have is no fault: a
// base file may name more than its users select. The group's score says what it lacks.
func Validate(s *spec.Spec) error {
	var faults *multierror.Error
	for _, d := range s.Datasets {
		_, err := newScorer(d)
		faults = multierror.Append(faults, multierror.Prefix(err, fmt.Sprintf("dataset %q:", d.Abbr)))
	}
	for _, g := range s.Groups {
		err := validateGroup(g, s.Datasets)
		faults = multierror.Append(faults, multierror.Prefix(err, fmt.Sprintf("group %q:", g.Name)))
	}
	return faults.ErrorOrNil()
}

// metricsOf gives the names of a dataset's metrics, the main one first. "" is the mode's default: exact_match for gen, perplexity for
// rolling, else accuracy. The names fit the mode; of gen, measuresOf says.
func metricsOf(d spec.Dataset) ([]string, error) {
	known, ok := metrics[d.Mode]
	if d.Mode == spec.Gen {
		known, ok = []string{exactMatch}, true
	}
	if !ok {
		return nil, unknown("mode", string(d.Mode), modes)
	}
	names := append([]string{cmp.Or(d.Metric, known[0])}, d.Metrics...)
	for i, name := range names {
		if d.Mode != spec.Gen && !slices.Contains(known, name) {
			return nil, unknown("metric of mode "+string(d.Mode), name, known)
		}
		if i == 0 && d.Mode == spec.LL && name == perplexity {
			return nil, fmt.Errorf("%q is no share of rows, so that it can only be a further metric of mode ll: metrics = [%q]", name, name)
		}
		if slices.Contains(names[:i], name) {
			return nil, fmt.Errorf("the metric %q is there twice", name)
		}
	}
	return names, nil
}

func validateGroup(g spec.Group, datasets []spec.Dataset) error {
	if !slices.Contains(means, g.Mean) {
		return unknown("mean", g.Mean, means[1:])
	}
	if len(g.Members) == 0 {
		return errors.New("has no members")
	}
	names := make([]string, len(datasets))
	for i, d := range datasets {
		names[i] = d.Abbr
	}
	var faults *multierror.Error
	for _, m := range g.Members {
		if !doublestar.ValidatePattern(m) {
			faults = multierror.Append(faults, fmt.Errorf("member %q is not a valid pattern", m))
		}
	}
	units := map[Unit]string{}
	found, _ := expand(g.Members, names)
	for _, i := range found {
		units[unitOf(datasets[i].Mode)] = names[i]
	}
	if len(units) > 1 {
		faults = multierror.Append(faults, fmt.Errorf("%q is in percent and %q is a perplexity: they have no mean", units[Percent], units[Perplexity]))
	}
	return faults.ErrorOrNil()
}

func unitOf(mode spec.Mode) Unit {
	if mode == spec.Rolling {
		return Perplexity
	}
	return Percent
}

// unknown says that a name is not among known, with the nearest known name where one is near, else with all of them.
func unknown(what, name string, known []string) error {
	if near := spec.Nearest(name, known); len(near) > 0 {
		return fmt.Errorf("unknown %s %q: did you mean %q?", what, name, near[0])
	}
	return fmt.Errorf("unknown %s %q: known are %s", what, name, strings.Join(known, ", "))
}
