package metric

import (
	"encoding/json"
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"
)

// ws is white space as Python's \s has it.
const ws = `[\s\v\x{1c}-\x{1f}\x{85}\p{Z}]`

// instructions makes the check of each kind of google-research's instruction_following_eval. The words it searches for are regular
// expressions there, and here, in RE2's syntax; one that RE2 does not read is searched for as it stands.
var instructions = map[string]func(a *arguments) func(string) bool{
	"keywords:existence":                            keywordsExist,
	"keywords:frequency":                            keywordFrequency,
	"keywords:forbidden_words":                      forbiddenWords,
	"keywords:letter_frequency":                     letterFrequency,
	"language:response_language":                    responseLanguage,
	"length_constraints:number_sentences":           numberOf("num_sentences", sentenceCount),
	"length_constraints:number_words":               numberOf("num_words", wordCount),
	"length_constraints:number_paragraphs":          numberOfParagraphs,
	"length_constraints:nth_paragraph_first_word":   nthParagraph,
	"detectable_content:number_placeholders":        atLeast("num_placeholders", matches(`\[.*?\]`)),
	"detectable_content:postscript":                 postscript,
	"detectable_format:number_bullet_lists":         bulletLists,
	"detectable_format:constrained_response":        constrainedResponse,
	"detectable_format:number_highlighted_sections": atLeast("num_highlights", highlights),
	"detectable_format:multiple_sections":           multipleSections,
	"detectable_format:json_format":                 always(isJSON),
	"detectable_format:title":                       always(hasTitle),
	"combination:two_responses":                     always(twoResponses),
	"combination:repeat_prompt":                     repeatPrompt,
	"startend:end_checker":                          endsWith,
	"startend:quotation":                            always(quoted),
	"change_case:capital_word_frequency":            capitalWords,
	"change_case:english_capital":                   always(func(s string) bool { return oneCase(s, upper) && speaks(s, "en") }),
	"change_case:english_lowercase":                 always(func(s string) bool { return oneCase(s, lower) && speaks(s, "en") }),
	"punctuation:no_comma":                          always(func(s string) bool { return !strings.Contains(s, ",") }),
}

func always(check func(string) bool) func(*arguments) func(string) bool {
	return func(*arguments) func(string) bool { return check }
}

// atLeast makes the check of a smallest number of what count counts.
func atLeast(argument string, count func(string) int) func(*arguments) func(string) bool {
	return func(a *arguments) func(string) bool {
		n := a.count(argument, 0)
		return func(s string) bool { return count(s) >= n }
	}
}

// numberOf makes the check of a number that is compared by the argument relation.
func numberOf(argument string, count func(string) int) func(*arguments) func(string) bool {
	return func(a *arguments) func(string) bool {
		good := a.compare("relation", a.count(argument, 0))
		return func(s string) bool { return good(count(s)) }
	}
}

func matches(expression string) func(string) int {
	re := regexp.MustCompile(expression)
	return func(s string) int { return len(re.FindAllStringIndex(s, -1)) }
}

// pattern compiles what the reference takes for a regular expression; where RE2 cannot, the text itself is searched for.
func pattern(flags, text string) *regexp.Regexp {
	if re, err := regexp.Compile("(?" + flags + ":" + text + ")"); err == nil {
		return re
	}
	return regexp.MustCompile("(?" + flags + ":" + regexp.QuoteMeta(strings.ToValidUTF8(text, "\ufffd")) + ")")
}

func keywordsExist(a *arguments) func(string) bool {
	var all []*regexp.Regexp
	for _, k := range a.texts("keywords") {
		all = append(all, pattern("i", k))
	}
	return func(s string) bool {
		for _, re := range all {
			if !re.MatchString(s) {
				return false
			}
		}
		return true
	}
}

func keywordFrequency(a *arguments) func(string) bool {
	re := pattern("i", strings.TrimFunc(a.text("keyword"), space))
	good := a.compare("relation", a.count("frequency", 0))
	return func(s string) bool { return good(len(re.FindAllStringIndex(s, -1))) }
}

