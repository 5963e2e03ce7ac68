package tokenizer

import (
	"unicode"
	"unicode/utf8"
)

// The three pre-tokenizer patterns met in nearly all byte-level models. Each has a scanner of its own, tens of times
// faster than a backtracking engine and linear on any text; every other pattern goes to the engine.
const (
	patternGPT2   = `'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+`
	patternLlama3 = `(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+`
	patternQwen2  = `(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+`
)

// scanner returns the end of the match that begins at byte at of text, at < len(text). Matches leave no gap.
type scanner func(text string, at int) int

var scanners = map[string]scanner{
	patternGPT2:   scanGPT2,
	patternLlama3: func(text string, at int) int { return scanLlama3(text, at, 3) },
	patternQwen2:  func(text string, at int) int { return scanLlama3(text, at, 1) },
}

// class is what the patterns tell apart: \p{L}, \p{N}, \s and the rest.
type class uint8

const (
	other class = iota
	letter
	number
	space
	end // of the text
)

var asciiClass = func() (t [utf8.RuneSelf]class) {
	for b := range t {
		t[b] = classOf(rune(b))
	}
	return t
}()

func classOf(r rune) class {
	switch {
	case unicode.IsLetter(r):
		return letter
	case unicode.IsNumber(r):
		return number
	case unicode.IsSpace(r):
		return space
	}
	return other
}

// classAt returns the class and length of the character at byte at.
func classAt(text string, at int) (class, int) {
	if at >= len(text) {
		return end, 0
	}
	if b := text[at]; b < utf8.RuneSelf {
		return asciiClass[b], 1
	}
	r, n := utf8.DecodeRuneInString(text[at:])
	return classOf(r), n
}

// skip returns the end of the run of c that begins at byte at, of at most limit characters (0: no limit).
func skip(text string, at int, c class, limit int) int {
	for count := 0; limit == 0 || count < limit; count++ {
		k, n := classAt(text, at)
		if k != c {
			break
		}
		at += n
	}
	return at
}

func scanGPT2(text string, at int) int {
	if n := contraction(text[at:], false); n > 0 {
		return at + n
	}
	from := at
	if text[at] == ' ' {
		from++
	}
	if c, _ := classAt(text, from); c == letter || c == number || c == other {
		return skip(text, from, c, 0)
	}
	return spaceRun(text, at, skip(text, at, space, 0))
}

// scanLlama3 is also Qwen2's, which takes digits one by one.
func scanLlama3(text string, at, digits int) int {
	if n := contraction(text[at:], true); n > 0 {
		return at + n
	}
	c, n := classAt(text, at)
	switch {
	case c == letter:
		return skip(text, at, letter, 0)
	case c == number:
		return skip(text, at, number, digits)
	case text[at] != '\r' && text[at] != '\n':
		next, _ := classAt(text, at+n)
		if next == letter {
			return skip(text, at+n, letter, 0)
		}
		from := at
		if text[at] == ' ' && next == other {
			from++
		}
		if c == other || from > at {
			stop := skip(text, from, other, 0)
			for stop < len(text) && (text[stop] == '\r' || text[stop] == '\n') {
				stop++
			}
			return stop
		}
	}
	stop := skip(text, at, space, 0)
	for i := stop - 1; i >= at; i-- { // \s*[\r\n]+: up to the run's last line end
		if text[i] == '\r' || text[i] == '\n' {
			return i + 1
		}
	}
	return spaceRun(text, at, stop)
}

// spaceRun is \s+(?!\S)|\s+ over the white space text[at:stop]: before more text the last space is left to it.
func spaceRun(text string, at, stop int) int {
	if stop == len(text) {
		return stop
	}
	_, last := utf8.DecodeLastRuneInString(text[at:stop])
	if stop-last > at {
		return stop - last
	}
	return stop
}

// contraction returns the length of the English contraction text begins with. Folding case, a long s is an s.
func contraction(text string, fold bool) int {
	if len(text) < 2 || text[0] != '\'' {
		return 0
	}
	lower := func(i int) byte {
		switch {
		case i >= len(text):
			return 0
		case fold && text[i] >= 'A' && text[i] <= 'Z':
			return text[i] + 'a' - 'A'
		}
		return text[i]
	}
	switch a, b := lower(1), lower(2); {
	case a == 's' || a == 't' || a == 'm' || a == 'd':
		return 2
	case a == 'r' && b == 'e', a == 'v' && b == 'e', a == 'l' && b == 'l':
		return 3
	case fold && len(text) >= 3 && text[1:3] == "\u017f":
		return 3
	}
	return 0
}
