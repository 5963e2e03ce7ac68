package metric

import (
	"fmt"
	"slices"
	"strings"
	"unicode"
)

// bleuTokenizers are sacreBLEU's tokenisers by its names; each gives text whose tokens are between white space.
var bleuTokenizers = map[string]func(string) string{"13a": tokens13a, "intl": tokensIntl, "zh": tokensZh, "char": tokensChar, "none": same}

// tokens13a is the tokenisation of mteval-v13a.pl, the one of the WMT shared tasks and sacreBLEU's default.
func tokens13a(line string) string {
	line = strings.ReplaceAll(line, "<skipped>", "")
	line = strings.ReplaceAll(strings.ReplaceAll(line, "-\n", ""), "\n", " ")
	if strings.Contains(line, "&") {
		for _, e := range [][2]string{{"&quot;", `"`}, {"&amp;", "&"}, {"&lt;", "<"}, {"&gt;", ">"}} {
			line = strings.ReplaceAll(line, e[0], e[1])
		}
	}
	return westernTokens(" " + line + " ")
}

// westernTokens puts ASCII punctuation apart, periods and commas but between digits, and a dash after a digit.
func westernTokens(line string) string {
	text := make([]rune, 0, len(line)+len(line)/2)
	for _, r := range line {
		switch {
		case punct(r) && r != '\'' && r != ',' && r != '-' && r != '.':
			text = append(text, ' ', r, ' ')
		default:
			text = append(text, r)
		}
	}
	digit := func(r rune) bool { return r >= '0' && r <= '9' }
	stop := func(r rune) bool { return r == '.' || r == ',' }
	other := func(r rune) bool { return !digit(r) }
	text = splitPairs(text, other, stop, false)
	text = splitPairs(text, stop, other, true)
	text = splitPairs(text, digit, func(r rune) bool { return r == '-' }, false)
	return string(text)
}

// splitPairs puts spaces around one of two runes that stand together, the first where first is set, going on after both.
func splitPairs(text []rune, a, b func(rune) bool, first bool) []rune {
	found := false
	for i := 0; i+1 < len(text) && !found; i++ {
		found = a(text[i]) && b(text[i+1])
	}
	if !found {
		return text
	}
	out := make([]rune, 0, len(text)+len(text)/4)
	for i := 0; i < len(text); i++ {
		switch {
		case i+1 == len(text) || !a(text[i]) || !b(text[i+1]):
			out = append(out, text[i])
			continue
		case first:
			out = append(out, ' ', text[i], ' ', text[i+1])
		default:
			out = append(out, text[i], ' ', text[i+1], ' ')
		}
		i++
	}
	return out
}

// tokensIntl is the international tokenisation of mteval-v14.pl: Unicode's punctuation and symbols apart, but for punctuation between
// digits.
func tokensIntl(line string) string {
	number := func(r rune) bool { return unicode.In(r, unicode.N) }
	other := func(r rune) bool { return !number(r) }
	mark := func(r rune) bool { return unicode.In(r, unicode.P) }
	text := splitPairs([]rune(line), other, mark, false)
	text = splitPairs(text, mark, other, true)
	return spaced(string(text), func(r rune) bool { return unicode.In(r, unicode.S) })
}

// spaced puts spaces around the runes that alone names.
func spaced(line string, alone func(rune) bool) string {
	var b strings.Builder
	for _, r := range line {
		if alone(r) {
			b.WriteByte(' ')
			b.WriteRune(r)
			b.WriteByte(' ')
			continue
		}
		b.WriteRune(r)
	}
	return b.String()
}

// tokensZh puts every Chinese character apart and treats the rest as 13a does.
func tokensZh(line string) string {
	return westernTokens(spaced(strings.TrimFunc(line, space), chinese))
}

// The ranges of sacreBLEU's zh tokeniser. Its two ranges beyond U+FFFF are written so that they compare as U+2001 to U+2A6D and U+2F81 to
// U+2FA1; to be equal these are here as they act.
var chineseRanges = [][2]rune{
	{0x3400, 0x4db5}, {0x4e00, 0x9fa5}, {0x9fa6, 0x9fbb}, {0xf900, 0xfa2d}, {0xfa30, 0xfa6a}, {0xfa70, 0xfad9}, {0x2001, 0x2a6d},
	{0x2f81, 0x2fa1}, {0xff00, 0xffef}, {0x2e80, 0x2eff}, {0x3000, 0x303f}, {0x31c0, 0x31ef}, {0x2f00, 0x2fdf}, {0x2ff0, 0x2fff},
	{0x3100, 0x312f}, {0x31a0, 0x31bf}, {0xfe10, 0xfe1f}, {0xfe30, 0xfe4f}, {0x3200, 0x33ff},
}

func chinese(r rune) bool {
	return r > 0x2000 && slices.ContainsFunc(chineseRanges, func(c [2]rune) bool { return r >= c[0] && r <= c[1] })
}

func tokensChar(line string) string { return spaced(line, func(rune) bool { return true }) }

// bleuTokenizer finds a tokeniser; "" is 13a.
func bleuTokenizer(name string) (func(string) string, error) {
	if name == "" {
		name = "13a"
	}
	f, ok := bleuTokenizers[name]
	if !ok {
		return nil, fmt.Errorf("unknown BLEU tokenizer %q: known are 13a, intl, zh, char, none", name)
	}
	return f, nil
}
