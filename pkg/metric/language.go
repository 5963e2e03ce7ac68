package metric

import (
	"regexp"
	"strings"
	"unicode/utf8"

	"github.com/abadojack/whatlanggo"
)

// languages are those IFEval asks for, by ISO 639-1.
var languages = map[string]whatlanggo.Lang{
	"en": whatlanggo.Eng, "es": whatlanggo.Spa, "pt": whatlanggo.Por, "ar": whatlanggo.Arb, "hi": whatlanggo.Hin, "fr": whatlanggo.Fra,
	"ru": whatlanggo.Rus, "de": whatlanggo.Deu, "ja": whatlanggo.Jpn, "it": whatlanggo.Ita, "bn": whatlanggo.Ben, "uk": whatlanggo.Ukr,
	"th": whatlanggo.Tha, "ur": whatlanggo.Urd, "ta": whatlanggo.Tam, "te": whatlanggo.Tel, "bg": whatlanggo.Bul, "ko": whatlanggo.Kor,
	"pl": whatlanggo.Pol, "he": whatlanggo.Heb, "fa": whatlanggo.Pes, "vi": whatlanggo.Vie, "ne": whatlanggo.Nep, "kn": whatlanggo.Kan,
	"mr": whatlanggo.Mar, "gu": whatlanggo.Guj, "pa": whatlanggo.Pan, "ml": whatlanggo.Mal, "fi": whatlanggo.Fin, "sw": swahili,
}

// swahili is not among the library's languages.
const swahili whatlanggo.Lang = -2

// swahiliWords are the commonest words of Swahili that no other language here has.
var swahiliWords = func() map[string]bool {
	set := map[string]bool{}
	for w := range strings.FieldsSeq(`ya wa kwa katika ni za la cha vya kuwa hii hiyo hizo huo yake wake lake zake yangu wangu yako wako pia kama lakini
		sana watu mtu ambayo ambao kila baada kabla sasa bila hadi kutoka hivyo basi yetu wetu nchi siku wakati kazi mimi wewe yeye sisi
		nyinyi wao hapa huko habari ndiyo hapana au`) {
		set[w] = true
	}
	return set
}()

var options = func() whatlanggo.Options {
	o := whatlanggo.Options{Whitelist: map[whatlanggo.Lang]bool{whatlanggo.Cmn: true, whatlanggo.Nld: true, whatlanggo.Swe: true,
		whatlanggo.Dan: true, whatlanggo.Tur: true, whatlanggo.Ces: true, whatlanggo.Ron: true, whatlanggo.Ind: true, whatlanggo.Ell: true}}
	for _, l := range languages {
		if l != swahili {
			o.Whitelist[l] = true
		}
	}
	return o
}()

var webAddress = regexp.MustCompile(`https?://[-_.?&~;+=/#0-9A-Za-z]+|[-_.0-9A-Za-z]+@[-_0-9A-Za-z]+[-_.0-9A-Za-z]+`)

// speaks reports whether a text is in the language of a code. The reference asks langdetect (Nakatani 2010: Bayes over n-grams of 55
// profiles); this asks whatlanggo (trigram ranks, after a look at the script), among the languages of IFEval and nine neighbours, and
// for Swahili a list of function words. They agree on texts of a few sentences; on a few words, on mixed text, and on close
// relatives beyond these (Norwegian, Croatian), they may differ. Text without letters is in every language, as the reference counts
// what langdetect cannot read as followed.
func speaks(text, code string) bool {
	text = webAddress.ReplaceAllString(text, " ")
	words := strings.FieldsFunc(strings.ToLower(text), func(r rune) bool { return !wordRune(r) })
	if len(words) == 0 || !letters.MatchString(text) {
		return true
	}
	hits := 0
	for _, w := range words {
		if swahiliWords[w] {
			hits++
		}
	}
	if is := hits*7 >= len(words); is || code == "sw" {
		return is && code == "sw"
	}
	return whatlanggo.DetectWithOptions(text, options).Lang == languages[code]
}

