package tokenizer

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// goldenRow is what the reference library says of one text, or of raw ids.
type goldenRow struct {
	Text    *string `json:"text"`
	IDs     []int32 `json:"ids"`
	Prompt  []int32 `json:"prompt"` // absent: as ids
	Raw     []int32 `json:"raw"`
	Decoded *string `json:"decoded"`
}

func readGolden(t testing.TB, path string) []goldenRow {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var rows []goldenRow
	if err := json.Unmarshal(data, &rows); err != nil {
		t.Fatal(err)
	}
	return rows
}

func unzip(t testing.TB, path string) []byte {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	r, err := gzip.NewReader(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	if data, err = io.ReadAll(r); err != nil {
		t.Fatal(err)
	}
	return data
}

// unzipped writes the content of testdata/NAME.gz as a file and returns its path.
func unzipped(t testing.TB, name, as string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), as)
	if err := os.WriteFile(path, unzip(t, filepath.Join("testdata", name+".gz")), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func mustLoad(t testing.TB, path string) *Tokenizer {
	t.Helper()
	tok, err := Load(path)
	if err != nil {
		t.Fatal(err)
	}
	return tok
}

// check compares the tokenizer with every row, and the incremental decoder with Decode.
func check(t *testing.T, tok *Tokenizer, rows []goldenRow) {
	t.Helper()
	for _, r := range rows {
		ids := r.Raw
		if r.Text != nil {
			if got := tok.Encode(*r.Text); !slices.Equal(got, r.IDs) {
				t.Errorf("Encode(%q)\n got %v\nwant %v", *r.Text, got, r.IDs)
			}
			if r.Prompt == nil {
				r.Prompt = r.IDs
			}
			ids = r.Prompt
			if got := tok.EncodePrompt(*r.Text); !slices.Equal(got, r.Prompt) {
				t.Errorf("EncodePrompt(%q)\n got %v\nwant %v", *r.Text, got, r.Prompt)
			}
		}
		if r.Decoded != nil {
			if got := tok.Decode(ids); got != *r.Decoded {
				t.Errorf("Decode(%v) = %q, want %q", ids, got, *r.Decoded)
			}
		}
		checkDecoder(t, tok, ids)
	}
}

// checkDecoder cuts ids into prompt and generation everywhere.
func checkDecoder(t testing.TB, tok *Tokenizer, ids []int32) {
	t.Helper()
	whole := tok.Decode(ids)
	for cut := 0; cut <= len(ids); cut += 1 + len(ids)/8 {
		d, got := tok.NewDecoder(ids[:cut]), ""
		for _, id := range ids[cut:] {
			got += d.Append(id)
			if !strings.HasPrefix(d.Text(), got) {
				t.Fatalf("ids %v from %d: Append gave %q, but Text is %q", ids, cut, got, d.Text())
			}
		}
		text := d.Text()
		if got += d.Flush(); got != text {
			t.Errorf("ids %v from %d: Append and Flush give %q, Text %q", ids, cut, got, text)
		}
		if rest, ok := strings.CutPrefix(whole, tok.Decode(ids[:cut])); ok && text != rest {
			t.Errorf("ids %v from %d: Text is %q, want %q", ids, cut, text, rest)
		}
	}
}

// checkPieces compares with SentencePiece itself: no added tokens, no BOS.
func checkPieces(t *testing.T, tok *Tokenizer, rows []goldenRow) {
	t.Helper()
	for _, r := range rows {
		if r.Text != nil {
			if got := tok.Encode(*r.Text); !slices.Equal(got, r.IDs) {
				t.Errorf("Encode(%q)\n got %v\nwant %v", *r.Text, got, r.IDs)
			}
			r.Raw = r.IDs
		}
		if got := decodeAll(tok.scheme.(*spmScheme).spm.newStream(), r.Raw); got != *r.Decoded {
			t.Errorf("decode(%v) = %q, want %q", r.Raw, got, *r.Decoded)
		}
		checkDecoder(t, tok, r.Raw)
	}
}

func TestGoldenSentencePiece(t *testing.T) {
	for _, name := range []string{"spm_bpe", "spm_bpe_unused", "spm_bpe_rules", "spm_bpe_cross", "spm_unigram", "spm_unigram_unk"} {
		t.Run(name, func(t *testing.T) {
			tok := mustLoad(t, unzipped(t, name+".model", "some.model"))
			checkPieces(t, tok, readGolden(t, filepath.Join("testdata", name+".golden.json")))
		})
	}
	t.Run("pocket", func(t *testing.T) {
		tok := mustLoad(t, "../../examples/pocket/model")
		checkPieces(t, tok, readGolden(t, "testdata/pocket.golden.json"))
		if got, want := tok.EncodePrompt("Tom"), append([]int32{1}, tok.Encode("Tom")...); !slices.Equal(got, want) {
			t.Errorf("EncodePrompt = %v, want %v", got, want)
		}
		if tok.VocabSize() != 1024 {
			t.Errorf("VocabSize = %d, want 1024", tok.VocabSize())
		}
	})
}

func TestGoldenTokenizerJSON(t *testing.T) {
	for _, name := range []string{"hf_gpt2", "hf_lower", "hf_llama3", "hf_qwen2", "hf_splits", "hf_cl100k", "hf_o200k", "hf_behaviors", "hf_llama2", "hf_metaspace_first", "hf_metaspace_always"} {
		t.Run(name, func(t *testing.T) {
			tok := mustLoad(t, unzipped(t, name+".json", "tokenizer.json"))
			check(t, tok, readGolden(t, filepath.Join("testdata", name+".golden.json")))
		})
	}
}

// TestPocketGreedy holds prompts and generated text to the pocket model's independent reference.
func TestPocketGreedy(t *testing.T) {
	data, err := os.ReadFile("../../examples/pocket/golden/greedy.json")
	if err != nil {
		t.Fatal(err)
	}
	var rows []struct {
		Prompt    string  `json:"prompt"`
		PromptIDs []int32 `json:"prompt_ids"`
		IDs       []int32 `json:"ids"`
		Text      string  `json:"text"`
	}
	if err := json.Unmarshal(data, &rows); err != nil {
		t.Fatal(err)
	}
	tok := mustLoad(t, "../../examples/pocket/model")
	for _, r := range rows {
		if got := tok.EncodePrompt(r.Prompt); !slices.Equal(got, r.PromptIDs) {
			t.Errorf("EncodePrompt(%q)\n got %v\nwant %v", r.Prompt, got, r.PromptIDs)
		}
		d := tok.NewDecoder(r.PromptIDs)
		for _, id := range r.IDs {
			d.Append(id)
		}
		if got := d.Text(); got != r.Text {
			t.Errorf("after %q: text %q, want %q", r.Prompt, got, r.Text)
		}
	}
	if len(rows) == 0 {
		t.Error("no rows")
	}
}
