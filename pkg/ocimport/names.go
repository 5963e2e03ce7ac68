package ocimport

import (
	"slices"
	"strings"
)

// called is what OpenCompass calls datasets, by our names without the mode; "*" stands for a subset.
var called = map[string][]string{
	"mmlu":          {"lukaemon_mmlu_*", "mmlu_*"},
	"commonsenseqa": {"commonsense_qa", "commonsenseqa"},
	"humaneval":     {"openai_humaneval", "humaneval"},
	"math500":       {"math-500", "math500"},
	"wsc273":        {"wsc273", "wsc"},
	"winogrande":    {"winogrande", "winogrande_5shot"},
	"truthfulqa":    {"truthful_qa", "truthfulqa"},
	"nq_open":       {"nq_open", "nq_open_1shot"},
}

// NameOf finds among the names of a tree's datasets the one that a dataset of ours has there; "": none.
func NameOf(abbr string, names []string) string {
	base, subset, _ := strings.Cut(abbr, "-")
	for _, mode := range []string{"_ppl", "_gen", "_ll", "_mc1", "_mc2"} {
		base = strings.TrimSuffix(base, mode)
	}
	candidates := append([]string{abbr}, called[base]...)
	if subset != "" {
		candidates = append(candidates, base+"-*")
	} else {
		candidates = append(candidates, base)
	}
	for _, c := range candidates {
		c = plainName(strings.Replace(c, "*", subset, 1))
		if i := slices.IndexFunc(names, func(n string) bool { return plainName(n) == c }); i >= 0 {
			return names[i]
		}
	}
	return ""
}

// plainName is a name without what is written in several ways.
func plainName(name string) string {
	return strings.ReplaceAll(strings.ToLower(name), "-", "_")
}
