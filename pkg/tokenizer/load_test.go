package tokenizer

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"sextant/internal/s3lab"
	"sextant/pkg/objstore"
)

// directory writes the files into a new directory.
func directory(t testing.TB, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, content := range files {
		write(t, dir, name, []byte(content))
	}
	return dir
}

func TestLoadChooses(t *testing.T) {
	spm := string(unzip(t, "testdata/spm_bpe.model.gz"))
	tj := string(unzip(t, "testdata/hf_llama3.json.gz"))
	vocab, _ := os.ReadFile("testdata/gpt2/vocab.json")
	merges, _ := os.ReadFile("testdata/gpt2/merges.txt")
	qwen := string(rankFile(t))
	cases := []struct {
		name  string
		files map[string]string
		want  []string // Files
	}{
		{"model before json", map[string]string{"tokenizer.model": spm, "tokenizer.json": tj}, []string{"tokenizer.model"}},
		{"class of json alone", map[string]string{"tokenizer.model": spm, "tokenizer.json": tj, "tokenizer_config.json": `{"tokenizer_class": "PreTrainedTokenizerFast"}`},
			[]string{"tokenizer.json", "tokenizer_config.json"}},
		{"json before a rank file", map[string]string{"tokenizer.model": qwen, "tokenizer.json": tj}, []string{"tokenizer.json"}},
		{"Qwen's rank file", map[string]string{"qwen.tiktoken": qwen}, []string{"qwen.tiktoken"}},
		{"GPT-2", map[string]string{"vocab.json": string(vocab), "merges.txt": string(merges), "config.json": `{"eos_token_id": [3, 4]}`}, []string{"config.json", "merges.txt", "vocab.json"}},
		{"GPT-2 as published", map[string]string{"encoder.json": string(vocab), "vocab.bpe": string(merges)}, []string{"encoder.json", "vocab.bpe"}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			dir := directory(t, c.files)
			tok := mustLoad(t, dir)
			var got []string
			for _, f := range tok.Files() {
				name, _ := filepath.Rel(dir, f)
				got = append(got, name)
			}
			if !slices.Equal(got, c.want) {
				t.Errorf("Files = %v, want %v", got, c.want)
			}
			if n := len(tok.Encode("Tom lost the red ball.")); n == 0 {
				t.Error("Encode gave nothing")
			}
		})
	}
}

func TestEnds(t *testing.T) {
	spm := string(unzip(t, "testdata/spm_bpe.model.gz"))
	llama3 := string(unzip(t, "testdata/hf_llama3.json.gz"))
	gpt2 := string(unzip(t, "testdata/hf_gpt2.json.gz"))
	cases := []struct {
		name                 string
		file, data           string
		config               map[string]string
		wantBOS, wantEOS     string
		wantFront, wantAfter string // tokens EncodePrompt adds
	}{
		{"spm alone", "tokenizer.model", spm, nil, "<s>", "</s>", "<s>", ""},
		{"spm, no bos", "tokenizer.model", spm, map[string]string{"tokenizer_config.json": `{"add_bos_token": false, "add_eos_token": true}`}, "<s>", "</s>", "", "</s>"},
		{"spm, other eos", "tokenizer.model", spm, map[string]string{"special_tokens_map.json": `{"eos_token": {"content": "<ctl>"}}`}, "<s>", "<ctl>", "<s>", ""},
		{"json's template", "tokenizer.json", llama3, map[string]string{"generation_config.json": `{"eos_token_id": [901, 902]}`}, "<|begin_of_text|>", "<|end_of_text|>", "<|begin_of_text|>", ""},
		{"config over template", "tokenizer.json", llama3, map[string]string{"tokenizer_config.json": `{"add_bos_token": false, "bos_token": "<|begin_of_text|>", "eos_token": "<|eot_id|>"}`},
			"<|begin_of_text|>", "<|eot_id|>", "", ""},
		{"json without template", "tokenizer.json", gpt2, nil, "", "", "", ""},
		{"json, bos by config", "tokenizer.json", gpt2, map[string]string{"tokenizer_config.json": `{"add_bos_token": true, "bos_token": "<|endoftext|>", "eos_token": null}`}, "<|endoftext|>", "", "<|endoftext|>", ""},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			dir := directory(t, c.config)
			write(t, dir, c.file, []byte(c.data))
			tok := mustLoad(t, dir)
			ids := func(token string) []int32 {
				if token == "" {
					return nil
				}
				id, ok := tok.scheme.id(token)
				if !ok {
					t.Fatalf("%q is not in the vocabulary", token)
				}
				return []int32{id}
			}
			one := func(id int32, ok bool) []int32 {
				if !ok {
					return nil
				}
				return []int32{id}
			}
			if got := one(tok.BOS()); !slices.Equal(got, ids(c.wantBOS)) {
				t.Errorf("BOS = %v, want %v", got, ids(c.wantBOS))
			}
			if got := one(tok.EOS()); !slices.Equal(got, ids(c.wantEOS)) {
				t.Errorf("EOS = %v, want %v", got, ids(c.wantEOS))
			}
			want := slices.Concat(ids(c.wantFront), tok.Encode("Tom ran"), ids(c.wantAfter))
			if got := tok.EncodePrompt("Tom ran"); !slices.Equal(got, want) {
				t.Errorf("EncodePrompt = %v, want %v", got, want)
			}
		})
	}
}

