package tokenizer

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
)

// settings is what the files beside a tokenizer say of it. A directory may have none of them.
type settings struct {
	class          string // tokenizer_class
	addBOS, addEOS *bool
	addPrefixSpace *bool
	legacy         *bool
	bos, eos       *namedToken
	bosID, eosID   *int32 // of generation_config.json or config.json, where no file names the token
	named          []namedToken
	added          []addedToken // added_tokens_decoder and added_tokens.json, with their ids
	files          []string
}

// namedToken is a special token as the configuration files write it: a string, or an object with the content.
type namedToken struct{ addedToken }

func (t *namedToken) UnmarshalJSON(data []byte) error {
	t.addedToken = addedToken{ID: noID, Special: true}
	if len(data) > 0 && data[0] == '"' {
		return json.Unmarshal(data, &t.Content)
	}
	err := json.Unmarshal(data, &t.addedToken)
	t.Special = true
	return err
}

type jsonSettings struct {
	TokenizerClass string                     `json:"tokenizer_class"`
	AddBOS         *bool                      `json:"add_bos_token"`
	AddEOS         *bool                      `json:"add_eos_token"`
	AddPrefixSpace *bool                      `json:"add_prefix_space"`
	Legacy         *bool                      `json:"legacy"`
	BOS            *namedToken                `json:"bos_token"`
	EOS            *namedToken                `json:"eos_token"`
	Unk            *namedToken                `json:"unk_token"`
	Pad            *namedToken                `json:"pad_token"`
	Additional     []namedToken               `json:"additional_special_tokens"`
	AddedByID      map[string]json.RawMessage `json:"added_tokens_decoder"`
}

type jsonIDs struct {
	BOS *int32          `json:"bos_token_id"`
	EOS json.RawMessage `json:"eos_token_id"` // one id or a list
}

// readSettings reads the configuration files of dir.
func readSettings(dir string) (*settings, error) {
	s := &settings{}
	for _, name := range []string{"tokenizer_config.json", "special_tokens_map.json"} {
		var j jsonSettings
		if err := s.read(dir, name, &j); err != nil {
			return nil, err
		}
		if err := s.take(&j); err != nil {
			return nil, fmt.Errorf("%s: %w", filepath.Join(dir, name), err)
		}
	}
	var byName map[string]int32
	if err := s.read(dir, "added_tokens.json", &byName); err != nil {
		return nil, err
	}
	for content, id := range byName {
		if !s.knows(content) {
			s.added = append(s.added, addedToken{ID: id, Content: content, Normalized: true})
		}
	}
	for _, name := range []string{"generation_config.json", "config.json"} {
		if s.bos != nil && s.eos != nil {
			break
		}
		var j jsonIDs
		if err := s.read(dir, name, &j); err != nil {
			return nil, err
		}
		if s.bosID == nil {
			s.bosID = j.BOS
		}
		if s.eosID == nil {
			s.eosID = firstID(j.EOS)
		}
	}
	return s, nil
}

// read decodes a file of dir where it exists, and notes its path.
func (s *settings) read(dir, name string, into any) error {
	path := filepath.Join(dir, name)
	data, err := readFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if err := json.Unmarshal(data, into); err != nil {
		return fmt.Errorf("reading %q: %w", path, err)
	}
	s.files = append(s.files, path)
	return nil
}

// take adds what j says to what is known; the file read first wins.
func (s *settings) take(j *jsonSettings) error {
	if s.class == "" {
		s.class = j.TokenizerClass
	}
	s.addBOS, s.addEOS = first(s.addBOS, j.AddBOS), first(s.addEOS, j.AddEOS)
	s.addPrefixSpace, s.legacy = first(s.addPrefixSpace, j.AddPrefixSpace), first(s.legacy, j.Legacy)
	s.bos, s.eos = first(s.bos, j.BOS), first(s.eos, j.EOS)
	for _, t := range []*namedToken{j.BOS, j.EOS, j.Unk, j.Pad} {
		if t != nil {
			s.named = append(s.named, *t)
		}
	}
	s.named = append(s.named, j.Additional...)
	for key, raw := range j.AddedByID {
		id, err := strconv.ParseInt(key, 10, 32)
		if err != nil || id < 0 {
			return fmt.Errorf("added_tokens_decoder: %q is not a token id", key)
		}
		t := addedToken{Normalized: true}
		if err := json.Unmarshal(raw, &t); err != nil {
			return fmt.Errorf("added_tokens_decoder: token %s: %w", key, err)
		}
		t.ID = int32(id)
		s.added = append(s.added, t)
	}
	return nil
}

func (s *settings) knows(content string) bool {
	for _, t := range s.added {
		if t.Content == content {
			return true
		}
	}
	return false
}

// tokens are the added tokens with their ids: those the files number, then the named ones that lookup finds.
func (s *settings) tokens(lookup func(string) (int32, bool)) []addedToken {
	special := map[string]bool{}
	for _, t := range s.named {
		special[t.Content] = true
	}
	all, seen := []addedToken{}, map[string]bool{}
	slices.SortStableFunc(s.added, func(a, b addedToken) int { return cmp.Compare(a.ID, b.ID) }) // they came from maps
	for _, t := range s.added {
		if t.Content != "" && !seen[t.Content] {
			t.Special = t.Special || special[t.Content]
			all, seen[t.Content] = append(all, t), true
		}
	}
	for _, t := range s.named {
		if id, ok := lookup(t.Content); ok && t.Content != "" && !seen[t.Content] {
			t.ID = id
			all, seen[t.Content] = append(all, t.addedToken), true
		}
	}
	return all
}

func first[T any](a, b *T) *T {
	if a != nil {
		return a
	}
	return b
}

func firstID(raw json.RawMessage) *int32 {
	var one *int32
	if json.Unmarshal(raw, &one) == nil {
		return one
	}
	var many []int32
	if json.Unmarshal(raw, &many) == nil && len(many) > 0 {
		return &many[0]
	}
	return nil
}

// maxFile bounds what is read into memory. The largest tokenizers known have 40 MB.
const maxFile = 1 << 28

func readFile(path string) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	switch {
	case info.IsDir():
		return nil, fmt.Errorf("%q is a directory, a file is wanted", path)
	case info.Size() > maxFile:
		return nil, fmt.Errorf("%q has %d bytes; no tokenizer file has more than %d", path, info.Size(), maxFile)
	}
	return os.ReadFile(path)
}
