package metric

import (
	"regexp"
	"strings"
)

// Boxed gives what the last \boxed{...} of a text holds, braces nested as they are, and of a text without a closed \boxed what the last
// \fbox{...} holds; ok tells whether there was one. A box that is cut off before its brace closes does not count, so that of a
// truncated text the last whole one is read. "\boxed 5" without braces holds what stands before the next $ or white space. Escaped
// braces, "\{", are not counted. It follows last_boxed_only_string of Hendrycks et al. 2021 (MATH), which counts escaped braces too and
// gives up on a truncated box.
func Boxed(text string) (answer string, ok bool) {
	if answer, ok = lastBox(text, `\boxed`); ok {
		return answer, true
	}
	return lastBox(text, `\fbox`)
}

func boxedOrNone(text string) string {
	answer, _ := Boxed(text)
	return answer
}

// lastBox reads the text once: the opening braces that wait for their partner are on a stack.
func lastBox(text, command string) (answer string, ok bool) {
	var open []int
	best := -1
	for i := 0; i < len(text); i++ {
		switch text[i] {
		case '\\':
			if strings.HasPrefix(text[i:], command+" ") && i > best {
				if bare := unbraced(text[i+len(command):]); bare != "" {
					best, answer, ok = i, bare, true
				}
			}
			if i+1 < len(text) && strings.IndexByte(`{}\`, text[i+1]) >= 0 {
				i++
			}
		case '{':
			open = append(open, i)
		case '}':
			if len(open) == 0 {
				continue
			}
			at := open[len(open)-1]
			open = open[:len(open)-1]
			if head := strings.TrimRight(text[max(0, at-len(command)-8):at], " "); strings.HasSuffix(head, command) && at > best {
				best, answer, ok = at, text[at+1:i], true
			}
		}
	}
	return answer, ok
}

// unbraced gives the answer of "\boxed 5$": the text before the next $ or white space, "" where a brace follows.
func unbraced(rest string) string {
	rest = strings.TrimLeft(rest, " ")
	if strings.HasPrefix(rest, "{") {
		return ""
	}
	if end := strings.IndexAny(rest, "$ \t\n"); end >= 0 {
		rest = rest[:end]
	}
	return rest
}

var announced = regexp.MustCompile(`(?i)(?:answer|答案)\s*(?:is|are|:|=|：|是|为)\s*:?\s*([^\n]+)`)

// MathAnswer gives the answer of a text to a question of MATH: what Boxed finds; else what stands after the last "answer is" or
// "Answer:" of a line, without the period that ends it; else the last formula between dollar signs; else the last number. The forms
// are those of the prompts of Hendrycks et al. 2021, Lewkowycz et al. 2022 (Minerva: "Final Answer: The final answer is X. I hope it
// is correct.") and simple-evals ("Answer: X").
func MathAnswer(text string) string {
	if answer, ok := Boxed(text); ok {
		return answer
	}
	if all := announced.FindAllStringSubmatch(text, -1); len(all) > 0 {
		answer := all[len(all)-1][1]
		answer, _, _ = strings.Cut(answer, "I hope it is correct")
		if m := announced.FindStringSubmatch(answer); m != nil {
			answer = m[1] // "Final Answer: The final answer is 5"
		}
		answer, _, _ = strings.Cut(answer, ". ")
		return strings.TrimRight(strings.TrimSpace(answer), ".。*")
	}
	if parts := strings.Split(text, "$"); len(parts) > 2 {
		last := (len(parts) - 1) / 2 * 2
		for i := last - 1; i > 0; i -= 2 {
			if f := strings.TrimSpace(parts[i]); f != "" {
				return f
			}
		}
	}
	return LastNumber(text)
}