func TestLoadErrors(t *testing.T) {
	spm := unzip(t, "testdata/spm_bpe.model.gz")
	model := func(body string) string { return `{"version": "1.0", "model": ` + body + `}` }
	with := func(key, body string) string {
		return `{"model": {"type": "BPE", "vocab": {"a": 0}, "merges": []}, "` + key + `": ` + body + `}`
	}
	cases := []struct{ name, file, data, want string }{
		{"cut short", "tokenizer.model", string(spm[:len(spm)/2]), "protobuf field"},
		{"not a model", "tokenizer.model", "\x30\x01", "no pieces"},
		{"empty", "tokenizer.model", "", "empty"},
		{"git lfs", "tokenizer.model", "version https://git-lfs.github.com/spec/v1\n", "Git LFS pointer"},
		{"unknown family", "tokenizer.model", "IQ== 0\nIg== 1\n", "no token for the single byte 0x00"},
		{"bad line", "qwen.tiktoken", "IQ== 0\n???\n", "line 2"},
		{"syntax", "tokenizer.json", `{"model": }`, "invalid character"},
		{"no model", "tokenizer.json", `{}`, "model: is missing"},
		{"WordPiece", "tokenizer.json", model(`{"type": "WordPiece", "vocab": {}}`), `"WordPiece" is not supported`},
		{"Unigram", "tokenizer.json", model(`{"type": "Unigram", "vocab": [["a", -1.0]]}`), `"Unigram" is not supported`},
		{"merge", "tokenizer.json", model(`{"type": "BPE", "vocab": {"a": 0}, "merges": ["a b"]}`), `merge 0, "a" + "b"`},
		{"merge's form", "tokenizer.json", model(`{"type": "BPE", "vocab": {"a": 0}, "merges": ["a b c"]}`), `"a b c"`},
		{"sparse ids", "tokenizer.json", model(`{"type": "BPE", "vocab": {"a": 4000000000}, "merges": []}`), "id 4000000000"},
		{"suffix", "tokenizer.json", model(`{"type": "BPE", "end_of_word_suffix": "</w>", "vocab": {"a": 0}, "merges": []}`), "end_of_word_suffix"},
		{"normalizer", "tokenizer.json", with("normalizer", `{"type": "BertNormalizer"}`), `normalizer type "BertNormalizer"`},
		{"pre-tokenizer", "tokenizer.json", with("pre_tokenizer", `{"type": "Sequence", "pretokenizers": [{"type": "Whitespace"}]}`), `pre_tokenizer type "Whitespace"`},
		{"pattern", "tokenizer.json", with("pre_tokenizer", `{"type": "Split", "behavior": "Isolated", "pattern": {"Regex": "(a"}}`), `regular expression "(a"`},
		{"class in class", "tokenizer.json", with("pre_tokenizer", `{"type": "Split", "behavior": "Isolated", "pattern": {"Regex": "[\\p{L}&&[^\\p{Han}]]+"}}`), "&&"},
		{"class name", "tokenizer.json", with("pre_tokenizer", `{"type": "Split", "behavior": "Isolated", "pattern": {"Regex": "[[:alpha:]]+"}}`), "a class inside a class"},
		{"interval", "tokenizer.json", with("pre_tokenizer", `{"type": "Split", "behavior": "Isolated", "pattern": {"Regex": "\\p{N}{1,3}+"}}`), "interval"},
		{"post-processor", "tokenizer.json", with("post_processor", `{"type": "BertProcessing"}`), `post_processor type "BertProcessing"`},
		{"decoder", "tokenizer.json", with("decoder", `{"type": "WordPiece"}`), `decoder type "WordPiece"`},
		{"decoder order", "tokenizer.json", with("decoder", `{"type": "Sequence", "decoders": [{"type": "Fuse"}, {"type": "ByteFallback"}]}`), "place 2"},
		{"added id", "tokenizer.json", with("added_tokens", `[{"id": 7, "content": "<x>"}]`), `"<x>" says id 7`},
		{"template's id", "tokenizer.json", with("post_processor", `{"type": "TemplateProcessing", "single": [{"SpecialToken": {"id": "x"}}, {"Sequence": {"id": "A"}}], "special_tokens": {"x": {"ids": [5]}}}`), "adds id 5"},
		{"no merges", "vocab.json", `{"a": 0}`, "merges.txt"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			dir := directory(t, map[string]string{c.file: c.data})
			_, err := Load(filepath.Join(dir, c.file))
			if err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), c.file) {
				t.Errorf("error %v, want the file's name and %q", err, c.want)
			}
		})
	}
	if _, err := Load(t.TempDir()); err == nil || !strings.Contains(err.Error(), "has none of tokenizer.model") {
		t.Errorf("empty directory: %v", err)
	}
	if _, err := Load(filepath.Join(t.TempDir(), "gone")); err == nil || !strings.Contains(err.Error(), "gone") {
		t.Errorf("missing path: %v", err)
	}
	dir := directory(t, map[string]string{"vocab.json": `{"a": 0}`, "merges.txt": ""})
	if _, err := Load(dir); err == nil || !strings.Contains(err.Error(), "tokenizer_class") {
		t.Errorf("vocabulary that is not GPT-2's: %v", err)
	}
	dir = directory(t, map[string]string{"tokenizer.model": string(spm), "tokenizer_config.json": `{"tokenizer_class": "T5Tokenizer"}`})
	if _, err := Load(dir); err == nil || !strings.Contains(err.Error(), "T5Tokenizer") {
		t.Errorf("T5: %v", err)
	}
}

