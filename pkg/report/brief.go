package report

import (
	"fmt"
	"slices"

	"sextant/pkg/score"
)

// Brief renders scores for a message: a line a score, the groups first, at most so many lines. What is left out is counted in the last.
func Brief(s score.Scores, most int) []string {
	var lines []string
	for _, x := range slices.Concat(s.Groups, s.Scores) {
		line := fmt.Sprintf("%s: %s %s", clean(x.Model+"/"+x.Dataset), value(x), clean(x.Metric))
		if x.Missing > 0 {
			line += fmt.Sprintf(", %d of %d rows", x.N, x.N+x.Missing)
		}
		lines = append(lines, line)
	}
	if len(lines) > most {
		lines = append(lines[:most-1], fmt.Sprintf("... and %d more", len(lines)-most+1))
	}
	return lines
}
