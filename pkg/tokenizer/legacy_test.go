package tokenizer

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestLegacy holds EncodePrompt to the slow Llama tokenizer's treatment of special tokens in the text.
func TestLegacy(t *testing.T) {
	for name, legacy := range map[string]bool{"spm_legacy": true, "spm_nonlegacy": false} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			write(t, dir, "tokenizer.model", unzip(t, "testdata/spm_bpe.model.gz"))
			config, _ := json.Marshal(map[string]any{
				"tokenizer_class": "LlamaTokenizer", "legacy": legacy, "add_bos_token": false, "bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>",
				"added_tokens_decoder": map[string]any{
					"900": map[string]any{"content": "<tag>"},
					"901": map[string]any{"content": "<strip>", "lstrip": true, "rstrip": true, "special": true},
				},
			})
			write(t, dir, "tokenizer_config.json", config)
			tok := mustLoad(t, dir)
			if tok.VocabSize() != 902 {
				t.Errorf("VocabSize = %d, want 902", tok.VocabSize())
			}
			for _, r := range readGolden(t, filepath.Join("testdata", name+".golden.json")) {
				if got := tok.EncodePrompt(*r.Text); !slices.Equal(got, r.Prompt) {
					t.Errorf("EncodePrompt(%q)\n got %v\nwant %v", *r.Text, got, r.Prompt)
				}
				// The slow tokenizer's split_special_tokens also stops finding tokens that are not special; ours does not.
				if got := tok.Encode(*r.Text); !slices.Equal(got, r.IDs) && !strings.Contains(*r.Text, "<tag>") {
					t.Errorf("Encode(%q)\n got %v\nwant %v", *r.Text, got, r.IDs)
				}
			}
		})
	}
}

func write(t testing.TB, dir, name string, data []byte) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
		t.Fatal(err)
	}
}
