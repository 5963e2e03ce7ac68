package calib

import (
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"

	"sextant/pkg/spec"
	"sextant/pkg/tokenizer"
)

// Tokens is a sample: len(IDs)/SeqLen sequences.
type Tokens struct {
	SeqLen int
	IDs    []int32 // [samples*SeqLen]
	Digest string  // SHA-256 of the above, in hex
}

// Samples is the number of sequences.
func (t *Tokens) Samples() int { return len(t.IDs) / t.SeqLen }

// Sequence gives one of them. The caller must not change it.
func (t *Tokens) Sequence(i int) []int32 { return t.IDs[i*t.SeqLen : (i+1)*t.SeqLen : (i+1)*t.SeqLen] }

// The names of the cuts.
const (
	blocks  = "blocks"
	windows = "windows"
)

// maxTokens bounds a sample: 1 GiB of ids.
const maxTokens = 1 << 28

// Sample makes the sample that c asks for. Zero fields of c are their defaults: column "text", 128 samples of 512 tokens, cut in blocks, but
// in windows for wikitext2, c4 and ptb. A text that is too short is an error that says how many tokens there are and how many are wanted.
func Sample(c spec.Calib, tok *tokenizer.Tokenizer) (*Tokens, error) {
	t, err := sample(withDefaults(c), tok)
	if err != nil {
		return nil, fmt.Errorf("making a calibration sample: %w", err)
	}
	return t, nil
}

func withDefaults(c spec.Calib) spec.Calib {
	c.Column = cmp.Or(c.Column, "text")
	c.Samples = cmp.Or(c.Samples, 128)
	c.SeqLen = cmp.Or(c.SeqLen, 512)
	if c.Cut == "" {
		c.Cut = blocks
		if c.Name != "" && c.Name != "pileval" {
			c.Cut = windows
		}
	}
	return c
}

func sample(c spec.Calib, tok *tokenizer.Tokenizer) (*Tokens, error) {
	if c.Samples < 1 || c.SeqLen < 2 || c.Samples > maxTokens/c.SeqLen {
		return nil, fmt.Errorf("samples = %d and seq_len = %d: at least 1 sample of 2 tokens and at most %d tokens in all", c.Samples, c.SeqLen, maxTokens)
	}
	rows, err := open(c)
	if err != nil {
		return nil, err
	}
	defer rows.close()
	k := cutter{c: c, tok: tok, rows: rows, draws: newDraws(c.Seed)}
	switch {
	case c.Cut == blocks:
		err = k.blocks()
	case c.Cut == windows && c.Name == "c4":
		err = k.documents()
	case c.Cut == windows:
		err = k.windows()
	default:
		err = fmt.Errorf("cut = %q: there is %q and %q", c.Cut, blocks, windows)
	}
	if err != nil {
		return nil, err
	}
	return newTokens(c.SeqLen, k.ids)
}

// newTokens checks the ids, which tokenizers and files give, and computes their digest.
func newTokens(seqLen int, ids []int32) (*Tokens, error) {
	if seqLen < 2 || len(ids) == 0 || len(ids)%seqLen != 0 {
		return nil, fmt.Errorf("%d tokens are no sequences of %d", len(ids), seqLen)
	}
	if slices.Min(ids) < 0 {
		return nil, fmt.Errorf("token %d is no id", slices.Min(ids))
	}
	h := sha256.New()
	fmt.Fprintf(h, "calibration sample %d\n", seqLen)
	buf := make([]byte, 0, 4*seqLen)
	for part := range slices.Chunk(ids, seqLen) {
		buf = appendIDs(buf[:0], part)
		_, _ = h.Write(buf) // a hash never fails
	}
	return &Tokens{SeqLen: seqLen, IDs: ids, Digest: hex.EncodeToString(h.Sum(nil))}, nil
}

func appendIDs(dst []byte, ids []int32) []byte {
	for _, id := range ids {
		dst = binary.LittleEndian.AppendUint32(dst, uint32(id))
	}
	return dst
}

