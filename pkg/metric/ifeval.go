package metric

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
)

// An Instruction is one verifiable instruction of IFEval (Zhou et al. 2023): "at least 300 words", "no commas".
type Instruction struct {
	ID       string // as the data set names it: length_constraints:number_words
	followed func(response string) bool
}

// Followed reports whether a response follows the instruction; a blank one never does.
func (i Instruction) Followed(response string) bool {
	return strings.TrimFunc(response, space) != "" && i.followed(response)
}

// ParseIFEval reads the instructions of one row of the data set, a JSON object with instruction_id_list and kwargs; other fields are
// passed over, and so are arguments that are null, which some copies of the data have for every instruction. Where an argument is
// missing or out of range, the reference draws a random one: that cannot be judged, and is an error here, as is an instruction it
// does not know.
func ParseIFEval(row []byte) ([]Instruction, error) {
	var r struct {
		IDs    []string          `json:"instruction_id_list"`
		Kwargs []json.RawMessage `json:"kwargs"`
	}
	if err := json.Unmarshal(row, &r); err != nil {
		return nil, fmt.Errorf("reading the instructions of a row: %w", err)
	}
	if len(r.IDs) == 0 || len(r.IDs) != len(r.Kwargs) {
		return nil, fmt.Errorf("a row has %d entries in instruction_id_list and %d in kwargs: they must be as many, and at least one",
			len(r.IDs), len(r.Kwargs))
	}
	list := make([]Instruction, len(r.IDs))
	for i, id := range r.IDs {
		var err error
		if list[i], err = NewInstruction(id, r.Kwargs[i]); err != nil {
			return nil, err
		}
	}
	return list, nil
}

// NewInstruction makes an instruction of its name and its arguments, a JSON object or null.
func NewInstruction(id string, kwargs []byte) (Instruction, error) {
	maker, ok := instructions[id]
	if !ok {
		return Instruction{}, fmt.Errorf("unknown instruction %q: known are %s", id, strings.Join(Instructions(), ", "))
	}
	a := &arguments{}
	if len(bytes.TrimSpace(kwargs)) > 0 {
		if err := json.Unmarshal(kwargs, &a.values); err != nil {
			return Instruction{}, fmt.Errorf("instruction %s: reading its arguments: %w", id, err)
		}
	}
	check := maker(a)
	if err := errors.Join(a.faults...); err != nil {
		return Instruction{}, fmt.Errorf("instruction %s: %w", id, err)
	}
	return Instruction{ID: id, followed: check}, nil
}

// Instructions lists the names of the 25 kinds of instructions, sorted.
func Instructions() []string { return slices.Sorted(maps.Keys(instructions)) }

// FollowedStrict says of each instruction whether the response follows it as it stands.
func FollowedStrict(list []Instruction, response string) []bool {
	followed := make([]bool, len(list))
	for i, in := range list {
		followed[i] = in.Followed(response)
	}
	return followed
}

// FollowedLoose says of each instruction whether the response follows it as it stands, or without its asterisks, or without its first
// line, its last line or both: the eight readings of section 2.3 of the paper.
func FollowedLoose(list []Instruction, response string) []bool {
	lines := strings.Split(response, "\n")
	join := func(from, to int) string {
		return strings.TrimFunc(strings.Join(lines[from:max(from, to)], "\n"), space)
	}
	readings := []string{response, join(1, len(lines)), join(0, len(lines)-1), join(1, len(lines)-1)}
	for _, r := range readings[:4] {
		if bare := strings.ReplaceAll(r, "*", ""); !slices.Contains(readings, bare) {
			readings = append(readings, bare)
		}
	}
	followed := make([]bool, len(list))
	for i, in := range list {
		followed[i] = slices.ContainsFunc(readings, in.Followed)
	}
	return followed
}

// arguments hands out the arguments of an instruction and gathers what is wrong with them.
type arguments struct {
	values map[string]any
	faults []error
}

func (a *arguments) fault(format string, args ...any) {
	a.faults = append(a.faults, fmt.Errorf(format, args...))
}

// count gives a whole number of at least min.
func (a *arguments) count(name string, min int) int {
	f, ok := a.values[name].(float64)
	if !ok || f != math.Trunc(f) || f < float64(min) || f > 1e9 {
		a.fault("argument %q is %v, not a whole number from %d", name, a.values[name], min)
		return min
	}
	return int(f)
}

func (a *arguments) text(name string) string {
	s, ok := a.values[name].(string)
	if !ok || s == "" {
		a.fault("argument %q is %v, not a text", name, a.values[name])
	}
	return s
}

func (a *arguments) texts(name string) []string {
	list, _ := a.values[name].([]any)
	var texts []string
	for _, v := range list {
		if s, ok := v.(string); ok {
			texts = append(texts, s)
		}
	}
	if len(texts) == 0 || len(texts) != len(list) {
		a.fault("argument %q is %v, not a list of texts", name, a.values[name])
	}
	return texts
}

// compare gives the comparison that a relation and a threshold make.
func (a *arguments) compare(relation string, threshold int) func(n int) bool {
	switch r := a.values[relation]; r {
	case "less than":
		return func(n int) bool { return n < threshold }
	case "at least":
		return func(n int) bool { return n >= threshold }
	default:
		a.fault(`argument %q is %v, neither "less than" nor "at least"`, relation, r)
		return nil
	}
}
