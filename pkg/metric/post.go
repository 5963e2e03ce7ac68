package metric

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"unicode"
)

// A processor is one step from generated text to an answer. It is total: every text has an answer, "" for none.
type processor func(string) string

// processors names every post-processor, as a spec writes it: "name" or "name:argument". A maker gets the argument.
var processors = map[string]func(arg string) (processor, error){
	"strip":         plain(strings.TrimSpace),
	"lower":         plain(strings.ToLower),
	"first_line":    plain(firstLine),
	"last_line":     plain(lastLine),
	"first_word":    plain(firstWord),
	"last_number":   plain(LastNumber),
	"gsm8k":         plain(GSM8KAnswer),
	"gsm8k_gold":    plain(GSM8KGold),
	"first_option":  optionMaker(FirstOption),
	"last_option":   optionMaker(LastOption),
	"first_capital": plain(firstCapital),
	"last_capital":  plain(lastCapital),
	"capitals":      plain(capitals),
	"boxed":         plain(boxedOrNone),
	"math_answer":   plain(MathAnswer),
	"yes_no":        plain(yesNo),
	"squad":         plain(SQuADNormalize),
	"trivia_qa":     plain(TriviaQANormalize),
	"oc_general":    plain(OCGeneral),
	"oc_trivia_qa":  plain(OCTriviaQA),
	"oc_nq":         plain(OCNQ),
	"oc_gsm8k":      plain(OCGSM8K),
	"no_think":      plain(noThink),
	"code":          plain(code),
	"cut":           wants("the text to cut before", cut),
	"take_until":    wants("the texts to cut before, with | between", takeUntil),
	"after":         wants("the text to start after", after),
	"after_last":    wants("the text to start after", afterLast),
	"rstrip":        wants("the characters to strip", strings.TrimRight),
	"strip_chars":   wants("the characters to strip", strings.Trim),
	"regex":         regexMaker(false),
	"last_regex":    regexMaker(true),
}

