package dataset

import (
	"maps"
	"slices"
	"strings"

	"github.com/agnivade/levenshtein"
)

// nearest is a hint for an error: "; did you mean X?" and what there is.
func nearest(name string, known []string) string {
	if len(known) == 0 {
		return ""
	}
	best, least := "", 1+len(name)/2
	for _, k := range known {
		if d := levenshtein.ComputeDistance(strings.ToLower(name), strings.ToLower(k)); d < least {
			best, least = k, d
		}
	}
	hint := "; there is " + list(known)
	if best != "" {
		hint = "; did you mean " + best + "?" + hint
	}
	return hint
}

// list shows names in an error, shortened when there are many.
func list(names []string) string {
	const most = 12
	if len(names) > most {
		return strings.Join(names[:most], ", ") + ", ..."
	}
	return strings.Join(names, ", ")
}

func keys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
