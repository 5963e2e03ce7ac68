package dataset

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"sextant/pkg/spec"
)

// count gives tokens 1 to n; 0 is BOS in these tests.
func count(n int) []int32 {
	out := make([]int32, n)
	for i := range out {
		out[i] = int32(i + 1)
	}
	return out
}

func show(ws []Window) string {
	var b strings.Builder
	for _, w := range ws {
		fmt.Fprintf(&b, "%v|%v ", w.Tokens[:w.From], w.Tokens[w.From:])
	}
	return strings.TrimSpace(b.String())
}

// TestWindows: what is left of the bar is context, what is right of it is scored.
func TestWindows(t *testing.T) {
	for _, c := range []struct {
		convention string
		n, seqLen  int
		stride     int
		bos        int32
		want       string
	}{
		{"gptq", 9, 4, 0, 0, "[0]|[1 2 3] [4]|[5 6 7]"},
		{"", 8, 4, 0, -1, "[1]|[2 3 4] [5]|[6 7 8]"},
		{"gptq-bos", 8, 4, 0, 0, "[0]|[1 2 3] [0]|[4 5 6]"},
		{"sliding", 9, 4, 2, 0, "[0]|[1 2 3] [2 3]|[4 5] [4 5]|[6 7] [6 7]|[8 9]"},
		{"sliding", 8, 4, 0, -1, "[1]|[2 3 4] [3 4]|[5 6] [5 6]|[7 8]"},
		{"sliding", 8, 4, 1, -1, "[1]|[2 3 4] [2 3 4]|[5] [3 4 5]|[6] [4 5 6]|[7] [5 6 7]|[8]"},
		{"sliding", 9, 4, 3, -1, "[1]|[2 3 4] [4]|[5 6 7] [7]|[8 9]"},
		{"sliding", 9, 4, 4, -1, "[1]|[2 3 4] [5]|[6 7 8]"},
		{"sliding", 3, 4, 2, -1, "[1]|[2 3]"},
		{"lm-eval", 9, 4, 0, 0, "[0]|[1 2 3 4] [4]|[5 6 7 8] [5 6 7 8]|[9]"},
		{"lm-eval", 10, 4, 0, 0, "[0]|[1 2 3 4] [4]|[5 6 7 8] [6 7 8]|[9 10]"},
		{"lm-eval", 3, 4, 0, 0, "[0]|[1 2 3]"},
		{"llama.cpp", 8, 4, 0, -1, "[1 2 3]|[4] [5 6 7]|[8]"},
		{"llama.cpp", 12, 6, 0, 0, "[0 1 2 3]|[4 5] [0 7 8 9]|[10 11]"},
	} {
		r := spec.RollingOptions{Convention: c.convention, SeqLen: c.seqLen, Stride: c.stride}
		got, err := Windows(r, []TokenDocument{{Tokens: count(c.n), Words: 7, Bytes: 30}}, c.bos)
		if err != nil {
			t.Errorf("%s of %d by %d: %v", c.convention, c.n, c.seqLen, err)
			continue
		}
		if show(got) != c.want {
			t.Errorf("%s of %d by %d: %s\nwant %s", c.convention, c.n, c.seqLen, show(got), c.want)
		}
		for i, w := range got {
			if first := i == 0; first != (w.Words == 7) || first != (w.Bytes == 30) {
				t.Errorf("%s: window %d has %d words, %d bytes", c.convention, i, w.Words, w.Bytes)
			}
		}
	}
}