// forbiddenWords looks for words between boundaries of any script, as Python's \b has them; RE2's knows ASCII only.
func forbiddenWords(a *arguments) func(string) bool {
	var all []*regexp.Regexp
	for _, w := range a.texts("forbidden_words") {
		all = append(all, pattern("i", w))
	}
	return func(s string) bool {
		for _, re := range all {
			if standsIn(s, re) {
				return false
			}
		}
		return true
	}
}

func standsIn(s string, re *regexp.Regexp) bool {
	for at := 0; at <= len(s); {
		m := re.FindStringIndex(s[at:])
		if m == nil {
			return false
		}
		from, to := at+m[0], at+m[1]
		if boundary(s, from) && boundary(s, to) {
			return true
		}
		_, size := utf8.DecodeRuneInString(s[from:])
		at = from + max(1, size)
	}
	return false
}

// boundary reports whether a word starts or ends at i.
func boundary(s string, i int) bool {
	before, n := utf8.DecodeLastRuneInString(s[:i])
	after, m := utf8.DecodeRuneInString(s[i:])
	return (n > 0 && wordRune(before)) != (m > 0 && wordRune(after))
}

func letterFrequency(a *arguments) func(string) bool {
	letter := strings.ToLower(a.text("letter"))
	if utf8.RuneCountInString(letter) > 1 {
		a.fault("argument \"letter\" is %q, not one letter", letter)
	}
	good := a.compare("let_relation", a.count("let_frequency", 0))
	return func(s string) bool { return good(strings.Count(strings.ToLower(s), letter)) }
}

func responseLanguage(a *arguments) func(string) bool {
	code := a.text("language")
	if _, ok := languages[code]; !ok && code != "" {
		a.fault("argument \"language\" is %q, none of the languages of the data set", code)
	}
	return func(s string) bool { return speaks(s, code) }
}

// wordCount counts runs of \w, as NLTK's RegexpTokenizer does for the reference.
func wordCount(s string) (n int) {
	in := false
	for _, r := range s {
		w := wordRune(r)
		if w && !in {
			n++
		}
		in = w
	}
	return n
}

var divider = regexp.MustCompile(ws + `?\*\*\*` + ws + `?`)

func numberOfParagraphs(a *arguments) func(string) bool {
	want := a.count("num_paragraphs", 0)
	return func(s string) bool {
		parts := divider.Split(s, -1)
		n := len(parts)
		for i, p := range parts {
			if strings.TrimFunc(p, space) != "" {
				continue
			}
			if i > 0 && i < len(parts)-1 {
				return false
			}
			n--
		}
		return n == want
	}
}

// nthParagraph checks the number of paragraphs, between empty lines, and the first word of one of them. As in the reference, empty
// paragraphs do not count but keep their places.
func nthParagraph(a *arguments) func(string) bool {
	n := a.count("num_paragraphs", 1)
	nth := a.count("nth_paragraph", 1)
	word := strings.ToLower(a.text("first_word"))
	if nth > n {
		a.fault("argument \"nth_paragraph\" is %d of %d paragraphs", nth, n)
	}
	return func(s string) bool {
		parts := strings.Split(s, "\n\n")
		full := 0
		for _, p := range parts {
			if strings.TrimFunc(p, space) != "" {
				full++
			}
		}
		return full == n && nth <= full && openingWord(parts[nth-1]) == word
	}
}

// openingWord gives the first word of a paragraph in lower case, without quotes before it, up to the first punctuation.
func openingWord(paragraph string) string {
	words := strings.FieldsFunc(paragraph, space)
	if len(words) == 0 {
		return ""
	}
	w := strings.TrimLeft(strings.TrimLeft(words[0], "'"), `"`)
	if i := strings.IndexAny(w, `.,?!'"`); i >= 0 {
		w = w[:i]
	}
	return strings.ToLower(w)
}

func postscript(a *arguments) func(string) bool {
	marker := strings.TrimFunc(a.text("postscript_marker"), space)
	expression := strings.ToLower(marker)
	switch marker {
	case "P.P.S":
		expression = `p\.` + ws + `?p\.` + ws + `?s`
	case "P.S.":
		expression = `p\.` + ws + `?s\.`
	}
	re := pattern("m", expression)
	return func(s string) bool { return re.MatchString(strings.ToLower(s)) }
}

