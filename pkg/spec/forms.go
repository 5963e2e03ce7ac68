package spec

import (
	"regexp"
	"strings"
)

// form is a pattern that a value must have, and its description for people. How long a value may be is counted and not part of the pattern:
// a regular expression with {0,254} takes a millisecond and a megabyte to make.
type form struct {
	is   *regexp.Regexp
	most int // bytes of the value; of an option, of what is behind "="; 0: as the pattern says
	name int // of an option: bytes before "=", dashes too
	says string
}

func (f *form) fits(value string) bool {
	if !f.is.MatchString(value) {
		return false
	}
	if f.name > 0 {
		var name string
		if name, value, _ = strings.Cut(value, "="); len(name) > f.name {
			return false
		}
	}
	return f.most == 0 || len(value) <= f.most
}

// forms keep out of a batch script whatever its directives would not read as one word: white space, quotes, backslashes, # and control
// characters; and a leading dash, which would be an option.
var forms = map[string]*form{
	"word": {regexp.MustCompile(`^[A-Za-z0-9_(\[][A-Za-z0-9_.,:=+@/&|*()\[\]!-]*$`), 255, 0,
		`at most 255 of the characters A-Z a-z 0-9 _ . , : = + @ / & | * ( ) [ ] ! -, a letter, digit, _ ( or [ first`},
	"text": {regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_.,:=+@/ -]*$`), 255, 0,
		`at most 255 of the characters A-Z a-z 0-9 _ . , : = + @ / - and space, a letter, digit or _ first`},
	"option": {regexp.MustCompile(`^--[a-z][a-z0-9-]+(=[A-Za-z0-9_.,:=+@/&|*()\[\]!-]*)?$`), 254, 43,
		`a long option of sbatch, "--name" or "--name=value", without quotes or spaces`},
	"dlc": {regexp.MustCompile(`^--[a-z][a-z0-9_-]+(=[A-Za-z0-9_.,:=+@/&|*()\[\]!-]*)?$`), 1000, 63,
		`a long option of dlc, "--name" or "--name=value", without quotes or spaces`},
	"time": {regexp.MustCompile(`^([0-9]{1,7}|[0-9]{1,6}:[0-9]{1,2}|[0-9]{1,5}:[0-9]{1,2}:[0-9]{1,2}|[0-9]{1,4}-[0-9]{1,2}(:[0-9]{1,2}){0,2})$`), 0, 0,
		`minutes, "HH:MM:SS" or "D-HH:MM:SS"`},
	"date": {regexp.MustCompile(`^[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])$`), 0, 0, `a day: "2026-01-31"`},
	"size": {regexp.MustCompile(`^[0-9]{1,12}[KMGT]?$`), 0, 0, `a number of MiB, or with K, M, G or T: "64G"`},
}
