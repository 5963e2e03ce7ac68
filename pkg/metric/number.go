package metric

import (
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"
)

var numberRun = regexp.MustCompile(`[0-9]+(?:,[0-9]+)*(?:\.[0-9]+)?`)

// LastNumber gives the last number of a text in one canonical form, so that equal numbers are equal strings: no grouping commas, no
// leading zeros, no trailing zeros after the point, no plus sign, no "-0". Currency and percent signs and a period that ends the
// sentence are not part of it. "1,2" is two numbers, as a comma groups only by three. A minus counts only where no letter (of
// Latin, Greek or Cyrillic), digit or closing bracket stands before it: "10-5" ends in 5. Exponents, fractions and digits other than
// 0 to 9 are not read.
func LastNumber(text string) string {
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

var answerIs = regexp.MustCompile(`(?i)answer\s+is`)

// GSM8KAnswer gives the number a text answers a question of GSM8K (Cobbe et al. 2021) with, in LastNumber's form: the first number after
// the first "####", the form of its training texts; without one the last number of the sentence after the last "answer is", the form
// of chain-of-thought prompts (Wei et al. 2022); else the last number. A next question the model went on to ask does not count: the
// text is cut before "Question:" as OpenCompass does.
func GSM8KAnswer(text string) string {
	text = cut(text, "Question:")
	if _, tail, ok := strings.Cut(text, "####"); ok {
		line, _, _ := strings.Cut(strings.TrimSpace(tail), "\n")
		if n := firstNumber(line); n != "" {
			return n
		}
	}
	if all := answerIs.FindAllStringIndex(text, -1); len(all) > 0 {
		tail, _, _ := strings.Cut(text[all[len(all)-1][1]:], "\n")
		tail, _, _ = strings.Cut(tail, ". ")
		if n := LastNumber(tail); n != "" {
			return n
		}
	}
	return LastNumber(text)
}

// firstNumber gives the first number of a text in LastNumber's form.
func firstNumber(text string) string {
	run := numberRun.FindStringIndex(text)
	if run == nil {
		return ""
	}
	if i := strings.IndexByte(text[run[0]:run[1]], ','); i >= 0 && !grouped(text[run[0]:run[1]]) {
		run[1] = run[0] + i
	}
	return LastNumber(text[:run[1]])
}

// GSM8KGold gives the gold answer of a row of GSM8K: what follows its "#### ", without grouping commas (OpenCompass's
// gsm8k_dataset_postprocess, and the data set's own rule); "" without the mark.
func GSM8KGold(text string) string {
	_, rest, _ := strings.Cut(text, "####")
	rest, _, _ = strings.Cut(rest, "####")
	return strings.ReplaceAll(strings.TrimSpace(rest), ",", "")
}

// OCGSM8K is OpenCompass's gsm8k_postprocess: of the text before "Question:" the last run of digits, with a point inside and a minus
// before where they stand, "NULL" for none. It reads "1,072" as 072 and "10-5" as -5: LastNumber does not.
func OCGSM8K(text string) string {
	text = cut(text, "Question:")
	end := strings.LastIndexAny(text, digitSet) + 1
	if end == 0 {
		return "NULL"
	}
	start := end
	for start > 0 && isDigit(text[start-1]) {
		start--
	}
	if whole := integerBefore(text, start); whole >= 0 {
		start = whole
	}
	if start > 0 && text[start-1] == '-' {
		start--
	}
	return text[start:end]
}

const digitSet = "0123456789"

func isDigit(c byte) bool { return c >= '0' && c <= '9' }

// integerBefore gives where the integer before the point at at-1 starts, -1 where there is none. Digits and points that alternate pair
// from the left: 1.2.3 is 1.2 and 3, 1.2.3.4 is 1.2 and 3.4.
func integerBefore(text string, at int) int {
	starts := []int{at}
	for at > 1 && text[at-1] == '.' && isDigit(text[at-2]) {
		for at--; at > 0 && isDigit(text[at-1]); at-- {
			continue
		}
		starts = append(starts, at)
	}
	if len(starts)%2 == 1 {
		return -1
	}
	return starts[1]
}
