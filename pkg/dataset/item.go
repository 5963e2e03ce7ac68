package dataset

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"slices"
	"strconv"
	"unicode/utf8"

	"sextant/pkg/spec"
)

// Item is a row rendered into what the model must do.
type Item struct {
	Row    int // the item's number: the row's, where a row has one sample
	Mode   spec.Mode
	Labels []string // ppl, ll, clp: what is ranked, in order
	Gold   []string // accepted answers; ppl, ll, clp: Labels, one but for rows of which several are right
	Chars  []int    // ll: the characters of each option, as the row has it
	Bytes  []int    // ll: and its bytes in UTF-8

	set      *Set
	roles    *Roles
	row      view
	examples [][]segment
	raw      []byte // the row as the file has it
	sample   int    // gen: which of the row's samples
}

// Prompt is one text for the model.
//
//   - gen: Text is to be continued.
//   - ppl: Text is scored whole. With ppl.normalizing, Text is the context, and Continuations and Normalizing hold one entry each:
//     the label's value is NLL(Continuations[0] | Text) - NLL(Continuations[0] | Normalizing[0]).
//   - ll, clp: Text is the context; Continuations holds one continuation a label. Where the context names {choice}, there is one Prompt a
//     label instead, each with the continuation behind its own context.
type Prompt struct {
	Text          string
	Rendered      bool // Text has its special tokens in it, by a chat template: a tokenizer is to add none
	Continuations []string
	Normalizing   []string
}

// Common is how many bytes two texts have in common at their beginning, up to the end of a character.
func Common(a, b string) int {
	n := 0
	for n < len(a) && n < len(b) && a[n] == b[n] {
		n++
	}
	for n > 0 && n < len(b) && !utf8.RuneStart(b[n]) {
		n--
	}
	return n
}

// Item renders a row for a model; roles is nil for a model without.
func (s *Set) Item(row int, roles *Roles) (*Item, error) {
	if row < 0 || row >= s.Len() {
		return nil, fmt.Errorf("dataset %s: row %d of %d", s.d.Abbr, row, s.Len())
	}
	if s.d.Mode == spec.Rolling {
		return nil, fmt.Errorf("dataset %s: a rolling dataset has windows, not items", s.d.Abbr)
	}
	it, err := s.item(row/s.Samples(), roles)
	if err != nil {
		return nil, fmt.Errorf("dataset %s: %s: %w", s.d.Abbr, s.test.at(row/s.Samples()), err)
	}
	it.Row, it.sample = row, row%s.Samples()
	return it, nil
}

func (s *Set) item(row int, roles *Roles) (it *Item, err error) {
	it = &Item{Row: row, Mode: s.d.Mode, set: s, roles: roles, raw: s.test.rows[row]}
	if it.row, err = s.program.makers.view(it.raw); err != nil {
		return nil, err
	}
	if it.Labels, it.Gold, err = s.program.outcome(it.row); err != nil {
		return nil, err
	}
	if err := it.measure(); err != nil {
		return nil, err
	}
	ids, err := s.shots.choose(row, it.raw)
	if err != nil {
		return nil, err
	}
	for _, id := range ids {
		ex, err := s.example(id, roles)
		if err != nil {
			return nil, err
		}
		it.examples = append(it.examples, ex)
	}
	// What can fail is the meta template's roles, which do not depend on the number of examples; a chat template may.
	_, err = it.render(len(it.examples))
	for n := range it.examples {
		if err == nil && roles.chat() != nil {
			_, err = it.render(n)
		}
	}
	return it, err
}

// measure counts what likelihoods are divided by.
func (it *Item) measure() error {
	if it.Mode != spec.LL {
		return nil
	}
	options, err := it.set.program.options(it.row)
	for _, o := range options {
		it.Chars, it.Bytes = append(it.Chars, utf8.RuneCountInString(o)), append(it.Bytes, len(o))
	}
	return err
}

// outcome gives a row's labels and gold.
func (p *program) outcome(row view) (labels, gold []string, err error) {
	labels = p.labels
	if p.choices != nil && p.labelled == nil && p.d.Mode != spec.Gen {
		options, err := p.options(row)
		if err != nil {
			return nil, nil, err
		}
		for i := range options {
			labels = append(labels, strconv.Itoa(i))
		}
	}
	v, err := p.answer.value(row)
	if err != nil {
		return nil, nil, fmt.Errorf("answer: %w", err)
	}
	if gold, err = texts(v); err != nil {
		return nil, nil, fmt.Errorf("answer %q: %w", p.d.Answer, err)
	}
	if p.d.Mode == spec.Gen {
		if len(gold) == 0 {
			return nil, nil, fmt.Errorf("answer %q: the list is empty", p.d.Answer)
		}
		return nil, gold, nil
	}
	wrong := func(g string) bool { return !slices.Contains(labels, g) }
	if len(gold) == 0 || slices.ContainsFunc(gold, wrong) {
		return nil, nil, fmt.Errorf("answer %q is %s, which is no label; there is %s: map it with [columns]", p.d.Answer, shorten(v), list(labels))
	}
	return labels, gold, nil
}

func (p *program) options(row view) ([]string, error) {
	v, err := p.choices.value(row)
	if err != nil {
		return nil, fmt.Errorf("prompt.choices: %w", err)
	}
	if _, ok := v.([]any); !ok {
		return nil, fmt.Errorf("prompt.choices = %q: %s is no list: make one with [columns] split", p.d.Prompt.Choices, shorten(v))
	}
	options, err := texts(v)
	if err == nil && len(options) == 0 {
		err = errors.New("the list is empty")
	}
	if err != nil {
		return nil, fmt.Errorf("prompt.choices = %q: %w", p.d.Prompt.Choices, err)
	}
	return options, nil
}

// Examples is the number of in-context examples of the full prompt.
func (it *Item) Examples() int { return len(it.examples) }

// Prompts renders the item with its first examples in-context examples: when a prompt is too long, the last are dropped first. ppl
// gives one prompt a label, the other modes give one. More examples than there are is all of them.
func (it *Item) Prompts(examples int) []Prompt {
	out, err := it.render(examples)
	if err != nil {
		panic(fmt.Sprintf("dataset: an item that was rendered before cannot be again: %v", err))
	}
	return out
}

// Digest identifies what the model is asked, 16 hex digits: of the settings given (decoding, model), the row, and the labels, gold
// and prompts with all examples; and of which sample it is, so that each draws its own numbers.
func (it *Item) Digest(settings string) string {
	h := sha256.New()
	put(h, settings, string(mustJSON(it.Mode)))
	raw, err := canonical(it.raw)
	if err != nil {
		panic(fmt.Sprintf("dataset: a row that was decoded before cannot be again: %v", err))
	}
	put(h, string(raw))
	put(h, it.Labels...)
	put(h, it.Gold...)
	for _, p := range it.Prompts(it.Examples()) {
		put(h, p.Text)
		put(h, p.Continuations...)
		put(h, p.Normalizing...)
	}
	if it.sample > 0 {
		put(h, "sample", strconv.Itoa(it.sample))
	}
	return hex.EncodeToString(h.Sum(nil))[:16]
}

// put adds a list to a hash, so that no two lists give the same bytes.
func put(h hash.Hash, list ...string) {
	fmt.Fprintf(h, "%d\n", len(list))
	for _, s := range list {
		fmt.Fprintf(h, "%d %s\n", len(s), s)
	}
}
