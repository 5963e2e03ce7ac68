package dataset

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"sextant/pkg/spec"
)

// readText gives rows with the one column "text". f.Unit says what a row is:
//
//	line       a line without its newline; lines of white space only are no rows
//	hf-line    a line with its newline; a line of white space only is the empty text. So wikitext is cut on the Hugging Face hub
//	paragraph  lines up to a blank line, without the last newline
//	file       everything, as it is
func readText(f spec.Files, emit func(int, []byte) error) error {
	in, err := openInput(f.Path)
	if err != nil {
		return err
	}
	defer in.close()
	give := func(line int, text string) error { return emit(line, mustJSON(map[string]string{"text": text})) }
	switch f.Unit {
	case "", "line", "hf-line":
		return readTextLines(in, f.Unit == "hf-line", give)
	case "paragraph":
		return readBlocks(in, isBlank, func(line int, text string) error { return give(line, strings.TrimSuffix(text, "\n")) })
	case "file":
		return readBlocks(in, func(string) bool { return false }, give)
	}
	units := []string{"line", "hf-line", "paragraph", "file"}
	return fmt.Errorf("%s: unknown unit %q%s", f.Path, f.Unit, nearest(f.Unit, units))
}

func readTextLines(in *input, keep bool, give func(int, string) error) error {
	for {
		line, err := in.readLine()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		text := string(line)
		switch blank := isBlank(text); {
		case blank && !keep:
			continue
		case blank:
			text = ""
		case !keep:
			text = strings.TrimSuffix(text, "\n")
		}
		if err := give(in.line, text); err != nil {
			return err
		}
	}
}

// readBlocks gives runs of lines between those that end says part them.
func readBlocks(in *input, parts func(string) bool, give func(int, string) error) error {
	var b strings.Builder
	start := 0
	flush := func() error {
		if b.Len() == 0 {
			return nil
		}
		text := b.String()
		b.Reset()
		return give(start, text)
	}
	for {
		line, err := in.readLine()
		if errors.Is(err, io.EOF) {
			return flush()
		}
		if err != nil {
			return err
		}
		if parts(string(line)) {
			if err := flush(); err != nil {
				return err
			}
			continue
		}
		if b.Len() == 0 {
			start = in.line
		}
		b.Write(line)
	}
}

func isBlank(s string) bool { return strings.TrimSpace(s) == "" }
