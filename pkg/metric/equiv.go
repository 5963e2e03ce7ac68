package metric

import (
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Equivalent reports whether two answers to a question of mathematics are the same, as LaTeX or plain text. It follows the rules of
// Hendrycks et al. 2021 (MATH) and Lewkowycz et al. 2022 (Minerva) for what is only writing, and compares what is left by value where
// they compare characters. It is reflexive and symmetric, never panics, and takes time bounded by the length of the answers.
//
// Equal:
//   - spaces, $, \left and \right, \dfrac and \frac, \text around a word, a period at the end, \boxed around the whole;
//   - 1,000 and 1000; 0.5, .5, 1/2, \frac12 and 50/100; 1\frac12, 1 1/2 and 3/2; 0.\overline{3} and 1/3: rationals exactly, so that
//     0.333 is not 1/3;
//   - degrees, percent and currency signs and units after a number are dropped: 45^\circ and 45, 50\% and 50 (but not 0.5), 5\text{ cm}
//     and 5;
//   - x=5 and 5, x=1 or x=2 and 1,2, x \in [0,1] and [0,1];
//   - expressions of + - * / ^ ! roots, absolute values, trigonometric functions, logarithms (log to base 10), exp, binomials, π, e, i
//     and variables whose values agree at random points between 0.5 and 2.5 to 12 digits: 2\sqrt{2} and \sqrt8, (x+1)^2 and x^2+2x+1.
//     As variables are positive there, \sqrt{x^2} is x;
//   - equations that differ by a constant factor or by which side is where, inequalities read from either end: 2x+2y=4 and x+y=2,
//     x>3 and 3<x;
//   - lists and sets in any order, a \pm b and both its values, unions in any order;
//   - tuples, intervals and matrices element by element, their brackets being the same;
//   - words in any case, and a letter in brackets, (C) and C.
//
// Not equal, though a mathematician may differ: 50\% and 0.5, 3:4 and 3/4, units of different size (both are dropped: 5 cm is 5 m),
// numbers in other bases (1010_2 is text), words of the same meaning, \{5\} and 5, (1,2) and [1,2].
func Equivalent(a, b string) bool {
	if a == b {
		return true
	}
	if len(a) > maxMath || len(b) > maxMath {
		return strings.Join(strings.Fields(a), "") == strings.Join(strings.Fields(b), "")
	}
	x, y := mathForm(a), mathForm(b)
	if squeeze(x) == squeeze(y) {
		return squeeze(x) != "" // two answers of which nothing is left are not known to be the same
	}
	x, y = leftSide(x, y), leftSide(y, x)
	return sameMath(element(x), element(y), 0)
}

func squeeze(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsSpace(r) {
			return -1
		}
		return r
	}, s)
}

var (
	thousands = regexp.MustCompile(`^[-+]?\d{1,3}(?:,\d{3})+(?:\.\d+)?$`)
	mixed     = regexp.MustCompile(`^([-+]?)(\d+)\s+(\d+)\s*/\s*(\d+)$`)
	unknownIs = regexp.MustCompile(`^\\?[a-zA-Z]+(?:_\{?\w\}?)?(?:\([a-z](?:,[a-z])*\))?$`)
	optionIn  = regexp.MustCompile(`^\(?"?([A-Za-z])"?\)?[.:]?$`)
	oneScript = regexp.MustCompile(`([_^])\{(\w)\}`)
)

func isThousands(s string) bool { return strings.Contains(s, ",") && thousands.MatchString(s) }

// leftSide drops "x =" and "x ∈" before an answer, where the other answer is no equation.
func leftSide(s, other string) string {
	for _, sign := range []string{"=", "∈"} {
		left, right, ok := strings.Cut(s, sign)
		if left = squeeze(left); ok && !strings.Contains(right, sign) && !strings.Contains(other, sign) && unknownIs.MatchString(left) {
			return right
		}
	}
	return s
}

// element gives one element of an answer in the form that is compared: without spaces, a mixed number as a sum, thousands without commas.
func element(s string) string {
	s = strings.TrimSpace(s)
	if strings.Contains(s, "/") {
		if m := mixed.FindStringSubmatch(s); m != nil {
			s = m[1] + "(" + m[2] + "+" + m[3] + "/" + m[4] + ")"
		}
	}
	s = joinDigits(s)
	if isThousands(s) {
		s = strings.ReplaceAll(s, ",", "")
	}
	if strings.ContainsAny(s, "_^") {
		s = oneScript.ReplaceAllString(s, "$1$2")
	}
	return s
}

