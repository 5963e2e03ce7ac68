package metric

import "strings"

// stem gives the stem of a word of lower-case letters and digits: M. F. Porter, "An algorithm for suffix stripping" (Program 14, 1980), with
// the extensions that NLTK's PorterStemmer has by default and rouge_score therefore uses: a table of irregular forms; -ies and -ied of
// words of four letters keep the e (dies, died: die); y becomes i only after a consonant that does not stand alone; -bli for -abli;
// -alli is taken off before the rest of step 2; -fulli and -logi; and a vowel with a consonant counts as the form cvc.
func stem(word string) string {
	if s, ok := irregular[word]; ok {
		return s
	}
	if len(word) <= 2 {
		return word
	}
	word = step1c(step1b(step1a(word)))
	word = step2(word)
	word = applyRules(word, step3Rules)
	word = step4(word)
	return step5(word)
}

var irregular = map[string]string{
	"sky": "sky", "skies": "sky", "dying": "die", "lying": "lie", "tying": "tie", "news": "news", "innings": "inning", "inning": "inning",
	"outings": "outing", "outing": "outing", "cannings": "canning", "canning": "canning", "howe": "howe", "proceed": "proceed",
	"exceed": "exceed", "succeed": "succeed",
}

// A rule replaces a suffix where what is left before it has a measure above min.
type rule struct {
	suffix, to string
	min        int
}

var step2Rules = []rule{
	{"ational", "ate", 0}, {"tional", "tion", 0}, {"enci", "ence", 0}, {"anci", "ance", 0}, {"izer", "ize", 0}, {"bli", "ble", 0},
	{"alli", "al", 0}, {"entli", "ent", 0}, {"eli", "e", 0}, {"ousli", "ous", 0}, {"ization", "ize", 0}, {"ation", "ate", 0},
	{"ator", "ate", 0}, {"alism", "al", 0}, {"iveness", "ive", 0}, {"fulness", "ful", 0}, {"ousness", "ous", 0}, {"aliti", "al", 0},
	{"iviti", "ive", 0}, {"biliti", "ble", 0}, {"fulli", "ful", 0},
}

var step3Rules = []rule{
	{"icate", "ic", 0}, {"ative", "", 0}, {"alize", "al", 0}, {"iciti", "ic", 0}, {"ical", "ic", 0}, {"ful", "", 0}, {"ness", "", 0},
}

var step4Rules = []rule{
	{"al", "", 1}, {"ance", "", 1}, {"ence", "", 1}, {"er", "", 1}, {"ic", "", 1}, {"able", "", 1}, {"ible", "", 1}, {"ant", "", 1},
	{"ement", "", 1}, {"ment", "", 1}, {"ent", "", 1},
}

var step4Late = []rule{
	{"ou", "", 1}, {"ism", "", 1}, {"ate", "", 1}, {"iti", "", 1}, {"ous", "", 1}, {"ive", "", 1}, {"ize", "", 1},
}

// applyRules applies the first rule whose suffix the word has; where its measure is too small the word stays.
func applyRules(word string, rules []rule) string {
	w, _ := firstRule(word, rules)
	return w
}

func firstRule(word string, rules []rule) (string, bool) {
	for _, r := range rules {
		if head, ok := strings.CutSuffix(word, r.suffix); ok {
			if measure(head) > r.min {
				return head + r.to, true
			}
			return word, true
		}
	}
	return word, false
}

func consonant(word string, i int) bool {
	switch word[i] {
	case 'a', 'e', 'i', 'o', 'u':
		return false
	case 'y':
		// Of a run of y the first is a consonant, and then they alternate; a y after a vowel is one.
		run := 0
		for i-run > 0 && word[i-run-1] == 'y' {
			run++
		}
		first := i-run == 0 || !consonant(word, i-run-1)
		return first == (run%2 == 0)
	}
	return true
}

// measure counts the m of [C](VC){m}[V].
func measure(word string) int {
	m, vowel := 0, false
	for i := range len(word) {
		c := consonant(word, i)
		if c && vowel {
			m++
		}
		vowel = !c
	}
	return m
}

func hasVowel(word string) bool {
	for i := range len(word) {
		if !consonant(word, i) {
			return true
		}
	}
	return false
}

func doubled(word string) bool {
	n := len(word)
	return n >= 2 && word[n-1] == word[n-2] && consonant(word, n-1)
}

func endsCVC(word string) bool {
	n := len(word)
	if n == 2 {
		return !consonant(word, 0) && consonant(word, 1)
	}
	return n >= 3 && consonant(word, n-3) && !consonant(word, n-2) && consonant(word, n-1) && strings.IndexByte("wxy", word[n-1]) < 0
}

func step1a(word string) string {
	switch {
	case strings.HasSuffix(word, "ies") && len(word) == 4:
		return word[:3]
	case strings.HasSuffix(word, "sses"), strings.HasSuffix(word, "ies"):
		return word[:len(word)-2]
	case strings.HasSuffix(word, "ss"):
		return word
	}
	return strings.TrimSuffix(word, "s")
}

func step1b(word string) string {
	if head, ok := strings.CutSuffix(word, "ied"); ok {
		if len(word) == 4 {
			return head + "ie"
		}
		return head + "i"
	}
	if head, ok := strings.CutSuffix(word, "eed"); ok {
		if measure(head) > 0 {
			return head + "ee"
		}
		return word
	}
	for _, suffix := range []string{"ed", "ing"} {
		if head, ok := strings.CutSuffix(word, suffix); ok && hasVowel(head) {
			return mend(head)
		}
	}
	return word
}

// mend puts an ending back on what -ed or -ing was taken from.
func mend(word string) string {
	for _, suffix := range []string{"at", "bl", "iz"} {
		if strings.HasSuffix(word, suffix) {
			return word + "e"
		}
	}
	if doubled(word) {
		if strings.IndexByte("lsz", word[len(word)-1]) < 0 {
			return word[:len(word)-1]
		}
		return word
	}
	if measure(word) == 1 && endsCVC(word) {
		return word + "e"
	}
	return word
}

func step1c(word string) string {
	if head, ok := strings.CutSuffix(word, "y"); ok && len(head) > 1 && consonant(head, len(head)-1) {
		return head + "i"
	}
	return word
}

func step2(word string) string {
	if head, ok := strings.CutSuffix(word, "alli"); ok && measure(head) > 0 {
		return step2(head + "al")
	}
	w, done := firstRule(word, step2Rules)
	if !done && strings.HasSuffix(word, "logi") && measure(word[:len(word)-3]) > 0 {
		return word[:len(word)-1]
	}
	return w
}

func step4(word string) string {
	if w, done := firstRule(word, step4Rules); done {
		return w
	}
	if head, ok := strings.CutSuffix(word, "ion"); ok {
		if measure(head) > 1 && (head[len(head)-1] == 's' || head[len(head)-1] == 't') {
			return head
		}
		return word
	}
	return applyRules(word, step4Late)
}

func step5(word string) string {
	if head, ok := strings.CutSuffix(word, "e"); ok {
		if m := measure(head); m > 1 || m == 1 && !endsCVC(head) {
			word = head
		}
	}
	if strings.HasSuffix(word, "ll") && measure(word[:len(word)-1]) > 1 {
		return word[:len(word)-1]
	}
	return word
}