// TestAddedTokens: a configuration may give a piece another text, as InternLM2 does with its unused ones.
func TestAddedTokens(t *testing.T) {
	dir := directory(t, map[string]string{
		"tokenizer.model":       string(unzip(t, "testdata/spm_bpe.model.gz")),
		"tokenizer_config.json": `{"added_tokens_decoder": {"4": {"content": "<|im_start|>", "special": true}, "5": {"content": "<tool>", "special": false}, "3": {"content": "<ctl>", "special": true}}}`,
		"added_tokens.json":     `{"[PAD]": 900}`,
	})
	tok := mustLoad(t, dir)
	if got, want := tok.EncodePrompt("<|im_start|><tool>")[1:], []int32{4, 5}; !slices.Equal(got, want) {
		t.Errorf("EncodePrompt = %v, want %v", got, want)
	}
	if got := tok.Encode("<|im_start|>"); slices.Contains(got, 4) {
		t.Errorf("Encode recognised a special token: %v", got)
	}
	if got := tok.Decode([]int32{1, 4, 5, 3, 900}); got != "<tool>[PAD]" {
		t.Errorf("Decode = %q", got)
	}
	if tok.VocabSize() != 901 {
		t.Errorf("VocabSize = %d, want 901", tok.VocabSize())
	}
}

// TestDecoderInsideCharacter: the prompt ends inside a character that the generation completes.
func TestDecoderInsideCharacter(t *testing.T) {
	for _, name := range []string{"hf_gpt2", "hf_llama2"} {
		tok := mustLoad(t, unzipped(t, name+".json", "tokenizer.json"))
		ids := tok.Encode("a\U0001f999b")
		for cut := range ids {
			d, got := tok.NewDecoder(ids[:cut]), ""
			for _, id := range ids[cut:] {
				got += d.Append(id)
			}
			got += d.Flush()
			if want := strings.TrimPrefix("a\U0001f999b", strings.TrimRight(tok.Decode(ids[:cut]), replacement)); got != want {
				t.Errorf("%s cut at %d: got %q, want %q", name, cut, got, want)
			}
		}
	}
}

// TestConcurrent is for the race detector.
func TestConcurrent(t *testing.T) {
	for _, name := range []string{"hf_cl100k", "hf_lower"} {
		tok := mustLoad(t, unzipped(t, name+".json", "tokenizer.json"))
		rows := readGolden(t, "testdata/"+name+".golden.json")
		var wait sync.WaitGroup
		for range 4 {
			wait.Go(func() {
				for _, r := range rows {
					if r.Text != nil && !slices.Equal(tok.Encode(*r.Text), r.IDs) {
						t.Errorf("%s: Encode(%q) differs", name, *r.Text)
					}
				}
			})
		}
		wait.Wait()
	}
}

// rankFile is the GPT-2-like test vocabulary as a tiktoken file: there, too, the id of a token is its rank.
func rankFile(t testing.TB) []byte {
	t.Helper()
	data, err := os.ReadFile("testdata/gpt2/vocab.json")
	if err != nil {
		t.Fatal(err)
	}
	var vocab map[string]int64
	if err := json.Unmarshal(data, &vocab); err != nil {
		t.Fatal(err)
	}
	tokens := make([]string, len(vocab))
	for token, id := range vocab {
		tokens[id] = token
	}
	var b strings.Builder
	for rank, token := range tokens[1:] { // without <|endoftext|>, which is token 0 there
		fmt.Fprintf(&b, "%s %d\n", base64.StdEncoding.EncodeToString(appendTokenBytes(nil, token)), rank)
	}
	return []byte(b.String())
}

