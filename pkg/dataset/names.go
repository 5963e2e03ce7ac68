package dataset

import (
	"maps"
	"slices"
	"strings"

	"sextant/pkg/spec"
)

// nearest is a hint for an error: "; did you mean X?" and what there is.
func nearest(name string, known []string) string {
	if len(known) == 0 {
		return ""
	}
	hint := "; there is " + list(known)
	if near := spec.Nearest(name, known); len(near) > 0 {
		hint = "; did you mean " + near[0] + "?" + hint
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
