package spec

import (
	"fmt"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// docKey is a key as docs/spec.md must show it.
type docKey struct{ typ, def string }

// wantKeys walks the types. Template, Files and Calib, which stand in many places, are shown once.
func wantKeys(t reflect.Type, prefix string, defaults []reflect.Value, out map[string]docKey) {
	for _, f := range fieldsOf(t) {
		var defs []reflect.Value
		for _, d := range defaults {
			defs = append(defs, d.FieldByIndex(f.index))
		}
		addKey(f, f.typ, prefix+f.name, defs, out)
	}
}

func addKey(f field, t reflect.Type, key string, defs []reflect.Value, out map[string]docKey) {
	if t.Kind() == reflect.Pointer && t.Elem().Kind() == reflect.Struct {
		t, defs = t.Elem(), nil
	}
	switch {
	case t == templateType:
		out[key] = docKey{typ: "template"}
	case t == reflect.TypeFor[Files]():
		out[key] = docKey{typ: "files"}
	case t == reflect.TypeFor[sweepTable]():
		out[key] = docKey{typ: "table, or array of tables"}
	case t == reflect.TypeFor[Calib]():
		out[key] = docKey{typ: "calibration"}
	case t.Kind() == reflect.Map && t.Elem() == templateType:
		out[key] = docKey{typ: "table of templates"}
	case t.Kind() == reflect.Map && t.Elem().Kind() == reflect.String:
		out[key] = docKey{typ: "table of strings"}
	case t.Kind() == reflect.Map && t.Elem().Kind() == reflect.Slice:
		out[key] = docKey{typ: "table of arrays of strings"}
	case t.Kind() == reflect.Map && t.Elem().Kind() == reflect.Interface:
		out[key] = docKey{typ: "table"}
	case t.Kind() == reflect.Map:
		wantKeys(t.Elem(), key+".NAME.", nil, out)
	case t.Kind() == reflect.Slice && t.Elem().Kind() == reflect.Struct:
		out[key] = docKey{typ: "array of tables"}
		switch elem := reflect.New(t.Elem()); e := elem.Interface().(type) {
		case *Dataset:
			var all []reflect.Value
			for _, mode := range []Mode{PPL, LL, CLP, Gen, Rolling} {
				all = append(all, reflect.ValueOf(Dataset{Mode: mode}.WithDefaults()))
			}
			wantKeys(t.Elem(), key+".", all, out)
		case *Quant:
			var all []reflect.Value
			for _, method := range []string{"rtn", "gptq", "awq", "smoothquant", "fp8"} {
				q := Quant{Method: method}.WithDefaults()
				q.Name = ""
				all = append(all, reflect.ValueOf(q))
			}
			wantKeys(t.Elem(), key+".", all, out)
		case interface{ setDefaults() }:
			e.setDefaults()
			wantKeys(t.Elem(), key+".", []reflect.Value{elem.Elem()}, out)
		default:
			wantKeys(t.Elem(), key+".", nil, out)
		}
	case t.Kind() == reflect.Struct:
		wantKeys(t, key+".", defs, out)
	default:
		out[key] = docKey{typ: typeName(t) + ruleText(f.rule, t), def: defaultText(key, defs)}
	}
}

func ruleText(r rule, t reflect.Type) string {
	if t.Kind() == reflect.Slice || t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	switch {
	case len(r.oneOf) > 0:
		return ": `" + strings.Join(r.oneOf, "`, `") + "`"
	case r.path || r.program:
		return ", a path"
	case r.form != nil:
		return ", " + map[*form]string{forms["word"]: "a word", forms["text"]: "plain text", forms["option"]: "an option of sbatch",
			forms["dlc"]:  "an option of dlc",
			forms["time"]: "a time", forms["size"]: "a size", forms["date"]: "a day"}[r.form]
	case r.env:
		return ", `${VAR}`"
	case t.Kind() == reflect.String || t.Kind() == reflect.Bool:
		return ""
	case r.max == math.MaxInt64:
		return fmt.Sprintf(", %v or more", r.min)
	}
	return fmt.Sprintf(", %s to %s", plain(r.min), plain(r.max))
}

func plain(x float64) string { return strconv.FormatFloat(x, 'f', -1, 64) }

// defaultText lists the values other than zero that a key gets when it is not written.
func defaultText(key string, defs []reflect.Value) string {
	var out []string
	seen := map[string]bool{}
	for _, v := range defs {
		if v.IsZero() || key == "dataset.mode" || key == "quant.method" {
			continue
		}
		if v.Kind() == reflect.Pointer {
			v = v.Elem()
		}
		s := fmt.Sprint(v.Interface())
		if v.Kind() == reflect.String {
			s = fmt.Sprintf("%q", s)
		}
		if s = "`" + s + "`"; !seen[s] {
			seen[s] = true
			out = append(out, s)
		}
	}
	return strings.Join(out, ", ")
}

var docRow = regexp.MustCompile("(?m)^\\| `([^`]+)` \\| ([^|]+) \\| ([^|]+) \\| ([^|]+) \\|$")

// TestDocs holds that docs/spec.md lists every key, and no other, with the type, range and default that the code has.
func TestDocs(t *testing.T) {
	data, err := os.ReadFile("../../docs/spec.md")
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]docKey{}
	wantKeys(reflect.TypeFor[document](), "", []reflect.Value{reflect.ValueOf(document{Spec: defaultSpec()})}, want)
	wantKeys(reflect.TypeFor[Template](), "TEMPLATE.", nil, want)
	wantKeys(reflect.TypeFor[Files](), "FILES.", nil, want)
	var calibs []reflect.Value
	for _, name := range []string{"pileval", "c4"} {
		c := Calib{Name: name}.withDefaults()
		c.Name = ""
		calibs = append(calibs, reflect.ValueOf(c))
	}
	wantKeys(reflect.TypeFor[Calib](), "CALIB.", calibs, want)
	for _, m := range docRow.FindAllStringSubmatch(string(data), -1) {
		key, typ, def := m[1], strings.TrimSpace(m[2]), strings.TrimSpace(m[3])
		w, ok := want[key]
		if !ok {
			t.Errorf("docs/spec.md has %s, or has it twice; there is no such key", key)
			continue
		}
		delete(want, key)
		if typ != w.typ {
			t.Errorf("docs/spec.md: %s has type %q, want %q", key, typ, w.typ)
		}
		if !strings.HasPrefix(def, w.def) || w.def == "" && strings.ContainsAny(def, "123456789") {
			t.Errorf("docs/spec.md: %s has default %q, want %q", key, def, w.def)
		}
	}
	for key, w := range want {
		t.Errorf("docs/spec.md lacks | `%s` | %s | %s | ... |", key, w.typ, w.def)
	}
}

// TestDocsExamples loads every whole example of docs/spec.md: a toml block that has [[models]].
func TestDocsExamples(t *testing.T) {
	data, err := os.ReadFile("../../docs/spec.md")
	if err != nil {
		t.Fatal(err)
	}
	blocks := regexp.MustCompile("(?s)```toml\n(.*?)```").FindAllStringSubmatch(string(data), -1)
	if len(blocks) < 3 {
		t.Fatal("the examples are gone")
	}
	catalog := readCatalog(t)
	files := map[string]string{}
	for i, m := range blocks {
		name := fmt.Sprintf("example%d.toml", i)
		if first, _, _ := strings.Cut(m[1], "\n"); strings.HasPrefix(first, "# ") && strings.HasSuffix(first, ".toml") {
			name = first[2:]
		}
		files[name] = m[1]
	}
	t.Setenv("SCRATCH", "/scratch")
	for name, text := range files {
		if _, err := load(name, Options{Catalog: catalog}, inMemory(files)); err != nil {
			t.Errorf("%s: %v\n%s", filepath.Base(name), err, text)
		}
	}
}
