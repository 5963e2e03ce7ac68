package score

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"math"
	"slices"
	"strings"

	"sextant/pkg/plan"
	"sextant/pkg/spec"

	"github.com/bmatcuk/doublestar/v4"
)

// means lists a group's ways to sum up, the default first.
var means = []string{"", "mean", "weighted"}

// expand gives the indexes into names that patterns match, each once, in the order of the patterns and then of names; and the patterns
// that match none.
func expand(patterns, names []string) (found []int, unmatched []string) {
	for _, p := range patterns {
		matched := false
		for i, name := range names {
			if doublestar.MatchUnvalidated(p, name) {
				matched = true
				if !slices.Contains(found, i) {
					found = append(found, i)
				}
			}
		}
		if !matched {
			unmatched = append(unmatched, p)
		}
	}
	return found, unmatched
}

// groupScores sums up the groups of a plan's spec for every variant. A group without any dataset of the plan is left out.
func groupScores(p *plan.Plan, scores []Score) ([]Score, error) {
	names := make([]string, len(p.Spec.Datasets))
	for i, d := range p.Spec.Datasets {
		names[i] = d.Abbr
	}
	byKey := make(map[key]Score, len(scores))
	for _, s := range scores {
		if !s.Further {
			byKey[key{s.Model, s.Dataset, ""}] = s
		}
	}
	var out []Score
	for _, g := range p.Spec.Groups {
		if err := validateGroup(g, p.Spec.Datasets); err != nil {
			return nil, fmt.Errorf("group %q: %w", g.Name, err)
		}
		found, unmatched := expand(g.Members, names)
		if len(found) == 0 {
			continue
		}
		for _, v := range p.Variants {
			members := make([]Score, len(found))
			for j, i := range found {
				d := p.Spec.Datasets[i]
				members[j] = Score{Dataset: d.Abbr, Mode: string(d.Mode), Unit: unitOf(d.Mode)}
				if s, ok := byKey[key{v.ID, d.Abbr, ""}]; ok {
					members[j] = s
				}
			}
			s := groupScore(g, members, unmatched)
			s.Model = v.ID
			out = append(out, s)
		}
	}
	return out, nil
}

// groupScore is the mean of the members that have a value. Weighted, a member counts by its planned rows, so that weights do not move
// while rows arrive. The standard error takes the members as independent: sqrt(sum w^2 se^2) / sum w. So does the interval, which puts those
// of the members together, whatever these are, by the distances of their ends (G. Y. Zou and A. Donner, Statistics in Medicine 27, 2008):
// v - sqrt(sum w^2 (v_i - low_i)^2) / sum w, and likewise above. It has a width where every member is at 100.
func groupScore(g spec.Group, members []Score, unmatched []string) Score {
	s := Score{Dataset: g.Name, Metric: cmp.Or(g.Mean, "mean"), Mode: members[0].Mode, Unit: members[0].Unit}
	var sum, variance, weights, below, above float64
	var missing, partial, hashes []string
	for _, m := range members {
		s.Members = append(s.Members, m.Dataset)
		hashes = append(hashes, m.Hash)
		if m.Mode != s.Mode {
			s.Mode = "mixed"
		}
		if m.Value == nil {
			missing = append(missing, m.Dataset)
			continue
		}
		if m.Partial() {
			partial = append(partial, m.Dataset)
		}
		w := 1.0
		if g.Mean == "weighted" {
			w = float64(m.N + m.Missing)
		}
		se := math.NaN()
		if m.StdErr != nil {
			se = *m.StdErr
		}
		low, high, ok := m.Interval()
		if !ok {
			low, high = math.NaN(), math.NaN()
		}
		sum, variance, weights = sum+w**m.Value, variance+w*w*se*se, weights+w
		below, above = below+w*w*(*m.Value-low)*(*m.Value-low), above+w*w*(high-*m.Value)*(high-*m.Value)
		s.N++
	}
	if s.N > 0 {
		s.Value = ptr(sum / weights)
		if se := math.Sqrt(variance) / weights; finite(se) {
			s.StdErr = ptr(se)
		}
		if low, high := *s.Value-math.Sqrt(below)/weights, *s.Value+math.Sqrt(above)/weights; finite(low) && finite(high) {
			s.Low, s.High = &low, &high
		}
	}
	if s.N > 0 {
		s.Worst, s.Best = groupBounds(g, members)
	}
	s.Missing = len(missing) + len(unmatched)
	s.Reason = listed(listed(listed("", "not scored", missing), "not in this run", unmatched), "partial", partial)
	digest := sha256.Sum256(fmt.Appendf(nil, "%d %s %q", version, s.Metric, hashes))
	s.Hash = hex.EncodeToString(digest[:6])
	return s
}

// groupBounds is the mean of what the members would be if all their missing rows were wrong, and right; nil where none is missing or a
// member has no bounds. A member without a value may be anything.
func groupBounds(g spec.Group, members []Score) (worst, best *float64) {
	var low, high, weights float64
	for _, m := range members {
		w := 1.0
		if g.Mean == "weighted" {
			w = float64(m.N + m.Missing)
		}
		lo, hi := 0.0, 100.0
		switch {
		case m.Unit != Percent, m.Value != nil && m.Missing > 0 && m.Worst == nil:
			return nil, nil
		case m.Worst != nil && m.Best != nil:
			lo, hi = *m.Worst, *m.Best
		case m.Value != nil:
			lo, hi = *m.Value, *m.Value
		}
		low, high, weights = low+w*lo, high+w*hi, weights+w
	}
	if low == high || weights == 0 {
		return nil, nil
	}
	return ptr(low / weights), ptr(high / weights)
}

// listed appends "head: a, b" to text, or nothing for an empty list.
func listed(text, head string, list []string) string {
	if len(list) == 0 {
		return text
	}
	if text != "" {
		text += "; "
	}
	return text + head + ": " + strings.Join(list, ", ")
}