// Processors lists the names of the post-processors, sorted.
func Processors() []string {
	names := make([]string, 0, len(processors))
	for name := range processors {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// Processor makes one post-processor of its name, or its name, a colon and its argument. The argument is everything after the first
// colon, taken as it is.
//
//	strip              without white space around it
//	lower              in lower case
//	first_line         the text before the first line break
//	last_line          the last line that is not blank
//	first_word         the first run without white space
//	first_option:ABCD  the option letter the text answers with, "" for none; FirstOption has the rules
//	last_option:ABCD   the last of the letters anywhere in the text (OpenCompass's last_option_postprocess)
//	first_capital      the first capital letter of any script (OpenCompass's first-capital); last_capital the last
//	capitals           the different capitals in order (OpenCompass's multiple-select, for more than one right letter)
//	last_number        the last number in canonical form: "$1,072.50." gives 1072.5; LastNumber has the rules
//	gsm8k              the number after "####", else after "the answer is", else the last; gsm8k_gold what is after "####" alone
//	boxed              what the last \boxed or \fbox holds, "" without one; math_answer falls back to "answer is" and the last formula
//	yes_no             "yes" or "no", whichever word stands first, "" without either
//	squad, trivia_qa   SQuADNormalize, TriviaQANormalize
//	oc_general, oc_trivia_qa, oc_nq, oc_gsm8k  OpenCompass's readings, named there
//	code               what stands in the first fenced block of Markdown that is not blank, all of it where there is none
//	no_think           without <think>...</think>, and without what stands before a lone </think>
//	cut:TEXT           the text before the first TEXT, all of it where there is none
//	take_until:A|B     the text before the first of several texts
//	after:TEXT         the text after the first TEXT, "" where there is none
//	after_last:TEXT    the text after the last TEXT, all of it where there is none
//	rstrip:CHARS       without any of CHARS at its end
//	strip_chars:CHARS  without any of CHARS at either end
//	regex:RE2          group 1 of the first match, the whole match where the expression has no group, "" without a match
//	last_regex:RE2     the same of the last match
func Processor(step string) (func(text string) string, error) {
	name, arg, _ := strings.Cut(step, ":")
	maker, ok := processors[name]
	if !ok {
		return nil, fmt.Errorf("unknown post-processor %q: known are %s", name, strings.Join(Processors(), ", "))
	}
	return maker(arg)
}

// Chain makes one function of post-processors in their order; none of them changes nothing. The error joins every fault.
func Chain(steps []string) (func(text string) string, error) {
	var chain []processor
	var faults []error
	for _, s := range steps {
		step, err := Processor(s)
		if err != nil {
			faults = append(faults, fmt.Errorf("%q: %w", s, err))
			continue
		}
		chain = append(chain, step)
	}
	if len(faults) > 0 {
		return nil, errors.Join(faults...)
	}
	return func(text string) string {
		for _, step := range chain {
			text = step(text)
		}
		return text
	}, nil
}

// plain makes a maker of a processor without argument.
func plain(f processor) func(string) (processor, error) {
	return func(arg string) (processor, error) {
		if arg != "" {
			return nil, fmt.Errorf("takes no argument, but has %q", arg)
		}
		return f, nil
	}
}

// wants makes a maker of a processor whose argument must be there; what names the argument for the error.
func wants(what string, f func(text, arg string) string) func(string) (processor, error) {
	return func(arg string) (processor, error) {
		if arg == "" {
			return nil, fmt.Errorf("needs an argument: %s, after a colon", what)
		}
		return func(text string) string { return f(text, arg) }, nil
	}
}

func regexMaker(last bool) func(string) (processor, error) {
	return func(arg string) (processor, error) {
		if arg == "" {
			return nil, errors.New("needs an argument: a regular expression (RE2), after a colon")
		}
		re, err := regexp.Compile(arg)
		if err != nil {
			return nil, fmt.Errorf("%w (the syntax is RE2's: no look-around, no back-references)", err)
		}
		return func(text string) string {
			m := re.FindStringSubmatch(text)
			if last && m != nil {
				all := re.FindAllStringSubmatch(text, -1)
				m = all[len(all)-1]
			}
			if m == nil {
				return ""
			}
			return m[min(1, len(m)-1)]
		}, nil
	}
}

func firstLine(text string) string {
	line, _, _ := strings.Cut(text, "\n")
	return strings.TrimSuffix(line, "\r")
}

func lastLine(text string) string {
	text = strings.TrimRightFunc(text, unicode.IsSpace)
	return text[strings.LastIndexByte(text, '\n')+1:]
}

func firstWord(text string) string {
	for word := range strings.FieldsSeq(text) {
		return word
	}
	return ""
}

func cut(text, at string) string {
	before, _, _ := strings.Cut(text, at)
	return before
}

func takeUntil(text, stops string) string {
	for stop := range strings.SplitSeq(stops, "|") {
		if stop != "" {
			text = cut(text, stop)
		}
	}
	return text
}

func after(text, mark string) string {
	_, rest, _ := strings.Cut(text, mark)
	return rest
}

func firstCapital(text string) string {
	for _, r := range text {
		if unicode.IsUpper(r) {
			return string(r)
		}
	}
	return ""
}

func lastCapital(text string) string {
	last := ""
	for i, r := range text {
		if unicode.IsUpper(r) {
			last = text[i : i+len(string(r))]
		}
	}
	return last
}

func capitals(text string) string {
	var found []rune
	for _, r := range text {
		if unicode.IsUpper(r) && !slices.Contains(found, r) {
			found = append(found, r)
		}
	}
	slices.Sort(found)
	return string(found)
}

// yesNo reads the first word that is yes or no in any case.
func yesNo(text string) string {
	for i := 0; i < len(text); {
		end := wordEnd(text, i)
		if word := text[i:end]; strings.EqualFold(word, "yes") || strings.EqualFold(word, "no") {
			return strings.ToLower(word)
		}
		i = max(end, i+1)
	}
	return ""
}

// noThink follows OpenCompass's extract_non_reasoning_content for the tags of reasoning models. A <think> that is never closed stays.
func noThink(text string) string {
	const open, shut = "<think>", "</think>"
	if !strings.Contains(text, open) {
		return strings.TrimSpace(afterLast(text, shut))
	}
	var b strings.Builder
	for {
		before, rest, ok := strings.Cut(text, open)
		_, tail, closed := strings.Cut(rest, shut)
		if !ok || !closed {
			b.WriteString(text)
			return strings.TrimSpace(b.String())
		}
		b.WriteString(before)
		text = tail
	}
}

// code reads a chat model's answer: the lines between a line that begins with ``` (or more of them, behind blanks) and the next line that
// does, or the end of a text that was cut. A fence's language is passed over. OpenCompass's readings of HumanEval and MBPP take the first
// block too.
func code(text string) string {
	rest := text
	for {
		_, from, ok := fence(rest)
		if !ok {
			return text
		}
		block, after, closed := fence(from)
		if strings.TrimSpace(block) != "" {
			return block
		}
		if !closed {
			return text
		}
		rest = after
	}
}

// fence parts a text at its first line that begins a block of code or ends one, which has no ` behind those (CommonMark 4.5); before has
// all of the text where there is none.
func fence(text string) (before, after string, ok bool) {
	at := 0
	for line := range strings.Lines(text) {
		if mark := strings.TrimLeft(line, " \t"); strings.HasPrefix(mark, "```") && !strings.Contains(strings.TrimLeft(mark, "`"), "`") {
			return text[:at], text[at+len(line):], true
		}
		at += len(line)
	}
	return text, "", false
}
