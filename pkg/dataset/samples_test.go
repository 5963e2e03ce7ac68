package dataset

import (
	"slices"
	"testing"
)

const twoRows = `{"q": "one", "a": "1", "passage": {"id": 7}}
{"q": "two", "a": "2", "passage": {"id": 7}}
`

const sampled = `mode = "gen"
answer = "a"
prompt.template = "{q}"
gen = { temperature = 1, samples = 3 }
`

// TestSamples holds that a row's samples stand together, ask the same, and are told apart by their digests.
func TestSamples(t *testing.T) {
	s := open(t, entry(t, sampled, twoRows, ""))
	if s.Len() != 6 || s.Samples() != 3 || len(s.Sizes()) != 6 {
		t.Fatalf("%d items of %d samples, %d sizes", s.Len(), s.Samples(), len(s.Sizes()))
	}
	var digests []string
	for i := range 6 {
		it := item(t, s, i, nil)
		if want := []string{"one", "two"}[i/3]; it.Row != i || it.Prompts(0)[0].Text != want {
			t.Errorf("item %d: row %d, %q, want %q", i, it.Row, it.Prompts(0)[0].Text, want)
		}
		digests = append(digests, it.Digest("s"))
	}
	slices.Sort(digests)
	if n := len(slices.Compact(digests)); n != 6 {
		t.Errorf("%d digests of 6 items", n)
	}
	_, err := s.Item(6, nil)
	wantError(t, err, "row 6 of 6")
	one := open(t, entry(t, `mode = "gen"
answer = "a"
prompt.template = "{q}"
`, twoRows, ""))
	if one.Len() != 2 || item(t, one, 1, nil).Digest("s") != item(t, s, 3, nil).Digest("s") {
		t.Error("the first sample's digest is not that of the row alone")
	}
}

func TestClusters(t *testing.T) {
	s := open(t, entry(t, sampled+"cluster = 'passage.id'\n", twoRows, ""))
	if got, err := s.Clusters(); err != nil || !slices.Equal(got, []string{"7", "7"}) {
		t.Errorf("%q, %v", got, err)
	}
	if got, err := open(t, entry(t, sampled, twoRows, "")).Clusters(); err != nil || got != nil {
		t.Errorf("%q, %v", got, err)
	}
	s = open(t, entry(t, sampled+"cluster = 'passage'\n", twoRows, ""))
	_, err := s.Clusters()
	wantError(t, err, "row 0", "cluster", "object")
	_, err = Open(entry(t, sampled+"cluster = 'pasage'\n", twoRows, ""), 0)
	wantError(t, err, "cluster", "did you mean passage")
}