func TestWindowErrors(t *testing.T) {
	for _, c := range []struct {
		r    spec.RollingOptions
		n    int
		bos  int32
		want string
	}{
		{spec.RollingOptions{Convention: "gptq", SeqLen: 4}, 2, 0, "the text has 3 tokens and needs 4"},
		{spec.RollingOptions{Convention: "gptq-bos", SeqLen: 4}, 9, -1, "no BOS token"},
		{spec.RollingOptions{Convention: "lm-eval", SeqLen: 4}, 9, -1, "no BOS or EOS token"},
		{spec.RollingOptions{Convention: "lm-eval", SeqLen: 4}, 0, 0, "no token to score"},
		{spec.RollingOptions{Convention: "llama.cpp", SeqLen: 4}, 6, 0, "has 7 tokens and needs 8"},
		{spec.RollingOptions{Convention: "llama.cpp", SeqLen: 2}, 6, 0, "must be 4 at least"},
		{spec.RollingOptions{Convention: "sliding", SeqLen: 4, Stride: 5}, 9, 0, "from 1 to seq_len = 4"},
		{spec.RollingOptions{Convention: "gptq", SeqLen: 1}, 9, 0, "seq_len is 1"},
		{spec.RollingOptions{Convention: "lmeval", SeqLen: 4}, 9, 0, "did you mean lm-eval?"},
	} {
		_, err := Windows(c.r, []TokenDocument{{Tokens: count(c.n)}}, c.bos)
		wantError(t, err, c.want)
	}
}

// TestWindowsScoreOnce: sliding and lm-eval score every token once, with a context that no window of the length could beat by more
// than the stride; no convention scores one twice.
func TestWindowsScoreOnce(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		r := spec.RollingOptions{
			Convention: rapid.SampledFrom([]string{"gptq", "gptq-bos", "sliding", "lm-eval", "llama.cpp"}).Draw(rt, "convention"),
			SeqLen:     rapid.IntRange(4, 20).Draw(rt, "seq_len"),
		}
		r.Stride = rapid.IntRange(1, r.SeqLen-1).Draw(rt, "stride")
		n := rapid.IntRange(1, 100).Draw(rt, "tokens")
		ws, err := Windows(r, []TokenDocument{{Tokens: count(n)}}, 0)
		if err != nil {
			if n >= 2*r.SeqLen {
				rt.Fatal(err)
			}
			return
		}
		scored := map[int32]int{}
		for _, w := range ws {
			if w.From < 1 || w.From >= len(w.Tokens) || len(w.Tokens) > r.SeqLen+1 || len(w.Tokens) > r.SeqLen && r.Convention != "lm-eval" {
				rt.Fatalf("window of %d tokens from %d", len(w.Tokens), w.From)
			}
			for i, id := range w.Tokens {
				if i >= w.From {
					scored[id]++
				}
				if i > 0 && w.Tokens[i-1] != id-1 && w.Tokens[i-1] != 0 {
					rt.Fatalf("%v is no part of the text", w.Tokens)
				}
			}
			if r.Convention == "sliding" && w.Tokens[0] != 0 && w.From < r.SeqLen-r.Stride {
				rt.Fatalf("%d tokens of context, want %d", w.From, r.SeqLen-r.Stride)
			}
		}
		for id := range int32(n) {
			times := scored[id+1]
			if times > 1 || times == 0 && (r.Convention == "sliding" || r.Convention == "lm-eval") {
				rt.Fatalf("%s scores token %d %d times", r.Convention, id+1, times)
			}
		}
	})
}

func TestDocuments(t *testing.T) {
	rows := "{\"content\":\"a b\\n\"}\n{\"content\":\" ü\"}\n"
	toml := "mode = 'rolling'\ncolumns.text = { from = 'content' }\nrolling = { convention = '%s', join = '|' }"
	s := open(t, entry(t, fmt.Sprintf(toml, "gptq"), rows, ""))
	if got, want := s.Documents(), []Document{{"a b\n| ü", 4, 8}}; !slices.Equal(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
	s = open(t, entry(t, fmt.Sprintf(toml, "lm-eval"), rows, ""))
	if got, want := s.Documents(), []Document{{"a b\n", 3, 4}, {" ü", 2, 3}}; !slices.Equal(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
	if _, err := s.Item(0, nil); err == nil {
		t.Error("a rolling dataset gives an item")
	}
}

func TestWindowDigest(t *testing.T) {
	w := Window{Tokens: []int32{1, 2, 3}, From: 1}
	all := []string{w.Digest("s"), w.Digest("t"), Window{Tokens: w.Tokens, From: 2}.Digest("s"), Window{Tokens: []int32{1, 2, 4}, From: 1}.Digest("s")}
	slices.Sort(all)
	if len(slices.Compact(all)) != 4 || len(all[0]) != 16 {
		t.Errorf("digests %q", all)
	}
}
