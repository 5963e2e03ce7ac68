package spec

import (
	"fmt"
	"math"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
)

// rule is what a struct tag `spec:"..."` asks of a value, comma separated:
//
//	min=N, max=N    of a number; integers are at least 0 without it
//	oneof=a|b|c     of a string
//	nonempty        "" is refused: it could not be told from the key left out
//	env             ${VAR} is expanded
//	path            env, nonempty, and made absolute from the file it is written in
//	program         env; made absolute when it has a slash, else found on PATH
//	form=NAME       one of forms: what a batch system takes as one word
type rule struct {
	min, max           float64
	oneOf              []string
	nonempty           bool
	env, path, program bool
	form               *form
}

func parseRule(tag string) (rule, error) {
	r := rule{min: 0, max: math.MaxInt64}
	if tag == "" {
		return r, nil
	}
	for part := range strings.SplitSeq(tag, ",") {
		name, arg, _ := strings.Cut(part, "=")
		var err error
		switch name {
		case "min":
			r.min, err = strconv.ParseFloat(arg, 64)
		case "max":
			r.max, err = strconv.ParseFloat(arg, 64)
		case "oneof":
			r.oneOf = strings.Split(arg, "|")
		case "nonempty":
			r.nonempty = true
		case "env":
			r.env = true
		case "path":
			r.env, r.path, r.nonempty = true, true, true
		case "program":
			r.env, r.program = true, true
		case "form":
			if r.form = forms[arg]; r.form == nil {
				err = fmt.Errorf("unknown form %q", arg)
			}
		default:
			err = fmt.Errorf("unknown rule %q", name)
		}
		if err != nil {
			return r, fmt.Errorf("spec tag %q: %w", tag, err)
		}
	}
	return r, nil
}

// field is a key of a struct.
type field struct {
	name  string
	index []int
	typ   reflect.Type
	rule  rule
}

// structFields holds what fieldsOf has found: a family is decoded once a member.
var structFields sync.Map // reflect.Type -> []field

// fieldsOf gives a struct's keys in order; those of embedded structs are its own. The list is shared and must not be changed.
func fieldsOf(t reflect.Type) []field {
	if have, ok := structFields.Load(t); ok {
		return have.([]field)
	}
	var out []field
	for _, f := range reflect.VisibleFields(t) {
		name := f.Tag.Get("toml")
		if f.Anonymous || name == "" || name == "-" {
			continue
		}
		r, err := parseRule(f.Tag.Get("spec"))
		if err != nil {
			panic(err) // a tag in types.go; a test reads them all
		}
		out = append(out, field{name, f.Index, f.Type, r})
	}
	structFields.Store(t, out)
	return out
}

// decoder fills Go values from nodes by the toml and spec tags of their types. What does not fit goes to p and leaves the value as
// it was.
type decoder struct {
	p   *problems
	raw bool // leave ${VAR} and relative paths as they are written
}

var templateType = reflect.TypeFor[Template]()

func (d *decoder) decode(n *node, v reflect.Value, key string, r rule) {
	switch v.Kind() {
	case reflect.Pointer:
		if v.Type().Elem() == templateType && n.kind == scalar && n.value == "" {
			return // takes a base's template out
		}
		elem := reflect.New(v.Type().Elem())
		d.decode(n, elem.Elem(), key, r)
		v.Set(elem)
	case reflect.Struct:
		if s, ok := n.value.(string); ok && v.Type() == templateType {
			v.Addr().Interface().(*Template).Text = s
			return
		}
		d.table(n, v, key)
	case reflect.Map:
		d.mapping(n, v, key, r)
	case reflect.Slice:
		d.list(n, v, key, r)
	case reflect.Interface:
		d.any(n, v, key)
	default:
		d.scalar(n, v, key, r)
	}
}

var entryName = regexp.MustCompile(`\[.*\]`) // in a key

func (d *decoder) wrongType(n *node, t reflect.Type, key string) {
	what, name := typeName(t), entryName.ReplaceAllString(key, "")
	switch {
	case n.kind == table && what == "array of tables":
		d.p.add(n, key, "is a table; write [[%s]] with two brackets, once for each entry", name)
	case n.kind == list && what == "table":
		d.p.add(n, key, "is an array; write one table: [%s]", name)
	case t == reflect.TypeFor[Files]():
		d.p.add(n, key, `is %s; write a table: { path = "FILE" }`, n.describe())
	case n.kind == scalar && strings.HasPrefix(what, "array of ") && what != "array of tables":
		d.p.add(n, key, "is %s; write an %s in brackets", n.describe(), what)
	default:
		d.p.add(n, key, "is %s; write %s %s", n.describe(), article(what), what)
	}
}

func article(noun string) string {
	if strings.ContainsRune("aeiou", rune(noun[0])) {
		return "an"
	}
	return "a"
}

// typeName is the TOML a Go type is written as.
func typeName(t reflect.Type) string {
	switch t.Kind() {
	case reflect.Pointer:
		return typeName(t.Elem())
	case reflect.Struct:
		if t == templateType {
			return "string or table"
		}
		return "table"
	case reflect.Map:
		return "table"
	case reflect.Slice:
		return "array of " + typeName(t.Elem()) + "s"
	case reflect.Bool:
		return "boolean"
	case reflect.Float64:
		return "number"
	case reflect.String:
		return "string"
	case reflect.Interface:
		return "string, boolean or integer"
	}
	return "integer"
}