// cutter makes one sample.
type cutter struct {
	c     spec.Calib
	tok   *tokenizer.Tokenizer
	rows  rows
	draws draws
	ids   []int32
}

func (k *cutter) want() int { return k.c.Samples * k.c.SeqLen }

// blocks puts short documents one behind another, in random order, until there are tokens enough.
func (k *cutter) blocks() error {
	long := 0
	next := k.draws.order(k.rows.len())
	for len(k.ids) < k.want() {
		i := next()
		if i < 0 {
			return fmt.Errorf("%s: %w", k.c.File.Path, k.tooFew(long))
		}
		text, err := k.rows.text(i)
		if err != nil {
			return err
		}
		if text = strings.TrimSpace(text); text == "" {
			continue
		}
		ids := k.tok.EncodePrompt(text)
		if len(ids) > k.c.SeqLen {
			long++
			continue
		}
		k.ids = append(k.ids, ids...)
	}
	k.ids = k.ids[:k.want()]
	return nil
}

func (k *cutter) tooFew(long int) error {
	hint := "ask for fewer samples or give more text"
	if long > 0 {
		hint = fmt.Sprintf("%d documents were left out as longer than a sample: ask for fewer samples, set cut = %q, which takes long ones, or give more text",
			long, windows)
	}
	return fmt.Errorf("its %d rows give %d tokens in documents of at most %d, and %d samples want %d: %s",
		k.rows.len(), len(k.ids), k.c.SeqLen, k.c.Samples, k.want(), hint)
}

// windows draws from the rows joined to one text.
func (k *cutter) windows() error {
	text, err := k.join()
	if err != nil {
		return err
	}
	ids := k.tok.EncodePrompt(text)
	if len(ids) <= k.c.SeqLen {
		return fmt.Errorf("%s: the text has %d tokens, and a sample is drawn from at least %d: lower seq_len or give more text",
			k.c.File.Path, len(ids), k.c.SeqLen+1)
	}
	for range k.c.Samples {
		k.take(ids)
	}
	return nil
}

// take draws a window of ids, which are more than one.
func (k *cutter) take(ids []int32) {
	i := k.draws.below(len(ids) - k.c.SeqLen)
	k.ids = append(k.ids, ids[i:i+k.c.SeqLen]...)
}

// join puts the rows together, or so many of a large file as are enough.
func (k *cutter) join() (string, error) {
	separator := "\n\n"
	if k.c.Name == "ptb" {
		separator = " "
	}
	n, first, most := k.rows.len(), 0, max(16<<20, 8*k.want())
	if k.rows.bytes() > int64(most) {
		first = k.draws.below(n)
	} else {
		most = math.MaxInt
	}
	var b strings.Builder
	for i := 0; i < n && b.Len() < most; i++ {
		text, err := k.rows.text((first + i) % n)
		if err != nil {
			return "", err
		}
		if k.c.Name == "ptb" {
			text = strings.TrimSpace(text)
		}
		if i > 0 {
			b.WriteString(separator)
		}
		b.WriteString(text)
	}
	return b.String(), nil
}

// documents draws a window each from documents in random order, of those that are long enough; where they are too few, from the same ones
// again.
func (k *cutter) documents() error {
	var long []int
	longest := 0
	next := k.draws.order(k.rows.len())
	for n := 0; n < k.c.Samples; {
		i := next()
		if i < 0 && len(long) == 0 {
			return fmt.Errorf("%s: the longest of its %d documents has %d tokens, and a sample is drawn from at least %d: lower seq_len, or set cut = %q",
				k.c.File.Path, k.rows.len(), longest, k.c.SeqLen+1, blocks)
		}
		again := i < 0
		if again {
			i = long[n%len(long)]
		}
		text, err := k.rows.text(i)
		if err != nil {
			return err
		}
		ids := k.tok.EncodePrompt(text)
		if longest = max(longest, len(ids)); len(ids) <= k.c.SeqLen {
			continue
		}
		if !again {
			long = append(long, i)
		}
		k.take(ids)
		n++
	}
	return nil
}

// errNoRows is of a file without text.
var errNoRows = errors.New("the file holds no row")