func bulletLists(a *arguments) func(string) bool {
	want := a.count("num_bullets", 0)
	stars, dashes := matches(`(?m)^`+ws+`*\*[^*].*$`), matches(`(?m)^`+ws+`*-.*$`)
	return func(s string) bool { return stars(s)+dashes(s) == want }
}

func constrainedResponse(*arguments) func(string) bool {
	return func(s string) bool {
		return strings.Contains(s, "My answer is yes.") || strings.Contains(s, "My answer is no.") ||
			strings.Contains(s, "My answer is maybe.")
	}
}

var (
	single = regexp.MustCompile(`\*[^\n*]*\*`)
	double = regexp.MustCompile(`\*\*[^\n*]*\*\*`)
)

func highlights(s string) (n int) {
	for _, h := range append(single.FindAllString(s, -1), double.FindAllString(s, -1)...) {
		if strings.TrimFunc(strings.Trim(h, "*"), space) != "" {
			n++
		}
	}
	return n
}

func multipleSections(a *arguments) func(string) bool {
	head := pattern("", strings.TrimFunc(a.text("section_spliter"), space))
	re := regexp.MustCompile(head.String() + ws + `?\p{Nd}+`)
	want := a.count("num_sections", 0)
	return func(s string) bool { return len(re.FindAllStringIndex(s, -1)) >= want }
}

// isJSON also takes NaN and the infinities alone for JSON, as Python does, but not inside a value.
func isJSON(s string) bool {
	s = strings.TrimFunc(s, space)
	for _, fence := range []string{"```json", "```Json", "```JSON", "```"} {
		s = strings.TrimPrefix(s, fence)
	}
	s = strings.TrimFunc(strings.TrimSuffix(s, "```"), space)
	return json.Valid([]byte(s)) || s == "NaN" || s == "Infinity" || s == "-Infinity"
}

var title = regexp.MustCompile(`<<[^\n]+>>`)

func hasTitle(s string) bool {
	for _, t := range title.FindAllString(s, -1) {
		if strings.TrimFunc(strings.TrimRight(strings.TrimLeft(t, "<"), ">"), space) != "" {
			return true
		}
	}
	return false
}

func twoResponses(s string) bool {
	var found []string
	parts := strings.Split(s, "******")
	for i, p := range parts {
		switch p = strings.TrimFunc(p, space); {
		case p != "":
			found = append(found, p)
		case i > 0 && i < len(parts)-1:
			return false
		}
	}
	return len(found) == 2 && found[0] != found[1]
}

func repeatPrompt(a *arguments) func(string) bool {
	head := strings.ToLower(strings.TrimFunc(a.text("prompt_to_repeat"), space))
	return func(s string) bool { return strings.HasPrefix(strings.ToLower(strings.TrimFunc(s, space)), head) }
}

func endsWith(a *arguments) func(string) bool {
	end := strings.ToLower(strings.TrimFunc(a.text("end_phrase"), space))
	return func(s string) bool {
		return strings.HasSuffix(strings.ToLower(strings.Trim(strings.TrimFunc(s, space), `"`)), end)
	}
}

func quoted(s string) bool {
	s = strings.TrimFunc(s, space)
	return len(s) > 1 && s[0] == '"' && s[len(s)-1] == '"'
}

func capitalWords(a *arguments) func(string) bool {
	good := a.compare("capital_relation", a.count("capital_frequency", 0))
	return func(s string) bool {
		n := 0
		for _, sentence := range sentences(s) {
			for _, w := range treebankWords(sentence) {
				if oneCase(w, upper) {
					n++
				}
			}
		}
		return good(n)
	}
}

func upper(r rune) bool { return unicode.IsUpper(r) || unicode.Is(unicode.Other_Uppercase, r) }
func lower(r rune) bool { return unicode.IsLower(r) || unicode.Is(unicode.Other_Lowercase, r) }

// oneCase reports what Python's isupper and islower do: all letters that have a case have this one, and there is one.
func oneCase(s string, is func(rune) bool) bool {
	found := false
	for _, r := range s {
		if is(r) {
			found = true
		} else if upper(r) || lower(r) || unicode.IsTitle(r) {
			return false
		}
	}
	return found
}
