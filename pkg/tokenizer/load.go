package tokenizer

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"sextant/pkg/objstore"
)

// Load reads the tokenizer of a model directory, or a tokenizer file; either may lie in an object store. The package comment has the rules of choice.
//
// For a file, the configuration files beside it count only where it bears a standard name (tokenizer.model,
// tokenizer.json, vocab.json, encoder.json, *.tiktoken): a shared folder of tokenizers holds the settings of none of them.
func Load(path string) (*Tokenizer, error) {
	if objstore.IsAddress(path) {
		return loadRemote(path)
	}
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("loading tokenizer: %w", err)
	}
	dir, standard := path, true
	if !info.IsDir() {
		dir = filepath.Dir(path)
		standard = isStandard(filepath.Base(path))
	}
	s := &settings{}
	if standard {
		if s, err = readSettings(dir); err != nil {
			return nil, fmt.Errorf("loading tokenizer of %q: %w", dir, err)
		}
	}
	if info.IsDir() {
		if path, err = choose(dir, s); err != nil {
			return nil, err
		}
	}
	t, err := loadFile(path, s)
	if err != nil {
		return nil, fmt.Errorf("loading tokenizer %q: %w", path, err)
	}
	t.files = append(t.files, s.files...)
	slices.Sort(t.files)
	return t, nil
}

// isStandard tells whether a tokenizer file's name is one that its settings' files go with.
func isStandard(name string) bool {
	return slices.Contains([]string{"tokenizer.model", "tokenizer.json", "vocab.json", "encoder.json"}, name) || filepath.Ext(name) == ".tiktoken"
}

// besides are the files that may lie beside a tokenizer file and say how it is used.
var besides = []string{"merges.txt", "vocab.bpe", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "generation_config.json", "config.json"}

// loadRemote is Load of an object store's address.
func loadRemote(address string) (*Tokenizer, error) {
	path, err := fetch(address)
	if err != nil {
		return nil, fmt.Errorf("loading tokenizer: %w", err)
	}
	t, err := Load(path)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", address, err)
	}
	return t, nil
}

// fetch brings a tokenizer out of an object store, and nothing else of the model that it may lie beside.
func fetch(address string) (string, error) {
	s := objstore.Default()
	ours := func(name string) bool { return isStandard(name) || slices.Contains(besides, name) }
	dir, name := objstore.Split(address)
	if !isStandard(name) {
		return s.Local(context.Background(), address, ours)
	}
	local, err := s.Local(context.Background(), dir, ours)
	return filepath.Join(local, name), err
}

// choose picks the tokenizer file of a directory.
func choose(dir string, s *settings) (string, error) {
	at := func(name string) string { return filepath.Join(dir, name) }
	there := func(name string) bool {
		info, err := os.Stat(at(name))
		return err == nil && !info.IsDir()
	}
	if there("tokenizer.model") {
		if !there("tokenizer.json") {
			return at("tokenizer.model"), nil
		}
		data, err := readFile(at("tokenizer.model"))
		if err != nil {
			return "", fmt.Errorf("loading tokenizer: %w", err)
		}
		if !isTiktoken(data) && !jsonOnly(s.class) {
			return at("tokenizer.model"), nil
		}
	}
	if there("tokenizer.json") {
		return at("tokenizer.json"), nil
	}
	if found, _ := filepath.Glob(at("*.tiktoken")); len(found) == 1 {
		return found[0], nil
	} else if len(found) > 1 {
		return "", fmt.Errorf("loading tokenizer: %q has %d files *.tiktoken; name the one to use", dir, len(found))
	}
	for _, pair := range [][2]string{{"vocab.json", "merges.txt"}, {"encoder.json", "vocab.bpe"}} {
		if there(pair[0]) && there(pair[1]) {
			return at(pair[0]), nil
		}
	}
	return "", fmt.Errorf("loading tokenizer: %q has none of tokenizer.model, tokenizer.json, *.tiktoken, vocab.json with merges.txt, encoder.json with vocab.bpe: %w", dir, fs.ErrNotExist)
}

// jsonOnly says that a tokenizer class is served by tokenizer.json even where a tokenizer.model lies beside it.
func jsonOnly(class string) bool {
	return slices.Contains([]string{"PreTrainedTokenizerFast", "TokenizersBackend", "GPT2Tokenizer", "GPT2TokenizerFast", "Qwen2Tokenizer", "Qwen2TokenizerFast"}, class)
}

const byteOrderMark = "\ufeff"

func loadFile(path string, s *settings) (*Tokenizer, error) {
	data, err := readFile(path)
	if err != nil {
		return nil, err
	}
	t := &Tokenizer{files: []string{path}}
	isVocab := slices.Contains([]string{"vocab.json", "encoder.json"}, filepath.Base(path))
	isJSON := bytes.HasPrefix(bytes.TrimLeft(bytes.TrimPrefix(data, []byte(byteOrderMark)), " \t\r\n"), []byte("{"))
	switch {
	case len(data) == 0:
		return nil, errors.New("the file is empty")
	case bytes.HasPrefix(data, []byte("version https://git-lfs")):
		return nil, errors.New("the file is a Git LFS pointer; fetch the file itself")
	case isTiktoken(data):
		return t, t.useTiktoken(data, filepath.Base(path), s)
	case isJSON && isVocab:
		return t, t.useGPT2(data, path, s)
	case isJSON:
		return t, t.useJSON(bytes.TrimPrefix(data, []byte(byteOrderMark)), s)
	}
	return t, t.useSPM(data, s)
}

