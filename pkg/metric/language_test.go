package metric

import (
	"encoding/json"
	"os"
	"strings"
	"testing"
)

// The texts are our own, two of one or two sentences in each of the 30 languages of IFEval; langdetect 1.0.9 (seed 0) names the language
// of each of them rightly.
func TestLanguages(t *testing.T) {
	data, err := os.ReadFile("testdata/languages.json")
	if err != nil {
		t.Fatal(err)
	}
	var texts map[string][]string
	if err := json.Unmarshal(data, &texts); err != nil {
		t.Fatal(err)
	}
	if len(texts) != len(languages) {
		t.Errorf("%d languages, want %d", len(texts), len(languages))
	}
	for code, list := range texts {
		for _, text := range list {
			for other := range languages {
				if got := speaks(text, other); got != (code == other) {
					t.Errorf("speaks(%q, %s) = %v, and it is %s", text, other, got, code)
				}
			}
		}
	}
	english := strings.Join(texts["en"], " ")
	for id, change := range map[string]func(string) string{
		"change_case:english_capital":   strings.ToUpper,
		"change_case:english_lowercase": strings.ToLower,
	} {
		in, err := NewInstruction(id, nil)
		if err != nil {
			t.Fatal(err)
		}
		if !in.Followed(change(english)) || in.Followed(english) || in.Followed(change(texts["de"][0])) {
			t.Errorf("%s is not told", id)
		}
	}
	if !speaks("12 + 30 = 42", "de") || !speaks("https://example.com/the/page", "de") {
		t.Error("a text without letters is in no language")
	}
}