// treebank holds the steps of NLTK's word_tokenize on one sentence, those of opening quotes first.
var treebank = []struct {
	re    *regexp.Regexp
	to    string
	needs string // what a sentence must have one rune of for the step to change it
}{
	{regexp.MustCompile("([«“‘„]|`+)"), " $1 ", "«“‘„`"},
	{regexp.MustCompile(`^"`), "`` ", "\""},
	{regexp.MustCompile(`([ (\[{<])("|'')`), "$1 `` ", "\"'"},
	{regexp.MustCompile(`([^.])(\.)([\])}>"'»”’ ]*)\s*$`), "$1 $2 $3 ", "."},
	{regexp.MustCompile(`([:,])([^\d])`), " $1 $2", ":,"},
	{regexp.MustCompile(`([:,])$`), " $1 ", ":,"},
	{regexp.MustCompile(`\.{2,}`), " $0 ", "."},
	{regexp.MustCompile(`[;@#$%&]`), " $0 ", ";@#$%&"},
	{regexp.MustCompile(`([^.])(\.)([\])}>"']*)\s*$`), "$1 $2$3 ", "."},
	{regexp.MustCompile(`[?!]`), " $0 ", "?!"},
	{regexp.MustCompile(`([^'])' `), "$1 ' ", "'"},
	{regexp.MustCompile(`[*\][(){}<>]`), " $0 ", "*[](){}<>"},
	{regexp.MustCompile(`--`), " -- ", "-"},
	{regexp.MustCompile(`^|$`), " ", ""},
	{regexp.MustCompile(`[»”’]`), " $0 ", "»”’"},
	{regexp.MustCompile(`''|"`), " '' ", "\"'"},
	{regexp.MustCompile(`([^' ])('[sS]|'[mM]|'[dD]|') `), "$1 $2 ", "'"},
	{regexp.MustCompile(`([^' ])('ll|'LL|'re|'RE|'ve|'VE|n't|N'T) `), "$1 $2 ", "'"},
	{regexp.MustCompile(`(?i)\b(can)(not)\b|\b(d)('ye)\b|\b(gim)(me)\b|\b(gon)(na)\b|\b(got)(ta)\b|\b(lem)(me)\b|\b(more)('n)\b`),
		" $1$3$5$7$9$11$13 $2$4$6$8$10$12$14 ", "nNeEaA'"},
	{regexp.MustCompile(`(?i)\b(wan)(na)(\s)`), " $1 $2 $3", "wW"},
	{regexp.MustCompile(`(?i) ('t)(is)\b| ('t)(was)\b`), " $1$3 $2$4 ", "'"},
}

// treebankWords cuts a sentence into words as NLTK's word_tokenize does.
func treebankWords(sentence string) []string {
	for i, step := range treebank {
		if step.needs == "" || strings.ContainsAny(sentence, step.needs) {
			sentence = step.re.ReplaceAllString(sentence, step.to)
		}
		if i == openingQuotes-1 {
			sentence = openLetters(sentence)
		}
	}
	return strings.FieldsFunc(sentence, space)
}

// openingQuotes is the number of steps of treebank that are about opening quotes.
const openingQuotes = 3

// openLetters puts a space between a quote and a single letter after it, but for the letters of contractions.
func openLetters(s string) string {
	var b strings.Builder
	last := 0
	for i := range len(s) {
		if s[i] != '\'' {
			continue
		}
		r, size := utf8.DecodeRuneInString(s[i+1:])
		after, _ := utf8.DecodeRuneInString(s[i+1+size:])
		if wordRune(r) && size > 0 && !wordRune(after) && !strings.ContainsRune("mtsdnMTSDN", r) {
			b.WriteString(s[last:i+1] + " ")
			last = i + 1
		}
	}
	return b.String() + s[last:]
}
