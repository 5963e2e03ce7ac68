package metric

import (
	"encoding/json"
	"os"
	"slices"
	"strings"
	"testing"
)

// TestIFEvalIsThatOfTheReference holds the checks against instruction_following_eval (Zhou et al. 2023), run over responses of our own
// with NLTK 3.8: its Punkt with the same English parameters, its word_tokenize. Language is not among them: see language_test.go.
func TestIFEvalIsThatOfTheReference(t *testing.T) {
	var ref struct {
		Responses    []string
		Sentences    []int
		Instructions []struct {
			ID            string
			Kwargs        json.RawMessage
			Strict, Loose string
		}
	}
	data, err := os.ReadFile("testdata/ifeval.json")
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(data, &ref); err != nil {
		t.Fatal(err)
	}
	for i, r := range ref.Responses {
		if got := sentenceCount(r); got != ref.Sentences[i] {
			t.Errorf("%d sentences in %q, want %d: %q", got, r, ref.Sentences[i], sentences(r))
		}
	}
	kinds := map[string]bool{}
	for _, in := range ref.Instructions {
		kinds[in.ID] = true
		list := []Instruction{}
		one, err := NewInstruction(in.ID, in.Kwargs)
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, one)
		for i, r := range ref.Responses {
			if got := FollowedStrict(list, r)[0]; got != (in.Strict[i] == '1') {
				t.Errorf("%s %s of %q, strict: %v", in.ID, in.Kwargs, r, got)
			}
			if got := FollowedLoose(list, r)[0]; got != (in.Loose[i] == '1') {
				t.Errorf("%s %s of %q, loose: %v", in.ID, in.Kwargs, r, got)
			}
		}
	}
	if len(kinds) != 22 || len(Instructions()) != 25 {
		t.Errorf("%d kinds of %d are held against the reference", len(kinds), len(Instructions()))
	}
}

func TestIFEvalRow(t *testing.T) {
	list, err := ParseIFEval([]byte(`{"key": 1000, "prompt": "x", "instruction_id_list": ["punctuation:no_comma", "length_constraints:number_words"],
		"kwargs": [{"num_words": null}, {"relation": "at least", "num_words": 3, "keyword": null}]}`))
	if err != nil {
		t.Fatal(err)
	}
	for response, want := range map[string][]bool{"one two three": {true, true}, "a, b": {false, false}, "a b": {true, false}, " ": {false, false}} {
		got := FollowedStrict(list, response)
		if !slices.Equal(got, want) {
			t.Errorf("%q: %v, want %v", response, got, want)
		}
	}
	if got := FollowedLoose(list, "Sure, here it is:\none two three"); !slices.Equal(got, []bool{true, true}) {
		t.Errorf("the first line is not left out: %v", got)
	}
}

func TestIFEvalFaults(t *testing.T) {
	for _, c := range [][2]string{
		{`{"instruction_id_list": [], "kwargs": []}`, "0 entries"},
		{`{"instruction_id_list": ["punctuation:no_comma"], "kwargs": []}`, "1 entries in instruction_id_list and 0"},
		{`[1]`, "reading the instructions"},
		{"punctuation:no_coma {}", "unknown instruction"},
		{`length_constraints:number_words {"num_words": 1.5, "relation": "at most"}`, "at most"},
		{`length_constraints:number_words null`, "num_words"},
		{`length_constraints:number_words "x"`, "reading its arguments"},
		{`keywords:existence {"keywords": ["a", 1]}`, "list of texts"},
		{`keywords:letter_frequency {"letter": "ab", "let_frequency": 1, "let_relation": "less than"}`, "not one letter"},
		{`language:response_language {"language": "xx"}`, "none of the languages"},
		{`length_constraints:nth_paragraph_first_word {"num_paragraphs": 1, "nth_paragraph": 2, "first_word": "a"}`, "2 of 1"},
	} {
		row, want := c[0], c[1]
		if id, kwargs, ok := strings.Cut(row, " "); ok && strings.Contains(id, ":") && row[0] != '{' {
			row = `{"instruction_id_list": ["` + id + `"], "kwargs": [` + kwargs + `]}`
		}
		if _, err := ParseIFEval([]byte(row)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q in it", row, err, want)
		}
	}
}

func FuzzIFEval(f *testing.F) {
	f.Add(`{"instruction_id_list": ["punctuation:no_comma"], "kwargs": [{}]}`, "a response")
	for _, id := range Instructions() {
		f.Add(`{"instruction_id_list": ["`+id+`"], "kwargs": [{"keywords": ["a("], "keyword": "[", "frequency": 1, "relation": "less than",
			"forbidden_words": ["\\b"], "letter": "x", "let_frequency": 2, "let_relation": "at least", "language": "sw", "num_sentences": 2,
			"num_words": 5, "num_paragraphs": 2, "nth_paragraph": 1, "first_word": "a", "num_placeholders": 1, "postscript_marker": "P.S.",
			"num_bullets": 1, "num_highlights": 1, "section_spliter": "*", "num_sections": 1, "prompt_to_repeat": "a", "end_phrase": "b",
			"capital_frequency": 1, "capital_relation": "at least"}]}`, "A b. *c* [d]\n\n***\n")
	}
	f.Fuzz(func(t *testing.T, row, response string) {
		list, err := ParseIFEval([]byte(row))
		if err != nil {
			return
		}
		strict, loose := FollowedStrict(list, response), FollowedLoose(list, response)
		for i := range strict {
			if strict[i] && !loose[i] {
				t.Errorf("%s of %q is followed strictly but not loosely", list[i].ID, response)
			}
		}
	})
}
