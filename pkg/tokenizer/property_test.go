package tokenizer

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/dlclark/regexp2/v2"
	"pgregory.net/rapid"
)

// oddText draws text of the kinds tokenizers differ on.
func oddText() *rapid.Generator[string] {
	part := rapid.OneOf(
		rapid.String(),
		rapid.StringMatching(`[ \t\r\n]{1,6}`),
		rapid.StringMatching(`'(s|T|re|VE|m|ll|D|x)?[a-c]{0,3}`),
		rapid.StringMatching(`[a-e]{1,8}[0-9]{0,5}[.,!_]{0,3}`),
		rapid.SampledFrom([]string{"\u017f", "'\u017f", "\u2581", "\u0301", "\u00a0", "\u0085", "\u3000", "<s>", "<|im_end|>", "\u4e2d\u6587", "\U0001f600", "\u00bd", "\u0663"}),
	)
	return rapid.Custom(func(t *rapid.T) string { return strings.Join(rapid.SliceOfN(part, 0, 12).Draw(t, "parts"), "") })
}

// TestScanners holds the hand-written scanners to the patterns they stand for.
func TestScanners(t *testing.T) {
	for expr, scan := range scanners {
		re := regexp2.MustCompile(expr)
		rapid.Check(t, func(t *rapid.T) {
			text := oddText().Draw(t, "text")
			var got [][]int
			for at := 0; at < len(text); {
				stop := scan(text, at)
				got = append(got, []int{at, stop})
				at = stop
			}
			want, err := re.FindAllStringIndex(text, -1)
			if err != nil {
				t.Fatal(err)
			}
			if !slices.EqualFunc(got, want, func(a, b []int) bool { return slices.Equal(a, b) }) {
				t.Fatalf("%q cut by %q\n got %v\nwant %v", text, expr, got, want)
			}
		})
	}
}

// rankTable ranks pairs by the text they make.
type rankTable map[string]int32

func (r rankTable) rankPair(text string, left, right *symbol) (rank, id int32, ok bool) {
	rank, ok = r[text[left.start:right.start+right.len]]
	return rank, 0, ok
}

// TestMerger holds the heap to the definition: merge the pair of lowest rank, leftmost first, until there is none.
func TestMerger(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		table := rankTable(rapid.MapOf(rapid.StringMatching(`[ab]{2,5}`), rapid.Int32Range(0, 9)).Draw(t, "ranks"))
		text := rapid.StringMatching(`[ab]{0,40}`).Draw(t, "text")
		want := strings.Split(text, "")
		for {
			best, at := int32(-1), 0
			for i := 1; i < len(want); i++ {
				if rank, ok := table[want[i-1]+want[i]]; ok && (best < 0 || rank < best) {
					best, at = rank, i
				}
			}
			if best < 0 {
				break
			}
			want[at-1] += want[at]
			want = slices.Delete(want, at, at+1)
		}
		m := newMerger()
		defer m.free()
		m.reset()
		for i := range len(text) {
			m.add(symbol{start: int32(i), len: 1})
		}
		m.run(text, table)
		got := []string{}
		for i := int32(0); i >= 0 && len(text) > 0; i = m.syms[i].next {
			s := m.syms[i]
			got = append(got, text[s.start:s.start+s.len])
		}
		if !slices.Equal(got, want) {
			t.Fatalf("got %q, want %q", got, want)
		}
	})
}

// TestRoundTrip: a byte-level tokenizer without a normalizer loses nothing, and neither does its decoder.
func TestRoundTrip(t *testing.T) {
	for _, name := range []string{"hf_gpt2", "hf_llama3", "hf_splits", "hf_behaviors"} {
		tok := mustLoad(t, unzipped(t, name+".json", "tokenizer.json"))
		rapid.Check(t, func(t *rapid.T) {
			text := oddText().Draw(t, "text")
			ids := tok.Encode(text)
			if got := tok.Decode(ids); got != text {
				t.Fatalf("%s: Decode(Encode(%q)) = %q", name, text, got)
			}
			d, got := tok.NewDecoder(nil), ""
			for _, id := range ids {
				got += d.Append(id)
			}
			if got += d.Flush(); got != text {
				t.Fatalf("%s: the decoder gives %q for %q", name, got, text)
			}
		})
	}
}

// TestWordsApart: cutting text into words before merging changes no id.
func TestWordsApart(t *testing.T) {
	tok := mustLoad(t, unzipped(t, "spm_bpe.model", "some.model"))
	s := tok.scheme.(*spmScheme).spm
	if !s.words {
		t.Fatal("the test model's words cannot be merged apart")
	}
	whole := *s
	whole.words = false
	rapid.Check(t, func(t *rapid.T) {
		text := oddText().Draw(t, "text")
		if got, want := s.encode(nil, text, s.norm), whole.encode(nil, text, s.norm); !slices.Equal(got, want) {
			t.Fatalf("%q\n got %v\nwant %v", text, got, want)
		}
	})
}

// TestLongTextIsNotQuadratic: a quadratic step would take minutes on these texts; all take milliseconds.
func TestLongTextIsNotQuadratic(t *testing.T) {
	files := map[string]string{"spm_bpe.model": "a.model", "spm_bpe_cross.model": "a.model", "spm_unigram.model": "a.model", "hf_llama3.json": "tokenizer.json", "hf_llama2.json": "tokenizer.json", "hf_o200k.json": "tokenizer.json"}
	for name, as := range files {
		tok := mustLoad(t, unzipped(t, name, as))
		for _, text := range []string{strings.Repeat("ab", 50_000), strings.Repeat(" ", 100_000) + "x", strings.Repeat("\n", 100_000), strings.Repeat("<s>", 30_000), strings.Repeat("\u4e2d", 30_000)} {
			begin := time.Now()
			tok.EncodePrompt(text)
			if took := time.Since(begin); took > 10*time.Second {
				t.Errorf("%s: %d bytes of %.6q... took %v", name, len(text), text, took)
			} else {
				t.Logf("%s: %d bytes of %.6q: %v", name, len(text), text, took)
			}
		}
	}
}
