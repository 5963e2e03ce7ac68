package clidoc

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path"
	"reflect"
	"regexp"
	"strings"
	"time"
)

// Document is a JSON document that commands print.
type Document struct {
	Title    string   // what it is, in a few words
	Commands []string // that print it: "submit status DIR --json"
	Value    any      // of its type, a struct that has "version"
}

// Schema tells the fields of documents: a part for each with a table, and one for each object that is in them. What a field means is its
// comment in the source, below root; packages are named as in imports, module the first element of their path. fields are the same in a line
// each, without what they mean: what programs rely on.
func Schema(documents []Document, root fs.FS, module string) (text string, fields []string, err error) {
	s := &schema{source: source{root: root, module: module, types: map[string]typeDoc{}}, told: map[reflect.Type]bool{}}
	for _, d := range documents {
		fmt.Fprintf(&s.out, "### %s\n\n```\n%s\n```\n\n", sentence(d.Title), strings.Join(d.Commands, "\n"))
		t := reflect.TypeOf(d.Value)
		if err := s.table(t); err != nil {
			return "", nil, fmt.Errorf("telling of %s: %w", d.Title, err)
		}
		for len(s.later) > 0 {
			next := s.later[0]
			s.later = s.later[1:]
			fmt.Fprintf(&s.out, "#### %s\n\n", nameOf(next))
			if err := s.table(next); err != nil {
				return "", nil, fmt.Errorf("telling of %s: %w", d.Title, err)
			}
		}
	}
	return strings.TrimRight(s.out.String(), "\n") + "\n", s.fields, nil
}

type schema struct {
	source source
	out    strings.Builder
	told   map[reflect.Type]bool
	later  []reflect.Type // objects met and not told yet
	fields []string
}

// row is a field of an object.
type row struct{ name, kind, text string }

func (s *schema) table(t reflect.Type) error {
	doc, err := s.source.of(t)
	if err != nil {
		return err
	}
	rows, names, err := s.rows(t)
	if err != nil {
		return err
	}
	if text := inJSON(aboutType(t, doc.text), names); text != "" {
		fmt.Fprintf(&s.out, "%s\n\n", text)
	}
	s.out.WriteString("| field | type | |\n|---|---|---|\n")
	for _, r := range rows {
		s.fields = append(s.fields, nameOf(t)+"."+r.name+": "+linkTarget.ReplaceAllString(r.kind, ""))
		fmt.Fprintf(&s.out, "| `%s` | %s | %s |\n", r.name, r.kind, strings.ReplaceAll(inJSON(r.text, names), "|", `\|`))
	}
	s.out.WriteByte('\n')
	return nil
}

// linkTarget is where a link goes.
var linkTarget = regexp.MustCompile(`\(#[^)]*\)`)

// aboutType is a type's comment without the words that name it in Go.
func aboutType(t reflect.Type, text string) string {
	if rest, ok := strings.CutPrefix(text, t.Name()+" is "); ok {
		return sentence(rest)
	}
	if rest, ok := strings.CutPrefix(text, t.Name()+" "); ok {
		return sentence(rest)
	}
	return text
}

// rows are the fields of a struct as they stand in JSON, those of embedded structs among them, and their names by those in Go.
func (s *schema) rows(t reflect.Type) (out []row, names map[string]string, err error) {
	doc, err := s.source.of(t)
	if err != nil {
		return nil, nil, err
	}
	names = map[string]string{}
	for i := range t.NumField() {
		f := t.Field(i)
		tag := f.Tag.Get("json")
		name, rest, _ := strings.Cut(tag, ",")
		switch {
		case f.Anonymous && tag == "":
			more, others, err := s.rows(f.Type)
			if err != nil {
				return nil, nil, err
			}
			out = append(out, more...)
			for k, v := range others {
				names[k] = v
			}
			continue
		case !f.IsExported() || tag == "-":
			continue
		case name == "":
			return nil, nil, fmt.Errorf("%s.%s has no json tag", t, f.Name)
		}
		kind := s.kind(f.Type)
		if strings.Contains(rest, "omitempty") {
			kind = strings.TrimSuffix(kind, " or null") + ", may be absent"
		}
		names[f.Name] = name
		out = append(out, row{name, kind, doc.fields[f.Name]})
	}
	return out, names, nil
}

