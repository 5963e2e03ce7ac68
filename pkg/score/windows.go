package score

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"slices"

	"sextant/pkg/spec"
)

var conventions = []string{"gptq", "gptq-bos", "sliding", "lm-eval", "llama.cpp"}

// windows scores a text's windows by the perplexity convention of the dataset.
type windows struct {
	o    spec.RollingOptions
	rows []window
}

type window struct {
	row          int
	nll, tokens  float64 // summed loss of the tokens counted
	words, bytes float64 // of the whole document, on its first window
}

func newWindows(o spec.RollingOptions) (*windows, error) {
	o.Convention = cmp.Or(o.Convention, conventions[0])
	o.SeqLen = cmp.Or(o.SeqLen, 2048)
	o.Stride = cmp.Or(o.Stride, o.SeqLen/2)
	if !slices.Contains(conventions, o.Convention) {
		return nil, unknown("perplexity convention", o.Convention, conventions)
	}
	return &windows{o: o}, nil
}

func (w *windows) sheets() []sheet {
	return []sheet{{metric: w.metric(), kind: byLoss, rows: w.outcomes()}}
}

func (w *windows) metric() string {
	if w.o.Convention == "lm-eval" {
		return wordPerplexity
	}
	return perplexity
}

func (w *windows) outcomes() []outcome {
	out := make([]outcome, len(w.rows))
	for i, r := range w.rows {
		out[i] = outcome{row: r.row, value: r.nll, size: r.tokens, words: r.words}
		if w.o.Convention == "gptq" {
			out[i].value, out[i].size = r.nll/r.tokens, 1
		}
	}
	return out
}

func (w *windows) note() string {
	if w.o.Convention == "sliding" {
		return fmt.Sprintf("sliding %d/%d", w.o.SeqLen, w.o.Stride)
	}
	return fmt.Sprintf("%s %d", w.o.Convention, w.o.SeqLen)
}

func (w *windows) add(q *question) error {
	r := q.samples[0]
	if len(r.NLL) != 1 || len(r.Tokens) != 1 || r.Tokens[0] < 1 {
		return errors.New("the record has not one loss of one token or more")
	}
	if !finite(r.NLL[0]) {
		return errors.New("the loss is not a finite number")
	}
	w.rows = append(w.rows, window{r.Row, r.NLL[0], float64(r.Tokens[0]), float64(r.Words), float64(r.Bytes)})
	return nil
}

// finish computes the perplexity. Sums run in row order.
//
//	gptq                            exp(mean over windows of NLL/tokens), as GPTQ and LLMC print it (arXiv 2210.17323)
//	gptq-bos, sliding, llama.cpp    exp(sum NLL / sum tokens)
//	lm-eval                         exp(sum NLL / words) as the value, with byte_perplexity = exp(sum NLL / bytes) and
//	                                bits_per_byte = sum NLL / (bytes ln 2), words and bytes of the documents before tokenisation
//
// The standard error is the delta method's, value * se(log value), over windows taken as independent; neighbouring windows of one text
// are somewhat alike, so it is rather small.
func (w *windows) finish(s *Score, lost *losses) {
	if w.o.Convention == "lm-eval" {
		w.keepWholeDocuments(s, lost)
	}
	if len(w.rows) == 0 {
		return
	}
	var sum window
	for _, r := range w.rows {
		sum = window{nll: sum.nll + r.nll, tokens: sum.tokens + r.tokens, words: sum.words + r.words, bytes: sum.bytes + r.bytes}
	}
	mean, stderr := deltaRatio(w.outcomes())
	s.detail("tokens", sum.tokens)
	if w.o.Convention == "lm-eval" {
		s.detail("words", sum.words)
		s.detail("bytes", sum.bytes)
		s.detail("byte_perplexity", math.Exp(sum.nll/sum.bytes))
		s.detail("bits_per_byte", sum.nll/(sum.bytes*math.Ln2))
		// The documents are given, so tokens a word is a constant and all the spread is in the loss a token.
		mean, stderr = sum.nll/sum.words, stderr*sum.tokens/sum.words
	}
	if !s.exponential(mean, stderr) {
		lost.note(noPerplexity)
	}
}

const noPerplexity = "the perplexity is too large or undefined"

// exponential fills in exp(mean) with the standard error that the delta method gives it; false: it is no number.
func (s *Score) exponential(mean, stderr float64) bool {
	v := math.Exp(mean)
	if !finite(v) {
		return false
	}
	s.Value = ptr(v)
	if se := v * stderr; finite(se) {
		s.StdErr = ptr(se)
	}
	return true
}

// keepWholeDocuments takes back the windows of documents that lack one: their words and bytes cannot be divided among windows. Rows
// are in order, a document starts where words or bytes are given, and a gap may hide the end of one document and the start of others.
func (w *windows) keepWholeDocuments(s *Score, lost *losses) {
	planned := s.N + s.Missing
	var kept []window
	for i := 0; i < len(w.rows); {
		end := i + 1
		for end < len(w.rows) && w.rows[end].row == w.rows[end-1].row+1 && !w.rows[end].starts() {
			end++
		}
		next := planned // row where the next document starts, if no row is missing
		if end < len(w.rows) && w.rows[end].starts() {
			next = w.rows[end].row
		}
		if w.rows[i].starts() && w.rows[end-1].row+1 == next {
			kept = append(kept, w.rows[i:end]...)
		} else {
			for _, r := range w.rows[i:end] {
				lost.add(r.row, "its document lacks a window, and this convention counts whole documents")
			}
		}
		i = end
	}
	s.N, s.Missing = len(kept), planned-len(kept)
	w.rows = kept
}

func (w window) starts() bool { return w.words > 0 || w.bytes > 0 }