// joinDigits removes spaces, but not those between digits and after commas, so that "1, 234" and "12 34" stay two numbers.
func joinDigits(s string) string {
	var b strings.Builder
	last := rune(0)
	gap := false
	for _, r := range s {
		if unicode.IsSpace(r) {
			gap = true
			continue
		}
		if gap && (last == ',' || unicode.IsDigit(last)) && unicode.IsDigit(r) {
			b.WriteByte(' ')
		}
		gap, last = false, r
		b.WriteRune(r)
	}
	return b.String()
}

// sameMath compares two answers by their structure, and single expressions by value.
func sameMath(a, b string, depth int) bool {
	if a == b {
		return a != ""
	}
	if depth > maxDepth || a == "" || b == "" {
		return false
	}
	for _, sign := range []string{"∪", ","} {
		x, y := splitTop(a, sign), splitTop(b, sign)
		if len(x) > 1 || len(y) > 1 {
			return sameItems(listItems(a, x, sign), listItems(b, y, sign), depth)
		}
	}
	if x, y := signs(a), signs(b); len(x) > 1 || len(y) > 1 {
		return sameItems(x, y, depth)
	}
	openA, inA := bracketed(a)
	openB, inB := bracketed(b)
	if openA != 0 && openB != 0 && (strings.Contains(inA, ",") || strings.Contains(inB, ",") || openA == matrixOpen || openA == setOpen) {
		return sameBrackets(openA, openB, inA, inB, depth)
	}
	if same, ok := sameRelation(a, b, depth); ok {
		return same
	}
	return sameExpression(a, b)
}

// listItems gives the parts of a list, both values of one with ±; one thing that is a set in braces is the list of its elements.
func listItems(s string, parts []string, sign string) []string {
	if open, inner := bracketed(s); sign == "," && len(parts) == 1 && (open == setOpen || open == '{') {
		parts = splitTop(inner, sign)
	}
	var all []string
	for _, p := range parts {
		all = append(all, signs(p)...)
	}
	return all
}

// signs gives both values of an expression with ± that stands in no brackets.
func signs(s string) []string {
	if !strings.ContainsAny(s, "±∓") || len(splitTop(strings.ReplaceAll(s, "∓", "±"), "±")) == 1 {
		return []string{s}
	}
	return []string{strings.NewReplacer("±", "+", "∓", "-").Replace(s), strings.NewReplacer("±", "-", "∓", "+").Replace(s)}
}

// sameBrackets compares what two pairs of brackets hold: sets in any order, all else in order.
func sameBrackets(openA, openB rune, a, b string, depth int) bool {
	isSet := func(r rune) bool { return r == setOpen || r == '{' }
	switch {
	case isSet(openA) && isSet(openB):
		return sameItems(splitTop(a, ","), splitTop(b, ","), depth)
	case openA != openB:
		return false
	case openA == matrixOpen:
		return sameOrdered(cells(a), cells(b), depth)
	}
	if last := utf8.RuneCountInString; last(a) == 0 || last(b) == 0 {
		return false
	}
	return closing(a) == closing(b) && sameOrdered(splitTop(trimClosing(a), ","), splitTop(trimClosing(b), ","), depth)
}

// cells gives the cells of a matrix, with the ends of its rows.
func cells(s string) []string {
	var all []string
	for row := range strings.SplitSeq(strings.Trim(s, string(rowBreak)), string(rowBreak)) {
		all = append(append(all, strings.Split(row, "&")...), "row")
	}
	return all
}

func sameOrdered(a, b []string, depth int) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if !sameMath(element(a[i]), element(b[i]), depth+1) {
			return false
		}
	}
	return true
}

// sameItems matches the items of two lists one to one in any order. Long lists are compared in order, to bound the time.
func sameItems(a, b []string, depth int) bool {
	if len(a) != len(b) {
		return false
	}
	if len(a) > 32 || depth > 3 {
		return sameOrdered(a, b, depth)
	}
	taken := make([]bool, len(b))
next:
	for _, x := range a {
		for j, y := range b {
			if !taken[j] && sameMath(element(leftSide(x, y)), element(leftSide(y, x)), depth+1) {
				taken[j] = true
				continue next
			}
		}
		return false
	}
	return true
}

