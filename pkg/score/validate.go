package score

import (
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
	wordPerplexity = "word_perplexity" // what perplexity is called in a score of the lm-eval convention
)

// metrics lists each mode's metrics, its default first.
var metrics = map[spec.Mode][]string{
	spec.PPL:     {accuracy},
	spec.LL:      {accuracy},
	spec.CLP:     {accuracy},
	spec.Gen:     {exactMatch, accuracy, contains},
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

// metricOf gives a metric that exists and fits the mode. "" is the mode's default: exact_match for gen, perplexity for rolling, else
// accuracy.
func metricOf(mode spec.Mode, metric string) (string, error) {
	known, ok := metrics[mode]
	switch {
	case !ok:
		return "", unknown("mode", string(mode), modes)
	case metric == "":
		return known[0], nil
	case !slices.Contains(known, metric):
		return "", unknown("metric of mode "+string(mode), metric, known)
	}
	return metric, nil
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
