//go:build conformance

package tokenizer

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// data is a path under the outside data, which SEXTANT_DATA names.
func data(t *testing.T, parts ...string) string {
	t.Helper()
	root := os.Getenv("SEXTANT_DATA")
	if root == "" {
		t.Fatal("SEXTANT_DATA is not set")
	}
	return filepath.Join(append([]string{root}, parts...)...)
}

// TestPublicSentencePiece compares public models with what the sentencepiece library gave for them.
// Versions 2, 3 and 7 of Mistral's models differ in control pieces only and have one golden.
func TestPublicSentencePiece(t *testing.T) {
	for model, golden := range map[string]string{
		"mistral/tokenizer.model.v1":                         "mistral_v1",
		"mistral/mistral_instruct_tokenizer_240216.model.v2": "mistral_v3",
		"mistral/mistral_instruct_tokenizer_240323.model.v3": "mistral_v3",
		"mistral/mistral_instruct_tokenizer_241114.model.v7": "mistral_v3",
		"sentencepiece/test_model.model":                     "spm_test_model",
	} {
		t.Run(filepath.Base(model), func(t *testing.T) {
			checkPieces(t, mustLoad(t, data(t, "tokenizers", model)), readGolden(t, "testdata/conformance/"+golden+".json"))
		})
	}
}

func TestStoriesEncode(t *testing.T) {
	raw, err := os.ReadFile(data(t, "stories260k/golden/spm_encode.json"))
	if err != nil {
		t.Fatal(err)
	}
	var sets map[string]struct {
		Rows []goldenRow
	}
	if err := json.Unmarshal(raw, &sets); err != nil {
		t.Fatal(err)
	}
	models := map[string][]string{
		"tok512":     {"stories260k/hf", "stories260k/hf-f16", "stories260k/hf-bf16"},
		"mistral_v1": {"tokenizers/mistral/tokenizer.model.v1"},
		"mistral_v3": {"tokenizers/mistral/mistral_instruct_tokenizer_240323.model.v3"},
	}
	for name, set := range sets {
		if len(models[name]) == 0 {
			t.Errorf("no model for the %d rows of %q", len(set.Rows), name)
		}
		for _, path := range models[name] {
			t.Run(path, func(t *testing.T) { checkPieces(t, mustLoad(t, data(t, path)), set.Rows) })
		}
	}
}

func TestGPT2(t *testing.T) {
	tok := mustLoad(t, data(t, "tokenizers/gpt2"))
	for _, r := range readGolden(t, "testdata/conformance/gpt2.json") {
		if r.Text != nil {
			if got := tok.Encode(*r.Text); !slices.Equal(got, r.IDs) {
				t.Errorf("Encode(%q)\n got %v\nwant %v", *r.Text, got, r.IDs)
			}
			r.Raw = r.IDs
		}
		if got := tok.Decode(r.Raw); got != *r.Decoded {
			t.Errorf("Decode(%v) = %q, want %q", r.Raw, got, *r.Decoded)
		}
		checkDecoder(t, tok, r.Raw)
	}
	texts := readVectors(t, data(t, "tokenizers/vectors/ggml-vocab-gpt-2.gguf.inp"), "\n__ggml_vocab_test__\n")
	lines := readVectors(t, data(t, "tokenizers/vectors/ggml-vocab-gpt-2.gguf.out"), "\n")
	for i, text := range texts {
		var want []int32
		for _, w := range strings.Fields(lines[i]) {
			id, _ := strconv.Atoi(w)
			want = append(want, int32(id))
		}
		if got := tok.Encode(text); !slices.Equal(got, want) {
			t.Errorf("vector %d: Encode(%q)\n got %v\nwant %v", i, text, got, want)
		}
	}
	t.Logf("%d vectors", len(texts))
}

func readVectors(t *testing.T, path, sep string) []string {
	t.Helper()
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	parts := strings.Split(string(raw), sep)
	return parts[:len(parts)-1]
}
