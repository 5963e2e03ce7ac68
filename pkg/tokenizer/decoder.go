package tokenizer

import (
	"strings"
	"unicode/utf8"
)

// Decoder turns the ids generated after a prompt into text, one by one.
type Decoder struct {
	stream stream
	prompt string // the end of decode(prompt) that was not settled: bytes the generation may complete
	seen   int    // bytes of settled text that were taken
	text   []byte // generated text so far, settled
}

// NewDecoder begins after the ids of prompt, BOS included or not.
func (t *Tokenizer) NewDecoder(prompt []int32) *Decoder {
	s := t.scheme.newStream()
	for _, id := range prompt {
		s.push(id)
	}
	return &Decoder{stream: s, prompt: s.rest(), seen: len(s.settled())}
}

// Append takes the next id and returns the text that is certain now and was not before: whole characters only, often
// none. With byte fallback in a tokenizer.json a run of byte tokens is certain only when it ends; Text shows it at once.
func (d *Decoder) Append(id int32) string {
	d.stream.push(id)
	settled := d.stream.settled()
	fresh := cutCommon(string(settled[d.seen:]), &d.prompt)
	d.seen = len(settled)
	d.text = append(d.text, fresh...)
	return fresh
}

// Text is decode(prompt + all ids) less decode(prompt): the generated text as if it ended here. Where the prompt ended
// inside a character that the generation completed, what both have in common is taken off.
func (d *Decoder) Text() string {
	prompt := d.prompt
	return string(d.text) + cutCommon(d.stream.rest(), &prompt)
}

// Flush ends the generation: it returns the text that Append held back, malformed bytes as U+FFFD.
func (d *Decoder) Flush() string {
	return d.Text()[len(d.text):]
}

// cutCommon takes the characters that fresh and *prompt both begin with off both. At the first difference the rest of
// *prompt is dropped: from there on all is generated text.
func cutCommon(fresh string, prompt *string) string {
	for *prompt != "" && fresh != "" {
		r, n := utf8.DecodeRuneInString(fresh)
		if !strings.HasPrefix(*prompt, string(r)) {
			*prompt = ""
			break
		}
		fresh, *prompt = fresh[n:], (*prompt)[n:]
	}
	return fresh
}
