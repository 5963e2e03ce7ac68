package report

import (
	"slices"
	"strings"
	"testing"
)

func TestBrief(t *testing.T) {
	s := scenes(t)["missing"]
	all := Brief(s, 100)
	if len(all) != len(s.Groups)+len(s.Scores) || !strings.HasPrefix(all[0], "base/ranking: 62.31 ± 2.70* mean") {
		t.Errorf("%q", all)
	}
	for _, line := range []string{"base/long_ppl: 40.40 ± 4.96* accuracy, 99 of 100 rows", "base/gsm: - exact_match, 0 of 1319 rows",
		"chat/long_ppl: 50.00 ± 5.03 accuracy"} {
		if !slices.Contains(all, line) {
			t.Errorf("%q lacks %q", all, line)
		}
	}
	if few := Brief(s, 4); len(few) != 4 || !slices.Equal(few[:3], all[:3]) || few[3] != "... and 9 more" {
		t.Errorf("%q", few)
	}
	if none := Brief(scenes(t)["empty"], 4); len(none) != 0 {
		t.Errorf("%q", none)
	}
}
