package score

import (
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"
)

var numberRun = regexp.MustCompile(`[0-9]+(?:,[0-9]+)*(?:\.[0-9]+)?`)

// lastNumber gives the last number of a text in one canonical form, so that equal numbers are equal strings: no grouping commas, no
// leading zeros, no trailing zeros after the point, no plus sign, no "-0". Currency and percent signs and a period that ends the
// sentence are not part of it. "1,2" is two numbers, as a comma groups only by three. A minus counts only where no letter (of
// Latin, Greek or Cyrillic), digit or closing bracket stands before it: "10-5" ends in 5. Exponents, fractions and digits other than
// 0 to 9 are not read.
func lastNumber(text string) string {
	runs := numberRun.FindAllStringIndex(text, -1)
	if len(runs) == 0 {
		return ""
	}
	run := runs[len(runs)-1]
	before, digits := text[:run[0]], text[run[0]:run[1]]
	if !grouped(digits) {
		last := strings.LastIndexByte(digits, ',') + 1
		before, digits = text[:run[0]+last], digits[last:]
	}
	if head, ok := strings.CutSuffix(before, "."); ok && !strings.Contains(digits, ".") && !endsInWord(head) {
		before, digits = head, "0."+digits // ".5"
	}
	return canonical(negative(before), digits)
}

// grouped reports whether every comma of a run of digits is a thousands separator; true without commas.
func grouped(digits string) bool {
	whole, _, _ := strings.Cut(digits, ".")
	parts := strings.Split(whole, ",")
	for _, p := range parts[1:] {
		if len(p) != 3 {
			return false
		}
	}
	return len(parts) == 1 || len(parts[0]) <= 3
}

// negative reports whether the text before a number ends in a minus that is a sign and not a dash between two things.
func negative(before string) bool {
	before = strings.TrimRightFunc(before, func(r rune) bool { return unicode.Is(unicode.Sc, r) })
	for _, minus := range []string{"-", "\u2212", "－"} {
		if head, ok := strings.CutSuffix(before, minus); ok {
			head = strings.TrimRightFunc(head, func(r rune) bool { return unicode.Is(unicode.Sc, r) })
			return !endsInWord(head)
		}
	}
	return false
}

func endsInWord(text string) bool {
	r, _ := utf8.DecodeLastRuneInString(text)
	return text != "" && (joins(r) || unicode.Is(unicode.Pe, r))
}

func canonical(minus bool, digits string) string {
	whole, fraction, _ := strings.Cut(strings.ReplaceAll(digits, ",", ""), ".")
	whole = strings.TrimLeft(whole, "0")
	if whole == "" {
		whole = "0"
	}
	if fraction = strings.TrimRight(fraction, "0"); fraction != "" {
		whole += "." + fraction
	}
	if minus && whole != "0" {
		return "-" + whole
	}
	return whole
}
