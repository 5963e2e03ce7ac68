package score

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"sextant/pkg/dataset"
	"sextant/pkg/metric"
	"sextant/pkg/result"
	"sextant/pkg/spec"
)

// TestCatalogIsScored: every metric and post-processor that an entry of the catalog names, or a subset of one, is known here.
func TestCatalogIsScored(t *testing.T) {
	catalog, err := dataset.NewCatalog()
	if err != nil {
		t.Fatal(err)
	}
	members := 0
	for _, name := range catalog.Names() {
		d, _ := catalog.Lookup(name)
		all := d.Members()
		members += len(all)
		if err := Validate(&spec.Spec{Datasets: all}); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if members < 460 {
		t.Errorf("only %d datasets were looked at", members)
	}
}

// TestDocumentedNames: docs/datasets.md has a row for each metric and post-processor, and for no other.
func TestDocumentedNames(t *testing.T) {
	doc, err := os.ReadFile("../../docs/datasets.md")
	if err != nil {
		t.Fatal(err)
	}
	known := genMetrics()
	for _, names := range metrics {
		known = append(known, names...)
	}
	known = append(known, wordPerplexity)
	known = append(known, ifevalNames...)
	for section, want := range map[string][]string{"Metrics": known, "Post-processors": metric.Processors()} {
		_, text, ok := strings.Cut(string(doc), "\n## "+section+"\n")
		text, _, _ = strings.Cut(text, "\n## ")
		var got []string
		for _, row := range regexp.MustCompile("(?m)^\\| (`.*?) \\|").FindAllStringSubmatch(text, -1) {
			for _, name := range regexp.MustCompile("`([^`:]+)[^`]*`").FindAllStringSubmatch(row[1], -1) {
				got = append(got, name[1])
			}
		}
		want = unique(want, func(name string) string { name, _, _ = strings.Cut(name, ":"); return name })
		if got = unique(got, func(name string) string { return name }); !ok || !slices.Equal(got, want) {
			t.Errorf("%s: docs/datasets.md has %q\nwant %q", section, got, want)
		}
	}
}

// TestCHRF: the value is of the rows' summed counts, as of a corpus, and not the mean of the rows' values.
func TestCHRF(t *testing.T) {
	texts, golds := []string{"the cat is here", "no"}, []string{"the cat was there", "nothing at all"}
	for name, words := range map[string]bool{"chrf": false, "chrf++": true} {
		var sum metric.CHRFStats
		var recs []result.Record
		for i := range texts {
			sum.Add(metric.CHRF(texts[i], golds[i:i+1], words))
			recs = append(recs, result.Record{Row: i, Text: texts[i], Gold: golds[i : i+1]})
		}
		s := compute(t, spec.Dataset{Mode: spec.Gen, Metric: name}, 2, recs...)
		near(t, name, *s.Value, sum.Score())
	}
	if _, err := measuresOf("chrf", 2); err == nil {
		t.Error("two samples are no corpus")
	}
}

// unique are the names as by makes them, sorted, each once.
func unique(names []string, by func(string) string) []string {
	var out []string
	for _, n := range names {
		out = append(out, by(n))
	}
	slices.Sort(out)
	return slices.Compact(out)
}
