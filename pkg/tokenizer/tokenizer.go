package tokenizer

import "slices"

// Tokenizer turns text into ids and back. It is safe for use by several goroutines.
type Tokenizer struct {
	scheme         scheme
	files          []string
	bos, eos       int32 // noID: none
	prefix, suffix []int32
}

// scheme is one kind of tokenizer.
type scheme interface {
	// encode appends the ids of text; special tokens' text is recognised where specials is set.
	encode(dst []int32, text string, specials bool) []int32
	newStream() stream
	// size is one more than the highest id.
	size() int
	// id finds a token by its text in the vocabulary, special ones included.
	id(token string) (int32, bool)
}

// stream decodes ids one by one.
type stream interface {
	push(id int32)
	// settled is the text that no later id can change; it only grows.
	settled() []byte
	// rest is what follows settled if no id follows.
	rest() string
}

// Encode returns the ids of text alone: no BOS or EOS, and special tokens' text is text like any other.
func (t *Tokenizer) Encode(text string) []int32 {
	return t.scheme.encode(nil, text, false)
}

// EncodePrompt returns the ids of a prompt as Hugging Face's tokenizer(text) does: special tokens written in it are
// recognised, and BOS and EOS are added by the rules of the package comment.
func (t *Tokenizer) EncodePrompt(text string) []int32 {
	return append(t.scheme.encode(slices.Clone(t.prefix), text, true), t.suffix...)
}

// EncodeRendered returns the ids of a text that has its special tokens in it, as a chat template writes it: they are recognised, and none
// is added. It is Hugging Face's tokenizer(text, add_special_tokens=False), which is how apply_chat_template encodes.
func (t *Tokenizer) EncodeRendered(text string) []int32 { return t.scheme.encode(nil, text, true) }

// Decode returns the text of ids. Special tokens and ids outside the vocabulary give nothing; bytes that are not UTF-8
// give U+FFFD.
func (t *Tokenizer) Decode(ids []int32) string {
	return decodeAll(t.scheme.newStream(), ids)
}

func decodeAll(s stream, ids []int32) string {
	for _, id := range ids {
		s.push(id)
	}
	return string(s.settled()) + s.rest()
}

// VocabSize is one more than the highest id: the least number of rows the model's embedding must have.
func (t *Tokenizer) VocabSize() int { return t.scheme.size() }

// BOS is the id that begins a text, if there is one. EncodePrompt does not always add it.
func (t *Tokenizer) BOS() (int32, bool) { return t.bos, t.bos != noID }

// EOS is the id that ends a text, if there is one.
func (t *Tokenizer) EOS() (int32, bool) { return t.eos, t.eos != noID }

// Files are the paths of the files that define the tokenizer, sorted, for fingerprints.
func (t *Tokenizer) Files() []string { return slices.Clone(t.files) }
