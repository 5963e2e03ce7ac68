package report

import (
	"fmt"
	"math"
	"regexp"
	"strconv"
	"strings"
	"unicode"

	"sextant/pkg/score"
)

// value renders a score's cell: "91.23 ± 1.67", "*" after it when rows are missing, "-" when nothing was scored.
func value(s score.Score) string {
	text := Value(s.Unit, s.Value, s.StdErr)
	if s.Value != nil && s.Partial() {
		text += "*"
	}
	return text
}

// Value writes a value in a unit, and its standard error where there is one, as summaries have them: "91.23 ± 1.67"; "-" for none.
func Value(unit score.Unit, v, stderr *float64) string {
	switch {
	case v == nil:
		return "-"
	case stderr == nil:
		return number(unit, *v)
	}
	return number(unit, *v) + " ± " + number(unit, *stderr)
}

// number writes percents with 2 decimals and perplexities with 4; a perplexity of a million or more with 5 digits and an exponent.
func number(unit score.Unit, v float64) string {
	switch {
	case unit != score.Perplexity:
		return strconv.FormatFloat(v, 'f', 2, 64)
	case math.Abs(v) >= 1e6:
		return strconv.FormatFloat(v, 'e', 4, 64)
	}
	return strconv.FormatFloat(v, 'f', 4, 64)
}

// interval is what a score's interval is shown as.
func interval(unit score.Unit, low, high float64) string {
	return "[" + number(unit, low) + ", " + number(unit, high) + "]"
}

// full writes a number so that it reads back as the same one; "" for none.
func full(v *float64) string {
	if v == nil {
		return ""
	}
	return strconv.FormatFloat(*v, 'g', -1, 64)
}

// mode joins a mode and the conventions that change its number: "ppl (n-1)".
func mode(s score.Score) string {
	if s.Note == "" {
		return s.Mode
	}
	return s.Mode + " (" + s.Note + ")"
}

// span writes what several models have in one number: "300", or "297..300" where they differ.
func span(low, high int) string {
	if low == high {
		return strconv.Itoa(low)
	}
	return fmt.Sprintf("%d..%d", low, high)
}

// Colours and the like, as a worker's last words may have them.
var escapes = regexp.MustCompile(`\x1b(\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(\x07|\x1b\\)?)`)

// clean makes text safe for one line of a terminal or a table: no control or formatting characters, no line breaks.
func clean(text string) string {
	text = escapes.ReplaceAllString(text, "")
	text = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || unicode.Is(unicode.Cf, r) || r == unicode.ReplacementChar || unicode.In(r, unicode.Zl, unicode.Zp) {
			return ' '
		}
		return r
	}, text)
	return strings.Join(strings.Fields(text), " ")
}
