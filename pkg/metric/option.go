package metric

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"
)

// A cue announces an answer: the letter right after it is the answer, whatever letters stand before.
var cue = regexp.MustCompile(`(?i:\b(?:answer|choose|chose|choice|correct option)\b|答案|选择|选项|选)` +
	`(?i:\s|\*|is|are|should|would|must|be|the|option|:|=|：|是|为|应该?|\$|\\boxed|\\text|[("'\[{（【「“])*` +
	`([A-Z])`)

// What follows, or comes before, a letter that is only named to be ruled out.
var (
	ruledOutAfter  = regexp.MustCompile(`^[)\]）】]?\s*(?:(?:is|was)\s+)?(?:not|wrong|incorrect|false|isn['’]t|can['’]?not|can['’]t|错|不)`)
	ruledOutBefore = regexp.MustCompile(`(?i:\b(?:not|neither|nor)\s+(?:option\s+)?|n['’]t\s+(?:be\s+)?|不选|不是|排除)[(\[（【]?$`)
	verbAfter      = regexp.MustCompile(`^\s+(?:is|was|because|as|since|seems|would|fits|and)\b`)
)

// optionMaker makes a maker of a processor that finds one of the letters its argument lists.
func optionMaker(find func(text, options string) string) func(string) (processor, error) {
	return func(arg string) (processor, error) {
		if len(arg) < 2 {
			return nil, errors.New("needs the option letters after a colon, as in first_option:ABCD")
		}
		for i, r := range arg {
			if r < 'A' || r > 'Z' {
				return nil, fmt.Errorf("option %q is not one of the letters A to Z", r)
			}
			if strings.IndexRune(arg, r) != i {
				return nil, fmt.Errorf("option %q is given twice", r)
			}
		}
		return func(text string) string { return find(text, arg) }, nil
	}
}

// FirstOption finds the option letter a text answers with: a capital of options that stands alone. Letters of words, initials ("U.S.A.")
// and compounds ("A-level") do not stand. In this order:
//
//  1. the first letter announced: "The answer is (B)", "Answer: C", "答案是B", "选 D", "\boxed{A}" after such words;
//  2. the first letter that stands alone: "B.", "(C) the dog", "B because ...". An A or I before another word is English ("A dog") and
//     does not count here;
//  3. an A or I that a verb follows: "A is correct".
//
// A letter that is ruled out ("A is wrong, so B", "not A") is passed over at every step. No letter: "". The idea is that of the
// first-option reading of OpenCompass; the rules are our own.
func FirstOption(text, options string) string {
	for _, m := range cue.FindAllStringSubmatchIndex(text, -1) {
		if at := m[2]; isOption(text, at, options) {
			return text[at : at+1]
		}
	}
	fallback := ""
	for at := range len(text) {
		if !isOption(text, at, options) {
			continue
		}
		letter, rest := text[at:at+1], text[at+1:]
		if (letter == "A" || letter == "I") && startsWord(rest) {
			if fallback == "" && verbAfter.MatchString(rest) {
				fallback = letter
			}
			continue
		}
		return letter
	}
	return fallback
}

// isOption reports whether the byte at is a letter of options that stands alone and is not ruled out.
func isOption(text string, at int, options string) bool {
	if strings.IndexByte(options, text[at]) < 0 || !stands(text[:at], text[at+1:]) {
		return false
	}
	return !ruledOutAfter.MatchString(text[at+1:]) && !ruledOutBefore.MatchString(tail(text[:at], 32))
}

// stands reports whether nothing joins a letter to what is before and after it. Han and kana do not join: "选B。" stands.
func stands(before, after string) bool {
	prev, size := utf8.DecodeLastRuneInString(before)
	next, width := utf8.DecodeRuneInString(after)
	if joins(prev) || joins(next) {
		return false
	}
	inner, _ := utf8.DecodeLastRuneInString(before[:len(before)-size])
	outer, _ := utf8.DecodeRuneInString(after[width:])
	switch {
	case (prev == '-' || prev == '.' || prev == '\'' || prev == '’') && joins(inner):
		return false // vitamin-C, U.S.A
	case (next == '-' || next == '\'' || next == '’') && joins(outer):
		return false // A-level, A's
	}
	return true
}

// joins tells the runes that make a letter beside them part of a word.
func joins(r rune) bool {
	return r == '_' || unicode.IsDigit(r) || unicode.In(r, unicode.Latin, unicode.Greek, unicode.Cyrillic)
}

// startsWord reports whether blanks and then a word follow.
func startsWord(rest string) bool {
	trimmed := strings.TrimLeft(rest, " \t")
	r, _ := utf8.DecodeRuneInString(trimmed)
	return len(trimmed) < len(rest) && joins(r)
}

// tail gives at most the last n bytes of a text, from a rune boundary.
func tail(text string, n int) string {
	if len(text) <= n {
		return text
	}
	text = text[len(text)-n:]
	for text != "" && !utf8.RuneStart(text[0]) {
		text = text[1:]
	}
	return text
}

// LastOption gives the last of the letters of options wherever it stands, even in a word: OpenCompass's last_option_postprocess.
func LastOption(text, options string) string {
	if i := strings.LastIndexAny(text, options); i >= 0 {
		return text[i : i+1]
	}
	return ""
}