func (t *Tokenizer) useJSON(data []byte, s *settings) error {
	p, err := parseTokenizerJSON(data, s)
	if err != nil {
		return err
	}
	def := defaults{prefix: p.template.prefix, suffix: p.template.suffix}
	if len(def.prefix) == 1 {
		def.bos = p.tokenText(def.prefix[0])
	}
	if len(def.suffix) == 1 {
		def.eos = p.tokenText(def.suffix[0])
	}
	t.scheme = p
	return t.setEnds(s, def)
}

// otherSPMClasses number or frame a SentencePiece model's pieces in ways of their own.
var otherSPMClasses = []string{"T5", "MT5", "XLMRoberta", "Camembert", "MBart", "Albert", "XLNet", "DebertaV2", "BigBird", "Pegasus", "Marian", "M2M100", "Speech2Text", "Reformer", "ChatGLM", "FNet", "RemBert", "Nllb"}

func (t *Tokenizer) useSPM(data []byte, s *settings) error {
	for _, c := range otherSPMClasses {
		if strings.HasPrefix(s.class, c) {
			return fmt.Errorf("tokenizer_class %q with a SentencePiece model is not supported; Llama-like classes are", s.class)
		}
	}
	m, err := parseSPM(data)
	if err != nil {
		return fmt.Errorf("reading it as a SentencePiece model: %w", err)
	}
	sp, err := newSPM(m)
	if err != nil {
		return fmt.Errorf("SentencePiece model: %w", err)
	}
	def := defaults{}
	control := func(name string) string {
		if id, ok := sp.reserved[name]; ok && m.pieces[id].kind == pieceControl {
			s.named = append(s.named, namedToken{addedToken{Content: name, Special: true}})
			return name
		}
		return ""
	}
	if s.bos == nil {
		def.bos = control(m.trainer.bos)
	}
	if s.eos == nil {
		def.eos = control(m.trainer.eos)
	}
	s.named = append(s.named, namedToken{addedToken{Content: m.pieces[sp.unk].text, Special: true}})
	t.scheme = newSPMScheme(sp, s.tokens(sp.find), s.legacy == nil || *s.legacy)
	def.addBOS = true
	return t.setEnds(s, def)
}

// defaults are what a tokenizer file itself says of the ends of a text.
type defaults struct {
	bos, eos       string  // tokens; "": none
	prefix, suffix []int32 // around a prompt
	addBOS         bool    // the prefix is the BOS token, whichever it turns out to be
}

// setEnds settles BOS, EOS and what EncodePrompt adds.
func (t *Tokenizer) setEnds(s *settings, def defaults) error {
	for _, id := range slices.Concat(def.prefix, def.suffix) {
		if id < 0 || int(id) >= t.scheme.size() {
			return fmt.Errorf("post_processor adds id %d, which is not in the vocabulary of %d", id, t.scheme.size())
		}
	}
	t.bos = t.find(s.bos, def.bos, s.bosID)
	t.eos = t.find(s.eos, def.eos, s.eosID)
	t.prefix, t.suffix = slices.Clone(def.prefix), slices.Clone(def.suffix)
	if def.addBOS && t.bos != noID {
		t.prefix = []int32{t.bos}
	}
	if s.addBOS != nil {
		has := len(t.prefix) > 0 && t.prefix[0] == t.bos
		switch {
		case *s.addBOS && t.bos == noID:
			return errors.New("tokenizer_config.json has add_bos_token true, but there is no bos_token in the vocabulary")
		case *s.addBOS && !has:
			t.prefix = slices.Insert(t.prefix, 0, t.bos)
		case !*s.addBOS && has:
			t.prefix = t.prefix[1:]
		}
	}
	if s.addEOS != nil {
		last := len(t.suffix) - 1
		has := last >= 0 && t.suffix[last] == t.eos
		switch {
		case *s.addEOS && t.eos == noID:
			return errors.New("tokenizer_config.json has add_eos_token true, but there is no eos_token in the vocabulary")
		case *s.addEOS && !has:
			t.suffix = append(t.suffix, t.eos)
		case !*s.addEOS && has:
			t.suffix = t.suffix[:last]
		}
	}
	return nil
}

// find is the id of the token a configuration file names, else the tokenizer's own, else the id a file gives.
func (t *Tokenizer) find(named *namedToken, own string, id *int32) int32 {
	if named != nil {
		own = named.Content
	}
	if own != "" {
		if id, ok := t.scheme.id(own); ok {
			return id
		}
	}
	if id != nil && *id >= 0 && int(*id) < t.scheme.size() {
		return *id
	}
	return noID
}
