package metric

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// ASCII punctuation, as Python's string.punctuation has it; the reference scripts remove it.
const punctuation = "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~"

var isPunct = func() (set [128]bool) {
	for _, r := range punctuation {
		set[r] = true
	}
	return set
}()

func punct(r rune) bool { return r < 128 && r >= 0 && isPunct[r] }

// space reports white space as Python's str.split and \s see it: Unicode's, and the four ASCII separators.
func space(r rune) bool { return unicode.IsSpace(r) || (r >= 0x1c && r <= 0x1f) }

// wordRune reports what Python's \w matches: letters and numbers of any script and the underscore, but no combining marks.
func wordRune(r rune) bool {
	if r < utf8.RuneSelf {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '_'
	}
	return unicode.IsLetter(r) || unicode.IsNumber(r)
}

// SQuADNormalize gives a text in lower case, without ASCII punctuation, without the articles a, an and the, and with single spaces:
// normalize_answer of the evaluation script of SQuAD 1.1 (Rajpurkar et al. 2016), in its order. NQ-open (Lee et al. 2019) and its
// followers use the same.
func SQuADNormalize(text string) string {
	return dropArticles(strings.Map(func(r rune) rune {
		if punct(r) {
			return -1
		}
		return r
	}, strings.ToLower(text)))
}

// TriviaQANormalize is normalize_answer of TriviaQA's evaluation script (Joshi et al. 2017). It differs from SQuAD's in two points:
// punctuation becomes a space, so that "rock-n-roll" is three words, and the quotation marks ‘ ’ ´ count as punctuation.
func TriviaQANormalize(text string) string {
	return dropArticles(strings.Map(func(r rune) rune {
		if punct(r) || r == '‘' || r == '’' || r == '´' {
			return ' '
		}
		return r
	}, strings.ToLower(text)))
}

// dropArticles replaces every word that is a, an or the (in lower case) by a space, then makes all white space single spaces.
func dropArticles(text string) string {
	return joined(text, func(word string) bool { return word == "a" || word == "an" || word == "the" })
}

// joined copies a text without the words that drop names, words being runs of \w, and with one space for every run of white space
// inside. A dropped word counts as white space.
func joined(text string, drop func(word string) bool) string {
	var b strings.Builder
	b.Grow(len(text))
	gap := false
	emit := func(s string) {
		if gap && b.Len() > 0 {
			b.WriteByte(' ')
		}
		gap = false
		b.WriteString(s)
	}
	for i := 0; i < len(text); {
		r, size := utf8.DecodeRuneInString(text[i:])
		switch {
		case space(r):
			gap = true
			i += size
		case wordRune(r):
			end := wordEnd(text, i)
			if word := text[i:end]; drop(word) {
				gap = true
			} else {
				emit(word)
			}
			i = end
		default:
			emit(text[i : i+size])
			i += size
		}
	}
	return b.String()
}

// wordEnd gives the end of the run of \w that starts at i.
func wordEnd(text string, i int) int {
	for i < len(text) {
		r, size := utf8.DecodeRuneInString(text[i:])
		if !wordRune(r) {
			break
		}
		i += size
	}
	return i
}

// ExactMatch reports whether a prediction equals one of the gold answers after normalize, which is one of the normalisations of this
// package (nil: none). Without golds nothing matches.
func ExactMatch(prediction string, golds []string, normalize func(string) string) bool {
	if normalize == nil {
		normalize = same
	}
	p := normalize(prediction)
	for _, g := range golds {
		if normalize(g) == p {
			return true
		}
	}
	return false
}

func same(s string) string { return s }

// F1 gives the best F1 over the gold answers of the words that a prediction and a gold have in common, counted with repetition, after
// normalize (SQuADNormalize for SQuAD, nil for none): 0 to 1, symmetric in prediction and gold. Two texts without words are equal and
// give 1, one without words gives 0, as in the script of SQuAD 2.0; that of 1.1 gives 0 for both and is else the same.
func F1(prediction string, golds []string, normalize func(string) string) float64 {
	if normalize == nil {
		normalize = same
	}
	best := 0.0
	p := strings.FieldsFunc(normalize(prediction), space)
	for _, g := range golds {
		best = max(best, overlapF1(p, strings.FieldsFunc(normalize(g), space)))
	}
	return best
}

func overlapF1(a, b []string) float64 {
	if len(a) == 0 || len(b) == 0 {
		if len(a) == len(b) {
			return 1
		}
		return 0
	}
	counts := make(map[string]int, len(a))
	for _, w := range a {
		counts[w]++
	}
	shared := 0
	for _, w := range b {
		if counts[w] > 0 {
			counts[w]--
			shared++
		}
	}
	return 2 * float64(shared) / float64(len(a)+len(b))
}

// ContainsAny reports whether a prediction contains one of the golds as it stands, after normalize on both (nil: none). A gold that is
// empty after normalize is passed over: every text would contain it.
func ContainsAny(prediction string, golds []string, normalize func(string) string) bool {
	if normalize == nil {
		normalize = same
	}
	p := normalize(prediction)
	for _, g := range golds {
		if g = normalize(g); g != "" && strings.Contains(p, g) {
			return true
		}
	}
	return false
}

// OCGeneral is OpenCompass's general_postprocess: the text before the first line break, period or comma, without what is neither word
// character nor white space, without the articles (in any case), with single spaces. Unlike SQuAD's it cuts, keeps the case, and
// removes the punctuation of every script and the combining marks.
func OCGeneral(text string) string {
	if i := strings.IndexAny(text, "\n.,"); i >= 0 {
		text = text[:i]
	}
	text = strings.Map(func(r rune) rune {
		if wordRune(r) || space(r) {
			return r
		}
		return -1
	}, text)
	return joined(text, func(word string) bool {
		return len(word) <= 3 && (strings.EqualFold(word, "a") || strings.EqualFold(word, "an") || strings.EqualFold(word, "the"))
	})
}

// OCTriviaQA is what OpenCompass's TriviaQAEvaluator makes of a prediction: its first line in lower case, what comes after the last
// "answer is", "a:" and "answer:", and of that OCGeneral.
func OCTriviaQA(text string) string {
	text = firstLowerLine(text)
	for _, mark := range []string{"answer is", "a:", "answer:"} {
		text = afterLast(text, mark)
	}
	return OCGeneral(strings.TrimFunc(text, space))
}

// OCNQ is what OpenCompass's NQEvaluator makes of a prediction: as OCTriviaQA, but only "answer is" announces.
func OCNQ(text string) string { return OCGeneral(afterLast(firstLowerLine(text), "answer is")) }

// firstLowerLine gives the first line of a text in lower case, white space around the text removed first.
func firstLowerLine(text string) string {
	line, _, _ := strings.Cut(strings.TrimFunc(text, space), "\n")
	return strings.ToLower(line)
}

// OCContains scores as OpenCompass does for TriviaQA and NQ: a prediction, made by OCTriviaQA or OCNQ, that contains OCGeneral of any
// gold in lower case. It is looser than exact match. As there, a gold that is empty after OCGeneral is contained in every prediction.
func OCContains(processed string, golds []string) bool {
	for _, g := range golds {
		if strings.Contains(processed, strings.ToLower(OCGeneral(g))) {
			return true
		}
	}
	return false
}

// afterLast gives the text after the last mark, all of it where there is none.
func afterLast(text, mark string) string {
	if i := strings.LastIndex(text, mark); i >= 0 {
		return text[i+len(mark):]
	}
	return text
}
