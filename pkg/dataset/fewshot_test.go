package dataset

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

const randomShots = `mode = "gen"
answer = "a"
prompt.template = "Q: {q}\nA: {a}"
few_shot = { kind = "random", k = %d, seed = %d }`

// numbered gives the rows from to to-1, each a JSON object.
func numbered(from, to int) string {
	var b strings.Builder
	for i := from; i < to; i++ {
		fmt.Fprintf(&b, "{\"q\":\"q%d\",\"a\":\"a%d\"}\n", i, i)
	}
	return b.String()
}

// TestRandomShots: the draw of a row depends on the seed and its number alone, repeats nothing and never holds the row itself.
func TestRandomShots(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		n := rapid.IntRange(4, 40).Draw(rt, "train rows")
		k := rapid.IntRange(1, n-1).Draw(rt, "k")
		seed := rapid.IntRange(0, 1<<40).Draw(rt, "seed")
		rows := rapid.IntRange(1, n+5).Draw(rt, "test rows")
		d := entry(t, fmt.Sprintf(randomShots, k, seed), numbered(0, rows), numbered(0, n))
		whole := open(t, d)
		limit := rapid.IntRange(1, rows).Draw(rt, "limit")
		part, err := Open(d, limit)
		if err != nil {
			rt.Fatal(err)
		}
		row := rapid.IntRange(0, limit-1).Draw(rt, "row")
		a, b := item(t, whole, row, nil), item(t, part, row, nil)
		if a.Digest("s") != b.Digest("s") {
			rt.Fatalf("row %d differs between a whole and a limited set", row)
		}
		shown := strings.Split(a.Prompts(k)[0].Text, "\n")
		var seen []string
		for i := 0; i < 2*k; i += 2 {
			if slices.Contains(seen, shown[i]) || shown[i] == fmt.Sprintf("Q: q%d", row) {
				rt.Fatalf("row %d has the example %q twice, or itself", row, shown[i])
			}
			seen = append(seen, shown[i])
		}
	})
}

// TestDrawIsFixed: other draws would silently change the scores of runs.
func TestDrawIsFixed(t *testing.T) {
	s := &shots{kind: "random", k: 5, seed: 7, train: &table{}}
	for line := range strings.SplitSeq(strings.TrimSpace(numbered(0, 100)), "\n") {
		s.train.rows, s.train.line = append(s.train.rows, []byte(line)), append(s.train.line, 0)
	}
	for row, want := range [][]int{{82, 90, 11, 64, 34}, {69, 52, 89, 19, 25}} {
		got, err := s.choose(row, []byte(`{}`))
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("row %d draws %v, %v; want %v", row, got, err, want)
		}
	}
	spread := map[int]int{}
	for row := range 2000 {
		ids, err := s.choose(row, []byte(`{}`))
		if err != nil {
			t.Fatal(err)
		}
		for _, id := range ids {
			spread[id]++
		}
	}
	for id := range 100 { // 100 expected each, standard deviation about 10
		if spread[id] < 50 || spread[id] > 150 {
			t.Errorf("row %d is drawn %d times of 2000 x 5 among 100", id, spread[id])
		}
	}
	s.k = 100
	_, err := s.choose(0, s.train.rows[3])
	wantError(t, err, "few_shot.k is 100, but only 99 rows differ")
}

// TestPromptsShrink: fewer examples, a shorter prompt, and what remains are the first.
func TestPromptsShrink(t *testing.T) {
	for _, sample := range samples {
		s := open(t, entry(t, sample.toml, sampleTest, sampleTrain))
		for _, meta := range metas {
			it := item(t, s, 0, meta)
			for k := it.Examples(); k > 0; k-- {
				long, short := it.Prompts(k), it.Prompts(k-1)
				for i := range long {
					if len(short[i].Text) >= len(long[i].Text) || !slices.Equal(long[i].Continuations, short[i].Continuations) {
						t.Errorf("%s: %d examples give %q, %d give %q", sample.name, k, long[i].Text, k-1, short[i].Text)
					}
				}
			}
			if got, want := fmt.Sprint(it.Prompts(99)), fmt.Sprint(it.Prompts(it.Examples())); got != want {
				t.Errorf("%s: more examples than there are give %s, want %s", sample.name, got, want)
			}
			if got, want := fmt.Sprint(it.Prompts(-1)), fmt.Sprint(it.Prompts(0)); got != want {
				t.Errorf("%s: -1 examples give %s, want %s", sample.name, got, want)
			}
		}
	}
}