// kind is a type in words. An object that has not been told of will be.
func (s *schema) kind(t reflect.Type) string {
	switch t.Kind() {
	case reflect.Pointer:
		return s.kind(t.Elem()) + " or null"
	case reflect.Slice:
		return "list of " + s.kind(t.Elem())
	case reflect.Map:
		return "object: name to " + s.kind(t.Elem())
	case reflect.Struct:
		if t == reflect.TypeFor[time.Time]() {
			return "string (RFC 3339)"
		}
		if !s.told[t] {
			s.told[t] = true
			s.later = append(s.later, t)
		}
		return "[" + nameOf(t) + "](#" + strings.ToLower(nameOf(t)) + ")"
	case reflect.String:
		return "string"
	case reflect.Bool:
		return "boolean"
	case reflect.Float32, reflect.Float64:
		return "number"
	case reflect.Interface:
		return "any"
	}
	return "integer"
}

// nameOf is what an object is called on the page.
func nameOf(t reflect.Type) string {
	if i := strings.LastIndexByte(t.PkgPath(), '/'); !strings.Contains(t.PkgPath(), "/cmd/") {
		return t.PkgPath()[i+1:] + "-" + t.Name()
	}
	return t.Name()
}

// null finds Go's word for what JSON calls null.
var null = regexp.MustCompile(`\bnil\b`)

// goName finds what may be a field's name in Go.
var goName = regexp.MustCompile(`\b[A-Z][A-Za-z]*\b`)

// seeAlso finds where a comment sends who reads the source.
var seeAlso = regexp.MustCompile(`[;:,] see [A-Za-z]+( for [^;]*)?`)

// inJSON says in a comment's words of Go what they are in JSON. What begins a text, or follows a dot, is no field.
func inJSON(text string, names map[string]string) string {
	text = null.ReplaceAllString(seeAlso.ReplaceAllString(text, ""), "null")
	var b strings.Builder
	end := 0
	for _, at := range goName.FindAllStringIndex(text, -1) {
		name, ok := names[text[at[0]:at[1]]]
		if !ok || at[0] == 0 || text[at[0]-1] == '.' {
			continue
		}
		b.WriteString(text[end:at[0]] + "`" + name + "`")
		end = at[1]
	}
	return b.String() + text[end:]
}

// source reads comments out of a module's source.
type source struct {
	root   fs.FS
	module string
	types  map[string]typeDoc // by package path and name
}

type typeDoc struct {
	text   string
	fields map[string]string
}

func (s source) of(t reflect.Type) (typeDoc, error) {
	key := t.PkgPath() + "." + t.Name()
	if doc, ok := s.types[key]; ok {
		return doc, nil
	}
	dir, ok := strings.CutPrefix(t.PkgPath(), s.module+"/")
	if !ok || t.Kind() != reflect.Struct || t.Name() == "" {
		return typeDoc{}, fmt.Errorf("%s is no named struct of module %s", t, s.module)
	}
	if err := s.read(t.PkgPath(), dir); err != nil {
		return typeDoc{}, err
	}
	doc, ok := s.types[key]
	if !ok {
		return typeDoc{}, fmt.Errorf("%s is not declared in %s", t, dir)
	}
	return doc, nil
}

// read takes the comments of all structs of a package.
func (s source) read(pkg, dir string) error {
	files, err := fs.Glob(s.root, path.Join(dir, "*.go"))
	if err != nil {
		return err
	}
	for _, name := range files {
		text, err := fs.ReadFile(s.root, name)
		if err != nil {
			return err
		}
		f, err := parser.ParseFile(token.NewFileSet(), name, text, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		for _, decl := range f.Decls {
			if g, ok := decl.(*ast.GenDecl); ok && g.Tok == token.TYPE {
				s.declared(pkg, g)
			}
		}
	}
	return nil
}

func (s source) declared(pkg string, g *ast.GenDecl) {
	for _, spec := range g.Specs {
		t := spec.(*ast.TypeSpec)
		st, ok := t.Type.(*ast.StructType)
		if !ok {
			continue
		}
		doc := typeDoc{text: joinLines(g.Doc.Text() + " " + t.Doc.Text()), fields: map[string]string{}}
		for _, f := range st.Fields.List {
			for _, name := range f.Names {
				doc.fields[name.Name] = joinLines(f.Comment.Text() + " " + f.Doc.Text())
			}
		}
		s.types[pkg+"."+t.Name.Name] = doc
	}
}
