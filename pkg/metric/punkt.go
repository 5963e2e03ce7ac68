package metric

import (
	"fmt"
	"regexp"
	"strings"
	"sync"
	"unicode"
	"unicode/utf8"

	punkt "github.com/neurosnap/sentences"
	"github.com/neurosnap/sentences/data"
)

// parameters are NLTK's English ones of Punkt, which the library brings along in the program.
var parameters = sync.OnceValues(func() (*punkt.Storage, error) {
	b, err := data.Asset("data/english.json")
	if err != nil {
		return nil, fmt.Errorf("reading the parameters of Punkt: %w", err)
	}
	s, err := punkt.LoadTraining(b)
	if err != nil {
		return nil, fmt.Errorf("reading the parameters of Punkt: %w", err)
	}
	return s, nil
})

// sentences cuts a text into sentences with Punkt (Kiss and Strunk 2006), as NLTK's PunktSentenceTokenizer does with its English
// parameters; the library those come from cuts runs of punctuation another way. The parameters are part of the program, so that
// reading them does not fail; if it did, a text would be one sentence.
func sentences(text string) (list []string) {
	p, err := parameters()
	if err != nil {
		return []string{text}
	}
	spans := breaks(text, p)
	moved := 0
	for i, s := range spans {
		from, to := s[0]+moved, s[1]
		moved = 0
		if i+1 < len(spans) {
			next := text[spans[i+1][0]:max(spans[i+1][0], spans[i+1][1])]
			if m := closers.FindStringSubmatch(next); m != nil {
				m[0] = strings.TrimSuffix(m[0], m[1])
				to, moved = spans[i+1][0]+len(strings.TrimRightFunc(m[0], space)), len(m[0])
			}
		}
		if from < to {
			list = append(list, text[from:to])
		}
	}
	return list
}

func sentenceCount(text string) int { return len(sentences(text)) }

// closers are quotes and brackets that still belong to the sentence before them; dashes after them do not.
var closers = regexp.MustCompile(`^["')\]}]+(?:` + ws + `+|(--)|$)`)

// breaks gives the first and the last byte of every sentence, before closing punctuation is moved.
func breaks(text string, p *punkt.Storage) (spans [][2]int) {
	start := 0
	for _, c := range candidates(text) {
		if breaksAt(text[c.word:c.end]+c.after, p) {
			spans = append(spans, [2]int{start, c.end})
			start = c.next
		}
	}
	return append(spans, [2]int{start, len(strings.TrimRightFunc(text, space))})
}

// A candidate is a period, question or exclamation mark after which a sentence may end.
type candidate struct {
	word, end int    // from the start of the word before the mark to the end of the mark
	after     string // the punctuation after it, or white space and the next token
	next      int    // where the next sentence would start
}

// candidates finds the marks that punctuation or white space and a token follow, the last of several in one word.
func candidates(text string) (list []candidate) {
	word, stop := 0, 0 // of the candidate before
	for i := 0; i < len(text); i++ {
		if strings.IndexByte(".?!", text[i]) < 0 {
			continue
		}
		after, next := following(text, i+1)
		if after == "" {
			continue
		}
		from := word
		if at := strings.LastIndexAny(text[stop:i], " \t\n\r\v\f"); at > 0 {
			from = stop + at + 1
		}
		if len(list) > 0 && stop > from {
			list = list[:len(list)-1]
		}
		list = append(list, candidate{word: from, end: i + 1, after: after, next: next})
		word, stop = from, i
	}
	return list
}

// nonWord are the signs that end a word.
const nonWord = `)";}]*:@'({[!?`

func following(text string, at int) (after string, next int) {
	rest := text[at:]
	if rest != "" && strings.IndexByte(nonWord, rest[0]) >= 0 {
		return rest[:1], at
	}
	token := strings.TrimLeftFunc(rest, space)
	if token == "" || len(token) == len(rest) {
		return "", at
	}
	gap := len(rest) - len(token)
	end := strings.IndexFunc(token, space)
	if end < 0 {
		end = len(token)
	}
	return rest[:gap+end], at + gap
}

// A punktToken is a word with what Punkt says of it.
type punktToken struct {
	text, kind                      string // the kind is in lower case, all numbers one
	breaks, abbr, dots, periodFinal bool
}

var numeric = regexp.MustCompile(`^-?[.,]?\p{Nd}[\p{Nd},.-]*$`)

const numberKind = "##number##"

// breaksAt reports whether a sentence ends inside a context, with a token after its end.
func breaksAt(context string, p *punkt.Storage) bool {
	var tokens []punktToken
	for line := range strings.SplitSeq(context, "\n") {
		for _, w := range punktWords(line) {
			tokens = append(tokens, firstPass(w, p))
		}
	}
	for i := 0; i+1 < len(tokens); i++ {
		secondPass(&tokens[i], &tokens[i+1], p)
		if tokens[i].breaks {
			return true
		}
	}
	return false
}