// TestTiktoken holds a rank file to the merges it was made from.
func TestTiktoken(t *testing.T) {
	vocab, err := parseRanks(rankFile(t))
	if err != nil {
		t.Fatal(err)
	}
	f := family{name: "test", pattern: patternGPT2, specials: llama3Family.specials}
	p, err := newRankPipeline(vocab, f, &settings{})
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range readGolden(t, "testdata/hf_gpt2.golden.json") {
		if r.Text == nil {
			continue
		}
		want := make([]int32, len(r.IDs))
		for i, id := range r.IDs {
			want[i] = id - 1
		}
		if got := p.encode(nil, *r.Text, false); !slices.Equal(got, want) {
			t.Errorf("%q\n got %v\nwant %v", *r.Text, got, want)
		}
	}
	n := int32(len(vocab))
	if got, want := p.encode(nil, "<|begin_of_text|><|eot_id|><|python_tag|>", true), []int32{n, n + 9, n + 10}; !slices.Equal(got, want) {
		t.Errorf("special tokens: got %v, want %v", got, want)
	}
	if p.size() != len(vocab)+256 {
		t.Errorf("size = %d, want %d", p.size(), len(vocab)+256)
	}
	tok := mustLoad(t, filepath.Join(directory(t, map[string]string{"qwen.tiktoken": string(rankFile(t))}), "qwen.tiktoken"))
	if got, want := tok.EncodePrompt("<|im_start|>e\u0301<|im_end|>"), slices.Concat([]int32{n + 1}, tok.Encode("\u00e9"), []int32{n + 2}); !slices.Equal(got, want) {
		t.Errorf("Qwen: got %v, want %v", got, want)
	}
	if eos, ok := tok.EOS(); !ok || eos != n {
		t.Errorf("Qwen: EOS = %d, %v", eos, ok)
	}
	if llama, err := familyOf(128000, "tokenizer.model"); err != nil || llama.name != "Llama 3" {
		t.Errorf("128000 ranks: %v, %v", llama.name, err)
	}
}

// TestGPT2Directory holds vocab.json and merges.txt to the golden of the tokenizer.json they came from.
func TestGPT2Directory(t *testing.T) {
	check(t, mustLoad(t, "testdata/gpt2"), readGolden(t, "testdata/hf_gpt2.golden.json"))
}

// TestLoadRemote has tokenizers of object stores: the same ids, the same files, and nothing else of the model fetched.
func TestLoadRemote(t *testing.T) {
	lab := s3lab.Start(t)
	const model = "../../examples/pocket/model"
	lab.PutDir(t, "mmm", "pocket/", model)
	data, err := os.ReadFile(model + "/tokenizer.model")
	if err != nil {
		t.Fatal(err)
	}
	lab.Put(t, "mmm", "shared/llama.bin", data)
	lab.Put(t, "mmm", "none/config.json", []byte("{}"))
	proxy := lab.Proxy(t)
	objstore.Use(objstore.Options{Profiles: lab.Profiles(t, "p", proxy.URL), CacheDir: filepath.Join(t.TempDir(), "c")})
	for address, local := range map[string]string{"p:s3://mmm/pocket/": model, "p:s3://mmm/pocket": model, "p:s3://mmm/pocket/tokenizer.model": model + "/tokenizer.model"} {
		want, err1 := Load(local)
		got, err2 := Load(address)
		if err1 != nil || err2 != nil {
			t.Fatal(err1, err2)
		}
		const text = "Once upon a time, 3 times."
		if !slices.Equal(got.EncodePrompt(text), want.EncodePrompt(text)) || len(got.Files()) != len(want.Files()) {
			t.Errorf("%s: %v of %q, want %v of %q", address, got.EncodePrompt(text), got.Files(), want.EncodePrompt(text), want.Files())
		}
		for i, file := range want.Files() {
			if filepath.Base(got.Files()[i]) != filepath.Base(file) {
				t.Errorf("%s: file %q for %q", address, got.Files()[i], file)
			}
		}
	}
	if got, err := Load("p:s3://mmm/shared/llama.bin"); err != nil || len(got.Files()) != 1 {
		t.Errorf("a file alone: %v", err)
	}
	if _, bytes := proxy.Gets(); bytes > 100<<10 {
		t.Errorf("%d bytes were read", bytes)
	}
	for address, want := range map[string]string{"p:s3://mmm/none/": "p:s3://mmm/none/", "p:s3://mmm/nothing/": "has no objects there", "p:s3://mmm/pocket/tokenizer.json": "no such file"} {
		if _, err := Load(address); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", address, err)
		}
	}
}
