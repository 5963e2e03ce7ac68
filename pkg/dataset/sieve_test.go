package dataset

import (
	"encoding/json"
	"testing"

	"sextant/pkg/spec"

	"pgregory.net/rapid"
)

// sieved are programs of every mode, over rows with the columns q, o and a.
func sieved(t testing.TB) []*program {
	t.Helper()
	text := func(s string) *spec.Template { return &spec.Template{Text: s} }
	var out []*program
	for _, d := range []spec.Dataset{
		{Mode: spec.Gen, Answer: "a", Prompt: spec.Prompt{Template: text("{q} {a}")}},
		{Mode: spec.PPL, Answer: "a", Prompt: spec.Prompt{Template: text("{q} {choice}"), Choices: "o"}},
		{Mode: spec.PPL, Answer: "a", Prompt: spec.Prompt{Template: text("{q} {choice}"), Choices: "o"}, PPL: spec.PPLOptions{Normalizing: "A"}},
		{Mode: spec.PPL, Answer: "a", Prompt: spec.Prompt{Labels: map[string]spec.Template{"0": {Text: "{q}"}, "true": {Text: "{q} {a}"}}}},
		{Mode: spec.LL, Answer: "a", Prompt: spec.Prompt{Context: text("{q}"), Choices: "o"}},
		{Mode: spec.LL, Answer: "a", Prompt: spec.Prompt{Context: text("{q}"), Choices: "o", Choice: "{choice}{q}"}},
		{Mode: spec.CLP, Answer: "a", Prompt: spec.Prompt{Context: text("{q}"), Choices: "o", Choice: "{choice}"}},
		{Mode: spec.Gen, Answer: "a", Prompt: spec.Prompt{Template: &spec.Template{
			Round: []spec.Turn{{Role: "HUMAN", Prompt: "{q}"}, {Role: "BOT", Prompt: "{a}"}}}}},
	} {
		p, err := newProgram(d.WithDefaults(), []string{"q", "o", "a"})
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, p)
	}
	rolling, err := newProgram(spec.Dataset{Mode: spec.Rolling}.WithDefaults(), []string{"text"})
	if err != nil {
		t.Fatal(err)
	}
	return append(out, rolling)
}

// sound holds for every row: what the sieve passes renders. It gives how many of the programs passed it.
func sound(t rapid.TB, programs []*program, row []byte) (passed int) {
	for i, p := range programs {
		s := newSieve(p)
		if s == nil {
			t.Fatalf("program %d has no sieve", i)
		}
		if !s.passes(row) {
			continue
		}
		passed++
		v, err := p.makers.view(row)
		if err == nil {
			err = p.check(v)
		}
		if err != nil {
			t.Fatalf("program %d: the sieve passes %s, which cannot be rendered: %v", i, row, err)
		}
	}
	return passed
}

func TestSieveIsSound(t *testing.T) {
	programs := sieved(t)
	rapid.Check(t, func(t *rapid.T) {
		value := rapid.SampledFrom([]string{`""`, `"x"`, `"0"`, `"01"`, `"\u0030"`, `"a\"b"`, `0`, `1`, `-0`, `1.0`, `1e2`, `true`, `false`, `null`,
			`[]`, `["x","y"]`, `[ "x" , 1 , true ]`, `["x",null]`, `[["x"]]`, `["",""]`, `{}`, `{"q":1}`, `[{"a":"}"}]`, `" , \\"`})
		key := rapid.SampledFrom([]string{"q", "o", "a", "choice", `\u0061`, "text", ""})
		space := rapid.SampledFrom([]string{"", " ", "\t\r\n"})
		row, comma := "{", ""
		for range rapid.IntRange(0, 6).Draw(t, "keys") {
			s := space.Draw(t, "space")
			row += s + comma + s + `"` + key.Draw(t, "key") + `"` + s + ":" + s + value.Draw(t, "value") + s
			comma = ","
		}
		sound(t, programs, []byte(row+"}"))
	})
}

func TestSievePassesGoodRows(t *testing.T) {
	programs := sieved(t)
	good := []byte(`{"id": {"a": [1, {"b": "}"}]}, "q": "what \"is\" it", "o": ["x", 2], "a": 0, "text": "t"}`)
	if n := sound(t, programs, good); n != len(programs) {
		t.Errorf("%d of %d programs pass a good row", n, len(programs))
	}
}

func FuzzSieve(f *testing.F) {
	programs := sieved(f)
	f.Add([]byte(`{"q":"x","o":["x","y"],"a":1,"text":"\\"}`))
	f.Add([]byte(`{"q" : [ ] , "a":null,"a":"true"}`))
	f.Fuzz(func(t *testing.T, row []byte) {
		if len(row) > 0 && row[0] == '{' && json.Valid(row) {
			sound(t, programs, row)
		}
	})
}
