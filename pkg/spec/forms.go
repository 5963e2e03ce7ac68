package spec

import "regexp"

// form is a pattern that a value must have, and its description for people.
type form struct {
	is   *regexp.Regexp
	says string
}

// forms keep out of a batch script whatever its directives would not read as one word: white space, quotes, backslashes, # and control
// characters; and a leading dash, which would be an option.
var forms = map[string]*form{
	"word": {regexp.MustCompile(`^[A-Za-z0-9_(\[][A-Za-z0-9_.,:=+@/&|*()\[\]!-]{0,254}$`),
		`at most 255 of the characters A-Z a-z 0-9 _ . , : = + @ / & | * ( ) [ ] ! -, a letter, digit, _ ( or [ first`},
	"text": {regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_.,:=+@/ -]{0,254}$`),
		`at most 255 of the characters A-Z a-z 0-9 _ . , : = + @ / - and space, a letter, digit or _ first`},
	"option": {regexp.MustCompile(`^--[a-z][a-z0-9-]{1,40}(=[A-Za-z0-9_.,:=+@/&|*()\[\]!-]{0,254})?$`),
		`a long option of sbatch, "--name" or "--name=value", without quotes or spaces`},
	"dlc": {regexp.MustCompile(`^--[a-z][a-z0-9_-]{1,60}(=[A-Za-z0-9_.,:=+@/&|*()\[\]!-]{0,1000})?$`),
		`a long option of dlc, "--name" or "--name=value", without quotes or spaces`},
	"time": {regexp.MustCompile(`^([0-9]{1,7}|[0-9]{1,6}:[0-9]{1,2}|[0-9]{1,5}:[0-9]{1,2}:[0-9]{1,2}|[0-9]{1,4}-[0-9]{1,2}(:[0-9]{1,2}){0,2})$`),
		`minutes, "HH:MM:SS" or "D-HH:MM:SS"`},
	"date": {regexp.MustCompile(`^[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])$`), `a day: "2026-01-31"`},
	"size": {regexp.MustCompile(`^[0-9]{1,12}[KMGT]?$`), `a number of MiB, or with K, M, G or T: "64G"`},
}