// punktWords cuts a line into words; a period stays with its word.
func punktWords(line string) (words []string) {
	for i := 0; i < len(line); {
		r, size := utf8.DecodeRuneInString(line[i:])
		if space(r) {
			i += size
			continue
		}
		n := signRun(line[i:])
		if n == 0 {
			n = size
			if !strings.ContainsRune("(\"`{[:;&#*@)}]-,", r) {
				n += wordLength(line[i+size:])
			}
		}
		words = append(words, line[i:i+n])
		i += n
	}
	return words
}

// wordLength gives how far a word goes on.
func wordLength(rest string) int {
	for i, r := range rest {
		if space(r) || endsWord(rest[i:]) {
			return i
		}
		if r == ',' {
			after, _ := utf8.DecodeRuneInString(rest[i+1:])
			if len(rest) == i+1 || space(after) || endsWord(rest[i+1:]) {
				return i
			}
		}
	}
	return len(rest)
}

func endsWord(rest string) bool { return strings.IndexByte(nonWord, rest[0]) >= 0 || signRun(rest) > 0 }

// signRun gives the length of a run of dashes or periods, or of periods with white space between, that s starts with.
func signRun(s string) int {
	for _, sign := range []string{"-", "."} {
		if n := len(s) - len(strings.TrimLeft(s, sign)); n >= 2 {
			return n
		}
	}
	n, pairs := 0, 0
	for strings.HasPrefix(s[n:], ".") {
		r, size := utf8.DecodeRuneInString(s[n+1:])
		if size == 0 || !space(r) {
			if pairs >= 2 {
				return n + 1
			}
			return 0
		}
		n += 1 + size
		pairs++
	}
	if pairs < 3 {
		return 0
	}
	// The last pair gives its period back, without the white space after it.
	return len(strings.TrimRightFunc(s[:n], space))
}

// firstPass says of a token by itself whether it ends a sentence, is an abbreviation or an ellipsis.
func firstPass(text string, p *punkt.Storage) punktToken {
	t := punktToken{text: text, kind: strings.ToLower(text), periodFinal: strings.HasSuffix(text, ".")}
	if numeric.MatchString(t.kind) {
		t.kind = numberKind
	}
	switch {
	case text == "." || text == "?" || text == "!":
		t.breaks = true
	case len(text) > 1 && strings.Trim(text, ".") == "":
		t.dots = true
	case t.periodFinal && !strings.HasSuffix(text, ".."):
		word := strings.ToLower(text[:len(text)-1])
		t.abbr = p.AbbrevTypes.Has(word) || p.AbbrevTypes.Has(word[strings.LastIndexByte(word, '-')+1:])
		t.breaks = !t.abbr
	}
	return t
}

// bare is the kind without a period at its end.
func (t *punktToken) bare() string {
	if len(t.kind) > 1 {
		return strings.TrimSuffix(t.kind, ".")
	}
	return t.kind
}

// asNext is the kind as a token after another is looked up: without a period only if that ends a sentence.
func (t *punktToken) asNext() string {
	if t.breaks {
		return t.bare()
	}
	return t.kind
}

func (t *punktToken) initial() bool {
	r, size := utf8.DecodeRuneInString(t.text)
	return t.text[size:] == "." && wordRune(r) && !unicode.IsDigit(r)
}

func (t *punktToken) firstUpper() bool {
	r, _ := utf8.DecodeRuneInString(t.text)
	return upper(r)
}

// secondPass changes what is said of a token by the token after it (section 4 of the paper).
func secondPass(t, next *punktToken, p *punkt.Storage) {
	if !t.periodFinal {
		return
	}
	kind, nextKind, initial := t.bare(), next.asNext(), t.initial()
	if p.Collocations.Has(kind + "," + nextKind) {
		t.breaks, t.abbr = false, true
		return
	}
	starts := sentenceStart(next, p)
	if (t.abbr || t.dots) && !initial && (starts > 0 || next.firstUpper() && p.SentStarters.Has(nextKind)) {
		t.breaks = true
		return
	}
	if !initial && kind != numberKind {
		return
	}
	unseen := starts == 0 && initial && next.firstUpper() && p.OrthoContext[nextKind]&orthoLower == 0
	if starts < 0 || unseen {
		t.breaks, t.abbr = false, true
	}
}

// The contexts in which the training text had a word, upper or lower case: at the start of a sentence, inside, or where that is unknown.
const (
	orthoMiddleUpper = 4
	orthoUpper       = 2 | 4 | 8
	orthoStartLower  = 16
	orthoLower       = 16 | 32 | 64
)

// sentenceStart says whether a token starts a sentence: 1 for yes, -1 for no, 0 where that is unknown (section 4.1.1).
func sentenceStart(t *punktToken, p *punkt.Storage) int {
	if len(t.text) == 1 && strings.Contains(";:,.!?", t.text) {
		return -1
	}
	seen := p.OrthoContext[t.asNext()]
	r, _ := utf8.DecodeRuneInString(t.text)
	switch {
	case upper(r) && seen&orthoLower != 0 && seen&orthoMiddleUpper == 0:
		return 1
	case lower(r) && (seen&orthoUpper != 0 || seen&orthoStartLower == 0):
		return -1
	}
	return 0
}
