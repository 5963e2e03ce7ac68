package score

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/hashicorp/go-multierror"
)

// processor is one step from generated text to an answer. It is total: every text has an answer, "" for none.
type processor func(string) string

// processors names every post-processor, as a spec writes it: "name" or "name:argument". A maker gets the argument.
//
//	strip              without white space around it
//	lower              in lower case
//	first_line         the text before the first line break
//	first_word         the first run without white space
//	first_option:ABCD  the option letter the text answers with, "" for none; firstOption has the rules
//	last_number        the last number, without grouping commas, currency, percent sign or needless zeros: "$1,072.50." gives 1072.5
//	cut:TEXT           the text before the first TEXT, all of it where there is none
//	after:TEXT         the text after the first TEXT, "" where there is none
//	rstrip:CHARS       without any of CHARS at its end
//	strip_chars:CHARS  without any of CHARS at either end
//	regex:RE2          group 1 of the first match, the whole match where the expression has no group, "" without a match
//
// An argument is everything after the first colon, taken as it is: TOML has already made "\n" a line break.
var processors = map[string]func(arg string) (processor, error){
	"strip":        plain(strings.TrimSpace),
	"lower":        plain(strings.ToLower),
	"first_line":   plain(firstLine),
	"first_word":   plain(firstWord),
	"last_number":  plain(lastNumber),
	"first_option": makeFirstOption,
	"cut":          wants("the text to cut before", cut),
	"after":        wants("the text to start after", after),
	"rstrip":       wants("the characters to strip", strings.TrimRight),
	"strip_chars":  wants("the characters to strip", strings.Trim),
	"regex":        makeRegex,
}

// compilePost makes one processor of the list under a key of the spec; an empty list changes nothing. The error is a *multierror.Error
// with every fault.
func compilePost(key string, post []string) (processor, error) {
	var steps []processor
	var faults *multierror.Error
	for _, p := range post {
		step, err := compileStep(p)
		if err != nil {
			faults = multierror.Append(faults, fmt.Errorf("%s: %q: %w", key, p, err))
			continue
		}
		steps = append(steps, step)
	}
	if err := faults.ErrorOrNil(); err != nil {
		return nil, err
	}
	return func(text string) string {
		for _, step := range steps {
			text = step(text)
		}
		return text
	}, nil
}

func compileStep(p string) (processor, error) {
	name, arg, _ := strings.Cut(p, ":")
	maker, ok := processors[name]
	if !ok {
		return nil, unknown("post-processor", name, processorNames())
	}
	return maker(arg)
}

func processorNames() []string {
	names := make([]string, 0, len(processors))
	for name := range processors {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
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

func firstLine(text string) string {
	line, _, _ := strings.Cut(text, "\n")
	return strings.TrimSuffix(line, "\r")
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

func after(text, mark string) string {
	_, rest, _ := strings.Cut(text, mark)
	return rest
}

func makeRegex(arg string) (processor, error) {
	if arg == "" {
		return nil, errors.New("needs an argument: a regular expression (RE2), after a colon")
	}
	re, err := regexp.Compile(arg)
	if err != nil {
		return nil, fmt.Errorf("%w (the syntax is RE2's: no look-around, no back-references)", err)
	}
	return func(text string) string {
		m := re.FindStringSubmatch(text)
		if m == nil {
			return ""
		}
		return m[min(1, len(m)-1)]
	}, nil
}
