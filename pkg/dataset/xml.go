package dataset

import (
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"strings"

	"sextant/pkg/spec"
)

// readXML gives a row for each element of the name f.JSONPath, or without one for each element inside the document's outermost. A row's
// columns are the element's attributes and the texts of the elements in it; one that is there several times is a list. Deeper elements
// are objects. White space around a text is dropped. It streams: only one row is held at a time.
func readXML(f spec.Files, emit func(int, []byte) error) error {
	in, err := openInput(f.Path)
	if err != nil {
		return err
	}
	defer in.close()
	m := &meter{r: in.r, format: "XML"}
	r := &xmlRows{path: f.Path, dec: xml.NewDecoder(m), element: f.JSONPath}
	r.dec.CharsetReader = func(charset string, _ io.Reader) (io.Reader, error) {
		return nil, fmt.Errorf("it says that it is in %s", charset)
	}
	for depth := 0; ; {
		m.line(m.begun) // lets go of the lines before
		m.begin(r.dec.InputOffset())
		tok, err := r.dec.Token()
		if errors.Is(err, io.EOF) && depth == 0 {
			return nil
		}
		if err != nil {
			return r.fail(err)
		}
		switch tok := tok.(type) {
		case xml.StartElement:
			if !r.isRow(tok, depth) {
				depth++
				continue
			}
			line, _ := r.dec.InputPos()
			row, err := r.value(tok, 0)
			if err != nil {
				return r.fail(err)
			}
			object, ok := row.(map[string]any)
			if !ok {
				object = map[string]any{"text": row}
			}
			if err := emit(line, mustJSON(object)); err != nil {
				return err
			}
		case xml.EndElement:
			depth--
		}
	}
}

// maxXMLDepth bounds how deep a row's elements may be nested.
const maxXMLDepth = 100

type xmlRows struct {
	path    string
	dec     *xml.Decoder
	element string
}

func (r *xmlRows) isRow(e xml.StartElement, depth int) bool {
	if r.element != "" {
		return e.Name.Local == r.element
	}
	return depth == 1
}

func (r *xmlRows) fail(err error) error {
	line, col := r.dec.InputPos()
	var syntax *xml.SyntaxError
	if errors.As(err, &syntax) {
		err = errors.New(syntax.Msg)
	}
	if strings.Contains(err.Error(), "opening charset") {
		return fmt.Errorf("%s: line %d: the file is not in UTF-8: convert it, and take the encoding out of its first line: %w", r.path, line, err)
	}
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return fmt.Errorf("%s: line %d, column %d: malformed XML: %w: the file is damaged, cut short or no XML", r.path, line, col, err)
}

// value reads the rest of an element: a text, or an object of its attributes and elements.
func (r *xmlRows) value(e xml.StartElement, depth int) (any, error) {
	if depth > maxXMLDepth {
		return nil, fmt.Errorf("elements are nested more than %d deep", maxXMLDepth)
	}
	object := map[string]any{}
	for _, a := range e.Attr {
		addField(object, a.Name.Local, a.Value)
	}
	var text strings.Builder
	for {
		tok, err := r.dec.Token()
		if err != nil {
			return nil, err
		}
		switch tok := tok.(type) {
		case xml.StartElement:
			v, err := r.value(tok, depth+1)
			if err != nil {
				return nil, err
			}
			addField(object, tok.Name.Local, v)
		case xml.CharData:
			text.Write(tok)
		case xml.EndElement:
			s := strings.TrimSpace(text.String())
			if len(object) == 0 {
				return s, nil
			}
			if s != "" {
				addField(object, "text", s)
			}
			return object, nil
		}
	}
}

// addField sets a key, which becomes a list when it is there already.
func addField(object map[string]any, name string, v any) {
	switch old := object[name].(type) {
	case nil:
		object[name] = v
	case []any:
		object[name] = append(old, v)
	default:
		object[name] = []any{old, v}
	}
}
