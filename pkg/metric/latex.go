package metric

import (
	"fmt"
	"math/big"
	"regexp"
	"strings"
)

// One rune stands for each thing that LaTeX and plain text write in several ways.
const (
	setOpen, setClose       = '⦃', '⦄' // \{ and \}
	matrixOpen, matrixClose = '⟦', '⟧' // \begin{pmatrix} and \end{pmatrix}
	rowBreak                = '⏎'      // \\
	nameEnd                 = '\u2060' // ends the name of a command before a letter
)

// commands says what becomes of a LaTeX command; one that is not here stays.
var commands = map[string]string{
	"left": "", "right": "", "big": "", "Big": "", "bigg": "", "Bigg": "", "bigl": "", "bigr": "", "Bigl": "", "Bigr": "", "limits": "",
	"displaystyle": "", "textstyle": "", "quad": " ", "qquad": " ", "degree": "", "degrees": "", "circ": "°", "prime": "'", "dots": "...",
	"ldots": "...", "cdots": "...", "dfrac": `\frac`, "tfrac": `\frac`, "cfrac": `\frac`, "infty": "∞", "cup": "∪", "cap": "∩", "in": "∈",
	"le": "≤", "leq": "≤", "leqslant": "≤", "ge": "≥", "geq": "≥", "geqslant": "≥", "lt": "<", "gt": ">", "ne": "≠", "neq": "≠",
	"cdot": "*", "times": "*", "ast": "*", "div": "/", "pm": "±", "mp": "∓", "pi": "π", "lvert": "|", "rvert": "|", "vert": "|", "mid": "|",
	"langle": "(", "rangle": ")", "lbrace": "⦃", "rbrace": "⦄", "lbrack": "[", "rbrack": "]", "emptyset": "∅", "varnothing": "∅",
	"dbinom": `\binom`, "tbinom": `\binom`, "percent": "", "rm": "", "bf": "", "newline": "⏎", "backslash": `\`, "dollar": "",
	"implies": "⇒", "to": "→", "rightarrow": "→", "land": ",", "lor": ",", "colon": ":", "textdollar": "", "space": " ", "enspace": " ",
}

// textual commands hold plain words.
var textual = map[string]bool{
	"text": true, "textbf": true, "textit": true, "textrm": true, "textnormal": true, "mathrm": true, "mathbf": true, "mathit": true,
	"mathsf": true, "mbox": true, "hbox": true, "operatorname": true, "mathtt": true, "texttt": true, "underline": true, "boldsymbol": true,
	"boxed": true, "fbox": true,
}

var plainSigns = strings.NewReplacer("−", "-", "–", "-", "＝", "=", "，", ",", "（", "(", "）", ")", "×", "*", "·", "*", "⋅", "*", "÷", "/",
	"≦", "≤", "≧", "≥", "<=", "≤", ">=", "≥", "%", "", "％", "", "$", "", "£", "", "€", "", "¥", "", "~", " ", "{,}", "", "**", "^", "√", `\sqrt `,
	"½", `\frac{1}{2}`, "²", "^2", "³", "^3", "\u00a0", " ", "∅", "∅", "`", "")

var degreeSigns = strings.NewReplacer("^{°}", "", "^°", "", "°", "")

// mathForm rewrites an answer so that what is written in several ways is written in one, spaces still in it: the rules are those that
// Hendrycks et al. 2021 (MATH, _strip_string) and Lewkowycz et al. 2022 (Minerva, appendix D) publish, on tokens.
func mathForm(answer string) string {
	s := unwrap(strings.TrimSpace(answer))
	if strings.Contains(s, ",") {
		s = thinComma.ReplaceAllString(s, "$1")
	}
	s = degreeSigns.Replace(plainSigns.Replace(expandCommands(s, 0)))
	if strings.Contains(s, `\overline`) {
		s = repeating.ReplaceAllStringFunc(s, repeatingDecimal)
	}
	s = dropUnits(strings.TrimSpace(s))
	return strings.TrimSpace(s)
}

// unwrap takes off what only marks a formula: $...$, \(...\), \[...\], and the period that ends a sentence.
func unwrap(s string) string {
	for {
		before := s
		s = strings.TrimSpace(s)
		for _, p := range [][2]string{{"$$", "$$"}, {"$", "$"}, {`\(`, `\)`}, {`\[`, `\]`}, {"**", "**"}} {
			if len(s) > len(p[0])+len(p[1]) && strings.HasPrefix(s, p[0]) && strings.HasSuffix(s, p[1]) {
				s = s[len(p[0]) : len(s)-len(p[1])]
			}
		}
		if strings.HasSuffix(s, ".") && !strings.HasSuffix(s, `\right.`) && !strings.HasSuffix(s, "..") {
			s = s[:len(s)-1]
		}
		if s == before {
			return s
		}
	}
}

// expandCommands replaces the commands of a text; depth bounds how deep text commands nest.
func expandCommands(s string, depth int) string {
	var b strings.Builder
	for i := 0; i < len(s); {
		if s[i] != '\\' {
			b.WriteByte(s[i])
			i++
			continue
		}
		name := commandName(s[i+1:])
		i += 1 + len(name)
		if name == "" {
			if i < len(s) {
				b.WriteString(symbol(s[i]))
				i++
			}
			continue
		}
		to, known := commands[name]
		switch {
		case (name == "left" || name == "right") && i < len(s) && s[i] == '.':
			i++
		case known:
			b.WriteString(to)
		case textual[name] && depth < 8:
			inner, rest := group(s[i:])
			i = len(s) - len(rest)
			b.WriteString(textForm(expandCommands(inner, depth+1), name))
		case name == "begin" || name == "end":
			_, rest := group(s[i:])
			i = len(s) - len(rest)
			b.WriteRune(map[string]rune{"begin": matrixOpen, "end": matrixClose}[name])
		default:
			b.WriteString(`\` + name)
			if commandName(strings.TrimLeft(s[i:], " ")) != "" {
				b.WriteRune(nameEnd)
			}
		}
	}
	return b.String()
}

func commandName(s string) string {
	i := 0
	for i < len(s) && (s[i] >= 'a' && s[i] <= 'z' || s[i] >= 'A' && s[i] <= 'Z') {
		i++
	}
	return s[:i]
}

// symbol says what becomes of a backslash and one sign.
func symbol(c byte) string {
	switch c {
	case '{':
		return string(setOpen)
	case '}':
		return string(setClose)
	case '\\':
		return string(rowBreak)
	case '|':
		return "|"
	case '!', ',', ';', ':', '%', '$', '(', ')', '[', ']':
		return ""
	case ' ', '\n':
		return " "
	case '_', '&', '#':
		return string(c)
	}
	return string(rune(c))
}

// group gives what the braces at the start of s hold, and what comes after them; without braces the first rune.
func group(s string) (inner, rest string) {
	s = strings.TrimLeft(s, " ")
	if !strings.HasPrefix(s, "{") {
		for i := range s {
			if i > 0 {
				return s[:i], s[i:]
			}
		}
		return s, ""
	}
	depth := 0
	for i := 0; i < len(s); i++ {
		switch s[i] {
		case '\\':
			i++
		case '{':
			depth++
		case '}':
			if depth--; depth == 0 {
				return s[1:i], s[i+1:]
			}
		}
	}
	return s[1:], ""
}

// textForm gives a text inside a formula: "and" and "or" are commas, what is no word of letters stays, a word is put between quotes, so
// that it is not read as a product of variables.
func textForm(inner, command string) string {
	word := strings.TrimSpace(inner)
	switch {
	case word == "and" || word == "or":
		return ","
	case command == "boxed" || command == "fbox":
		return word
	case len(word) < 2 || !letters.MatchString(word) || functions[word]:
		return inner
	case len(word) == 3 && word[0] == '(' && word[2] == ')':
		return word[1:2]
	}
	return `"` + strings.ReplaceAll(word, `"`, "") + `"`
}

var (
	letters   = regexp.MustCompile(`\pL`)
	thinComma = regexp.MustCompile(`(?:,\\!|\{,\}|\\,)\s*(\d{3})`) // 10,\!000, 10{,}000 and 10\,000
	repeating = regexp.MustCompile(`(\d{0,40})\.(\d{0,40})\\overline\s?\{(\d{1,40})\}`)
)

// repeatingDecimal writes 0.1\overline{6} as a fraction.
func repeatingDecimal(s string) string {
	m := repeating.FindStringSubmatch(s)
	whole, _ := new(big.Int).SetString("0"+m[1]+m[2]+m[3], 10)
	head, _ := new(big.Int).SetString("0"+m[1]+m[2], 10)
	ten := func(n int) *big.Int { return new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(n)), nil) }
	below := new(big.Int).Mul(new(big.Int).Sub(ten(len(m[3])), big.NewInt(1)), ten(len(m[2])))
	return fmt.Sprintf(`(\frac{%s}{%s})`, whole.Sub(whole, head), below)
}

// The units that answers to MATH carry; the list of Minerva's appendix D, and what is common beside it.
var units = func() map[string]bool {
	set := map[string]bool{}
	for u := range strings.FieldsSeq(`square cubic sq cu ways way integers dollars dollar mph kph inches inch in feet foot ft yards yard yd
		miles mile mi hours hour hrs hr h km kilometers units unit points point minutes minute min seconds second sec s digits digit cents cent
		degrees degree deg cm mm m meter meters centimeters gm g kg grams gram kilograms pounds pound lb lbs ounces ounce oz liters liter ml
		l meals edges students children people tickets multiples days day weeks week months month years year percent th st nd rd per
		radians radian rad sides faces vertices times gallons quarts square-units apples balls`) {
		set[u] = true
	}
	return set
}()

// dropUnits takes the words after a number off its end, with their squares and cubes: any text in \text{...}, as MATH does, and the
// units by name. A unit of one letter needs a space before it: 5m may be a product.
func dropUnits(s string) string {
	for range 8 {
		head, word, quoted := cutLastWord(s)
		spaced := strings.HasSuffix(head, " ")
		if head = strings.TrimRight(head, " ^{/-"); word == "" || !strings.ContainsAny(head, `0123456789π\√`) {
			return s
		}
		if !quoted && (!units[strings.ToLower(word)] || len(word) == 1 && !spaced) {
			return s
		}
		s = head
	}
	return s
}

// cutLastWord cuts the word at the end of s off, quoted or of letters, without a square or cube on it.
func cutLastWord(s string) (head, word string, quoted bool) {
	s = strings.TrimRight(s, " .}")
	for _, power := range []string{"^2", "^3", "^{2", "^{3"} {
		s = strings.TrimSuffix(s, power)
	}
	s = strings.TrimRight(s, " ")
	if body, ok := strings.CutSuffix(s, `"`); ok {
		i := strings.LastIndexByte(body, '"')
		if i < 0 {
			return s, "", false
		}
		return s[:i], body[i+1:], true
	}
	i := len(s)
	for i > 0 && (s[i-1] >= 'a' && s[i-1] <= 'z' || s[i-1] >= 'A' && s[i-1] <= 'Z') {
		i--
	}
	if i > 0 && s[i-1] == '\\' {
		return s, "", false
	}
	return s[:i], s[i:], false
}