func (d *decoder) table(n *node, v reflect.Value, key string) {
	if n.kind != table {
		d.wrongType(n, v.Type(), key)
		return
	}
	if def, ok := v.Addr().Interface().(interface{ setDefaults() }); ok {
		def.setDefaults()
	}
	fields := fieldsOf(v.Type())
	for _, name := range n.keys {
		i := slices.IndexFunc(fields, func(f field) bool { return f.name == name })
		if i < 0 {
			d.unknown(n, name, key, fields)
			continue
		}
		d.decode(n.fields[name], v.FieldByIndex(fields[i].index), join(key, name), fields[i].rule)
	}
}

func (d *decoder) mapping(n *node, v reflect.Value, key string, r rule) {
	if n.kind != table {
		d.wrongType(n, v.Type(), key)
		return
	}
	if len(n.keys) == 0 {
		return
	}
	m := reflect.MakeMap(v.Type())
	for _, name := range n.keys {
		elem := reflect.New(v.Type().Elem()).Elem()
		d.decode(n.fields[name], elem, join(key, name), r)
		m.SetMapIndex(reflect.ValueOf(name), elem)
	}
	v.Set(m)
}

// list replaces a slice. An empty list gives nil, so that a value is the same after a journey through JSON.
func (d *decoder) list(n *node, v reflect.Value, key string, r rule) {
	if n.kind != list {
		d.wrongType(n, v.Type(), key)
		return
	}
	out := reflect.Zero(v.Type())
	for _, item := range n.items {
		elem := reflect.New(v.Type().Elem()).Elem()
		d.decode(item, elem, entryKey(key, item), r)
		out = reflect.Append(out, elem)
	}
	v.Set(out)
}

// entryKey names a list's entry by its abbr, where the list is one of those merged by it.
func entryKey(key string, n *node) string {
	if name := entryID(key, n); name != "" {
		return key + "[" + name + "]"
	}
	return key
}

func join(key, name string) string {
	if strings.Trim(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-") != "" || name == "" {
		name = strconv.Quote(name)
	}
	if key == "" {
		return name
	}
	return key + "." + name
}

func (d *decoder) scalar(n *node, v reflect.Value, key string, r rule) {
	val := reflect.ValueOf(n.value)
	ok := n.kind == scalar && val.IsValid()
	switch v.Kind() {
	case reflect.String:
		if ok = ok && val.Kind() == reflect.String; ok {
			d.text(n, v, key, r)
		}
	case reflect.Bool:
		if ok = ok && val.Kind() == reflect.Bool; ok {
			v.SetBool(val.Bool())
		}
	case reflect.Float64:
		if ok = ok && (val.CanInt() || val.CanFloat()); ok {
			d.number(n, v, key, r)
		}
	default:
		if ok = ok && val.CanInt(); ok {
			d.number(n, v, key, r)
		}
	}
	if !ok {
		d.wrongType(n, v.Type(), key)
	}
}

// any takes a text, a boolean or an integer: what is the same after a journey through JSON.
func (d *decoder) any(n *node, v reflect.Value, key string) {
	switch n.value.(type) {
	case string, bool, int64:
		v.Set(reflect.ValueOf(n.value))
	default:
		d.wrongType(n, v.Type(), key)
	}
}

func (d *decoder) number(n *node, v reflect.Value, key string, r rule) {
	x := reflect.ValueOf(n.value).Convert(reflect.TypeFor[float64]()).Float()
	switch {
	case math.IsNaN(x) || math.IsInf(x, 0):
		d.p.add(n, key, "is %v; write a finite number", n.value)
	case x < r.min:
		d.p.add(n, key, "is %v; the least is %s", n.value, strconv.FormatFloat(r.min, 'f', -1, 64))
	case x > r.max:
		d.p.add(n, key, "is %v; the most is %s", n.value, strconv.FormatFloat(r.max, 'f', -1, 64))
	case v.CanFloat():
		v.SetFloat(x)
	case v.CanUint():
		v.SetUint(uint64(n.value.(int64)))
	default:
		v.SetInt(n.value.(int64))
	}
}

func (d *decoder) text(n *node, v reflect.Value, key string, r rule) {
	s := n.value.(string)
	if r.env && !d.raw {
		var err error
		if s, err = expand(s); err != nil {
			d.p.add(n, key, "%v", err)
			return
		}
	}
	switch {
	case s == "" && r.nonempty:
		d.p.add(n, key, "is empty; write a value, or leave the key out")
		return
	case s != "" && len(r.oneOf) > 0 && !slices.Contains(r.oneOf, s):
		d.p.add(n, key, "is %q; %s", s, choose(s, r.oneOf))
		return
	case s != "" && r.form != nil && !d.raw && !r.form.fits(s):
		d.p.add(n, key, "%q cannot be used; write %s", s, r.form.says)
		return
	case s != "" && !d.raw && (r.path || r.program && strings.Contains(s, "/")):
		var err error
		if s, err = resolvePath(s, n.src.dir); err != nil {
			d.p.add(n, key, "%v", err)
			return
		}
	}
	v.SetString(s)
}