var pairs = map[rune]rune{'(': ')', '[': ']', '{': '}', setOpen: setClose, matrixOpen: matrixClose}

func nesting(r rune) int {
	switch r {
	case '(', '[', '{', setOpen, matrixOpen:
		return 1
	case ')', ']', '}', setClose, matrixClose:
		return -1
	}
	return 0
}

// splitTop splits at a sign that stands in no brackets. Brackets need not match in kind: [0,1) is an interval.
func splitTop(s, sign string) []string {
	if !strings.Contains(s, sign) {
		return []string{s}
	}
	if isThousands(s) {
		return []string{strings.ReplaceAll(s, ",", "")}
	}
	var parts []string
	level, start := 0, 0
	for i, r := range s {
		level += nesting(r)
		if level == 0 && strings.HasPrefix(s[i:], sign) {
			parts = append(parts, s[start:i])
			start = i + len(sign)
		}
	}
	return append(parts, s[start:])
}

// bracketed gives the bracket that opens s and what it holds, if its partner ends s. For round and square ones, which close each other,
// the closing bracket is left on, for closing to look at.
func bracketed(s string) (open rune, inner string) {
	open, size := utf8.DecodeRuneInString(s)
	if pairs[open] == 0 {
		return 0, ""
	}
	level := 0
	for i, r := range s {
		if level += nesting(r); level == 0 {
			if i+utf8.RuneLen(r) != len(s) {
				return 0, ""
			}
			if open == '(' || open == '[' {
				return open, s[size:]
			}
			return open, s[size:i]
		}
	}
	return 0, ""
}

func closing(inner string) byte       { return inner[len(inner)-1] }
func trimClosing(inner string) string { return inner[:len(inner)-1] }

// sameRelation compares equations and inequalities; ok is false where neither answer is one.
func sameRelation(a, b string, depth int) (same, ok bool) {
	signA, sidesA := relation(a)
	signB, sidesB := relation(b)
	if signA == "" && signB == "" {
		return false, false
	}
	if signA != signB || len(sidesA) != len(sidesB) {
		return false, true
	}
	if sameOrdered(sidesA, sidesB, depth) {
		return true, true
	}
	if signA != "=" || len(sidesA) != 2 {
		return false, true
	}
	x, errX := parseMath("(" + sidesA[0] + ")-(" + sidesA[1] + ")")
	y, errY := parseMath("(" + sidesB[0] + ")-(" + sidesB[1] + ")")
	return errX == nil && errY == nil && proportional(x, y) && proportional(y, x), true
}

// relation splits s at its relation signs; > and ≥ are read from the right, so that only < and ≤ remain.
func relation(s string) (signs string, sides []string) {
	start := 0
	for i, r := range s {
		if strings.ContainsRune("=<>≤≥≠∈", r) {
			sides = append(sides, s[start:i])
			signs += string(r)
			start = i + utf8.RuneLen(r)
		}
	}
	sides = append(sides, s[start:])
	if strings.ContainsAny(signs, ">≥") && !strings.ContainsAny(signs, "<≤") {
		turned := ""
		for _, r := range signs {
			turned = strings.NewReplacer(">", "<", "≥", "≤").Replace(string(r)) + turned
		}
		signs = turned
		for i, j := 0, len(sides)-1; i < j; i, j = i+1, j-1 {
			sides[i], sides[j] = sides[j], sides[i]
		}
	}
	return signs, sides
}

// sameExpression compares two single expressions: as words, or by value.
func sameExpression(a, b string) bool {
	if len(a) <= 6 && len(b) <= 6 {
		if m, n := optionIn.FindStringSubmatch(a), optionIn.FindStringSubmatch(b); m != nil && n != nil {
			return m[1] == n[1]
		}
	}
	if strings.ContainsAny(a+b, `"`) || longWord(a) && longWord(b) {
		return strings.EqualFold(plainWords(a), plainWords(b))
	}
	x, err := parseMath(strings.ReplaceAll(a, " ", ""))
	if err != nil {
		return false
	}
	y, err := parseMath(strings.ReplaceAll(b, " ", ""))
	return err == nil && sameValue(x, y)
}

var threeLetters = regexp.MustCompile(`^[\pL\s.,'!-]{3,}$`)

func longWord(s string) bool { return threeLetters.MatchString(s) }

func plainWords(s string) string { return strings.ReplaceAll(strings.ReplaceAll(s, `"`, ""), " ", "") }
